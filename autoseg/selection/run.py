"""Choosing what to predict with: every trained model, pair and triple judged by cases it was not trained on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from autoseg.artefacts import load, refuse_unwritable, save
from autoseg.data.dataset import Dataset
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.pairing import label_files, references_of
from autoseg.evaluation.run import evaluate
from autoseg.progress import SILENT, Progress
from autoseg.selection.candidates import MOST_MEMBERS, Candidate, candidates
from autoseg.selection.corrections import choose_corrections
from autoseg.selection.out_of_fold import SOURCE_FILE, OutOfFold, out_of_fold, weights_of, whole_paths
from autoseg.selection.ranking import FEWEST_CASES, Criterion, best, mean_ranks, paired_difference, within_noise
from autoseg.selection.region_shares import region_shares
from autoseg.selection.selection import Correction, Judged, Selection, Source
from autoseg.workspace import DatasetFolder

METRICS = ("dice", "hd95_mm")


def select(
    folder: DatasetFolder,
    *,
    criterion: Criterion = "dice",
    most_members: int = MOST_MEMBERS,
    corrections: bool = True,
    thresholds: bool = True,
    device: str = "auto",
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Selection:
    """Judge every candidate out of fold, choose the best with its post-processing, and write selection.json.

    `criterion` is the mean foreground Dice ("dice"), or the mean rank over regions by Dice and HD95 ("brats"). Predictions
    of pairs and triples are made now, under the data set's `selection` folder, and kept for the next time. `corrections`
    tries what corrects label maps, `thresholds` (with them) what is painted of regions, for which the chosen models predict
    once more. Raises SelectionError where nothing with held-out cases is trained.
    """
    dataset = load(Dataset, folder.dataset_file, remake="autoseg_plan DATASET")
    found, notes = candidates(folder, most_members=most_members)
    refuse_unwritable(folder.selection, remedy="Choose another workspace with -w DIR.")
    gathered = [out_of_fold(one, dataset, folder.selection / one.name, device=device, progress=progress) for one in found]
    evaluations = [_evaluated(one.folder, dataset, found[0], workers=workers, progress=progress) for one in gathered]
    chosen = best(evaluations, criterion)
    tried: list[Correction] = []
    if corrections:
        winner, place = found[chosen], gathered[chosen].folder
        shares = _shares(winner, dataset, place, device=device, progress=progress) if thresholds else {}
        tried = _corrections(winner, place, dataset, shares=shares, workers=workers, progress=progress)
    selection = _selection(
        folder, found, gathered, evaluations, chosen=chosen, criterion=criterion, corrections=tried, notes=notes
    )
    save(selection, folder.selection_file)
    return selection


def _evaluated(
    predictions: Path, dataset: Dataset, candidate: Candidate, *, workers: int | None, progress: Progress
) -> Evaluation:
    return evaluate(
        predictions,
        lambda _predicted: references_of(dataset, _held_out(candidate)),
        labels=candidate.models[0].plan.labels,
        metrics=METRICS,
        workers=workers,
        progress=progress,
    )


def _held_out(candidate: Candidate) -> set[str]:
    splits = candidate.models[0].splits
    return {id_ for fold in candidate.folds for id_ in splits.fold(fold)[1]}


def _corrections(
    candidate: Candidate,
    predictions: Path,
    dataset: Dataset,
    *,
    shares: Mapping[str, Path],
    workers: int | None,
    progress: Progress,
) -> list[Correction]:
    splits = candidate.models[0].splits
    fold_of = {id_: fold for fold in candidate.folds for id_ in splits.fold(fold)[1]}
    references = references_of(dataset, fold_of)
    files = label_files(predictions, what="predictions")
    pairs = [(id_, files[id_], references[id_]) for id_ in sorted(references)]
    scheme = candidate.models[0].plan.labels
    return choose_corrections(pairs, scheme, fold_of=fold_of, shares=shares, workers=workers, progress=progress)


def _shares(
    candidate: Candidate, dataset: Dataset, predictions: Path, *, device: str, progress: Progress
) -> Mapping[str, Path]:
    """What thresholds are tried on; nothing where labels compete for a voxel."""
    if candidate.models[0].plan.labels.target != "regions":
        return {}
    splits = candidate.models[0].splits
    cases = {fold: whole_paths(dataset, splits.fold(fold)[1]) for fold in candidate.folds}
    folder, made_from = predictions / "probabilities", weights_of(candidate)
    return region_shares(candidate, cases, folder, made_from=made_from, device=device, progress=progress)


def _selection(
    folder: DatasetFolder,
    found: Sequence[Candidate],
    gathered: Sequence[OutOfFold],
    evaluations: Sequence[Evaluation],
    *,
    chosen: int,
    criterion: Criterion,
    corrections: Sequence[Correction],
    notes: Sequence[str],
) -> Selection:
    winner = found[chosen]
    ranks = mean_ranks(evaluations)
    judged = [
        _judged(one, out, evaluation, rank=rank, best=evaluations[chosen] if index != chosen else None)
        for index, (one, out, evaluation, rank) in enumerate(zip(found, gathered, evaluations, ranks, strict=True))
    ]
    return Selection(
        dataset=folder.path.name,
        criterion=criterion,
        chosen=winner.name,
        models=tuple(os.path.relpath(model.path, folder.path) for model in winner.models),
        folds=winner.folds,
        cases=len(evaluations[chosen].cases),
        rules=tuple(one.rule for one in corrections if one.kept),
        corrections=tuple(corrections),
        judged=tuple(judged),
        notes=(*notes, *_on_few_cases(len(evaluations[chosen].cases), len(found))),
        command=_command(folder, winner, corrections),
        made_from=load(Source, gathered[chosen].folder / SOURCE_FILE, remake="autoseg_select").made_from,
    )


def _judged(
    candidate: Candidate, out: OutOfFold, evaluation: Evaluation, *, rank: float, best: Evaluation | None
) -> Judged:
    scores = evaluation.over_structures
    difference, p = (None, None) if best is None else paired_difference(best, evaluation)
    memory = [model.configuration.predicted_prediction_bytes for model in candidate.models]
    return Judged(
        name=candidate.name,
        models=tuple(model.card.name for model in candidate.models),
        dice=scores["dice"].mean,
        low=scores["dice"].low,
        high=scores["dice"].high,
        hd95_mm=scores["hd95_mm"].mean,
        rank=rank,
        difference=difference,
        p=p,
        within_noise=within_noise(p, cases=len(evaluation.cases)),
        seconds_per_case=out.seconds_per_case,
        prediction_bytes=None if None in memory else max(value or 0 for value in memory),
    )


def _on_few_cases(cases: int, candidates: int) -> list[str]:
    if cases >= FEWEST_CASES or candidates == 1:
        return []
    return [
        f"{cases} held-out cases are too few to tell a difference from noise: {FEWEST_CASES} are needed. Train more folds"
    ]


def _command(folder: DatasetFolder, candidate: Candidate, corrections: Sequence[Correction]) -> str:
    """What predicts the same, also after another selection as long as the corrections are as they are now."""
    models = " ".join(f"-m {model.card.name}" for model in candidate.models)
    corrected = f" --selection {folder.path.name}" if any(one.kept for one in corrections) else ""
    return f"autoseg_predict -i IN -o OUT -d {folder.path.name} {models} -f {' '.join(candidate.folds)}{corrected}"
