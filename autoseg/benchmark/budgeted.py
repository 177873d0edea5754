"""nnU-Net and autoseg with the same budget on the same cases, predicted by each and scored by the same metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import BaseModel

from autoseg import cascade
from autoseg.artefacts import FROZEN, load
from autoseg.benchmark.matrix import PEER, Budget, gflop_of, training_of, wanted_row
from autoseg.benchmark.nnunet import NnUnet
from autoseg.benchmark.nnunet_layout import ENDING
from autoseg.benchmark.rows import Row, mean_dice, scores_of
from autoseg.benchmark.setting import Setting
from autoseg.benchmark.step import LOADERS, WARMUP
from autoseg.benchmark.stored_rows import find_row, keep_row
from autoseg.data.dataset import Dataset
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import read_labels, write_labels
from autoseg.data.splits import ALL
from autoseg.errors import BenchmarkError, number_of
from autoseg.evaluation.pairing import dataset_references
from autoseg.evaluation.run import evaluate
from autoseg.prediction.run import predict
from autoseg.training.cases import load_splits
from autoseg.training.request import Means

ITERATIONS_PER_EPOCH = 10
"""So often nnU-Net's learning rate falls, which it does once an epoch."""

STEPS_TO_TIME = 6


class Comparison(BaseModel):
    """Both programs' rows on one data set's test cases.

    `step_s` is the peer's measured median step, None where the number of iterations was given. `how` says in words what
    each got.
    """

    model_config = FROZEN
    dataset: str
    configuration: str
    budget_s: float | None
    step_s: float | None
    cases: int
    rows: tuple[Row, ...]
    how: str


def compare_with_peer(setting: Setting, peer: NnUnet, *, budget: Budget, step_s: float | None = None) -> Comparison:
    """Train both on every case, predict the test cases and evaluate both; steps of the peer as in `peer_row`.

    Raises BenchmarkError where the data set has no test cases with labels.
    """
    dataset = load(Dataset, setting.folder.dataset_file, remake="autoseg_plan DATASET")
    cases = [case.id for case in dataset.test_cases if case.label]
    if not cases:
        raise BenchmarkError(
            f"{dataset.name}: no test case has labels, so there is nothing to score both on. Score them on the held-out "
            "cases of a fold: --fold 0."
        )
    training = _trained(peer, budget, step_s=step_s)
    theirs = _predicted(setting, peer, training, fold=ALL, images=peer.raw / "imagesTs", cases=cases, dataset=dataset)
    ours = _ours(setting, budget, images=peer.raw / "imagesTs", cases=cases, dataset=dataset)
    given = f"{budget.seconds:.0f} s" if budget.seconds is not None else number_of(training.steps, "step")
    return Comparison(
        dataset=dataset.name,
        configuration=setting.configuration.name,
        budget_s=budget.seconds,
        step_s=training.paid_s,
        cases=len(cases),
        rows=(theirs, ours),
        how=f"autoseg trained {given}; {training.program} {training.how}",
    )


def peer_row(setting: Setting, peer: NnUnet, *, budget: Budget, step_s: float | None = None) -> Row:
    """Train the peer on the setting's fold, predict its held-out cases and evaluate them; stored for the table of rows.

    Given seconds it gets as many iterations as its own median step allows in them, its schedule ended there, and loses no
    time to validation. `step_s` is that step as measured before; None measures it now.
    """
    wanted = wanted_row(setting, setting.configuration.name, recipe=None, folds=[setting.fold], budget=budget)
    wanted = wanted.model_copy(update={"program": PEER})
    found = find_row(setting, wanted)
    if found is not None:
        return found
    dataset = load(Dataset, setting.folder.dataset_file, remake="autoseg_plan DATASET")
    _, cases = load_splits(setting.folder).fold(setting.fold)
    training = _trained(peer, budget, step_s=step_s)
    images = _only(cases, peer.raw / "imagesTr", peer.folder / f"images_fold_{setting.fold}")
    row = _predicted(setting, peer, training, fold=setting.fold, images=images, cases=cases, dataset=dataset)
    keep_row(setting, wanted, row)
    return row


@dataclass(frozen=True)
class _Training:
    """A training of the peer: its `answer`, and its median step `paid_s` by which its steps were counted."""

    program: str
    name: str
    answer: Mapping[str, Any]
    paid_s: float | None

    @property
    def steps(self) -> int:
        return int(self.answer["steps"])

    @property
    def how(self) -> str:
        paid = "" if self.paid_s is None else f", as many as its median step of {self.paid_s:.2f} s allows in that time"
        return f"{number_of(self.steps, 'step')}{paid}, schedule ended there, no validation"


def _trained(peer: NnUnet, budget: Budget, *, step_s: float | None) -> _Training:
    version = peer.version()
    peer.prepare()
    loaders, paid_s = 0, step_s
    if budget.iterations is None and paid_s is None:
        loaders, paid_s = _best_step(peer)
    if budget.iterations is not None:
        paid_s = None
    steps = budget.iterations or max(1, int((budget.seconds or 0.0) / (paid_s or 1.0)))
    name = f"{steps}_steps_fold_{peer.setting.fold}"
    answer = peer.train(
        iterations=steps, loaders=loaders, iterations_per_epoch=ITERATIONS_PER_EPOCH, results=f"results_{name}"
    )
    return _Training(version, name, answer, paid_s)


def _predicted(
    setting: Setting,
    peer: NnUnet,
    training: _Training,
    *,
    fold: str,
    images: Path,
    cases: Sequence[str],
    dataset: Dataset,
) -> Row:
    output = setting.results / "peer" / training.name
    predicted = peer.predict(Path(training.answer["model"]), images=images, output=output / "classes")
    _decode(output / "classes", output / "labels", labels=dataset.labels)
    answer = training.answer
    return Row(
        name=f"{training.program} {setting.configuration.name}",
        configuration=setting.configuration.name,
        recipe=None,
        folds=(fold,),
        steps=training.steps,
        batch_size=answer["batch_size"],
        step_s=answer["seconds"] / training.steps,
        case_s=predicted["seconds"] / len(cases),
        peak_bytes=answer["peak_bytes"],
        parameters=answer["parameters"],
        gflop=gflop_of(setting.plan, setting.configuration.name),
        **_scored(output / "labels", cases, dataset),
    )


def _scored(folder: Path, cases: Sequence[str], dataset: Dataset) -> dict[str, Any]:
    references = dataset_references(dataset, cases, whole=False)
    evaluation = evaluate(folder, lambda _: references, labels=dataset.labels)
    scores = scores_of([evaluation])
    return {"scores": scores, "mean_dice": mean_dice(scores)}


def _only(cases: Sequence[str], source: Path, folder: Path) -> Path:
    """A folder of links to the images of `cases` alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in cases:
        for file in source.glob(f"{case}_????{ENDING}"):
            if not (folder / file.name).exists():
                (folder / file.name).symlink_to(file.resolve())
    return folder


def _best_step(peer: NnUnet) -> tuple[int, float]:
    """The number of loader processes that the peer is fastest with, and its median step then."""
    found = []
    for loaders in LOADERS:
        answer = peer.steps(loaders=loaders, steps=STEPS_TO_TIME, warmup=WARMUP)
        found.append((median(answer["seconds"]), loaders))
    step_s, loaders = min(found)
    return loaders, step_s


def _decode(classes: Path, output: Path, *, labels: LabelScheme) -> None:
    """Predictions of consecutive classes written again with the data set's own label values."""
    output.mkdir(parents=True, exist_ok=True)
    for file in sorted(classes.glob(f"*{ENDING}")):
        values, geometry = read_labels(file)
        write_labels(output / file.name, labels.decode(values), geometry)


def _ours(setting: Setting, budget: Budget, *, images: Path, cases: Sequence[str], dataset: Dataset) -> Row:
    wanted = wanted_row(setting, setting.configuration.name, recipe=None, folds=[ALL], budget=budget)
    means = Means(device=wanted.device, threads=wanted.threads)
    (result,) = cascade.train(setting.folder, training_of(wanted), means=means)
    output = setting.results / "peer" / result.model.name
    report = predict(images, output, models=[result.model], folds=[ALL])
    return Row(
        name="autoseg",
        configuration=setting.configuration.name,
        recipe=None,
        folds=(ALL,),
        steps=result.card.steps,
        parameters=result.card.parameters,
        case_s=report.seconds / len(cases),
        **_scored(output, cases, dataset),
    )
