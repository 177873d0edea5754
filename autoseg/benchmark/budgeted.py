"""nnU-Net and autoseg with the same budget on the same cases, predicted by each and scored by the same metrics."""

from functools import partial
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from autoseg import cascade
from autoseg.artefacts import FROZEN, load
from autoseg.benchmark.nnunet import NnUnet
from autoseg.benchmark.nnunet_layout import ENDING
from autoseg.benchmark.rows import Row, mean_dice, scores_of
from autoseg.benchmark.setting import Setting
from autoseg.benchmark.step import LOADERS, WARMUP
from autoseg.data.dataset import Dataset
from autoseg.data.labels import LabelScheme
from autoseg.data.readers import read_labels, write_labels
from autoseg.errors import BenchmarkError
from autoseg.evaluation.pairing import dataset_references
from autoseg.evaluation.run import evaluate
from autoseg.prediction.run import predict

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


def compare_with_peer(
    setting: Setting, peer: NnUnet, *, budget_s: float | None, iterations: int | None, step_s: float | None = None
) -> Comparison:
    """Train, predict and evaluate both, autoseg with `budget_s` seconds, or both with `iterations` steps.

    The peer gets as many iterations as its own median step allows in the budget, its schedule ended there, and loses no
    time to validation. `step_s` is that step as measured before; None measures it now. Raises BenchmarkError where the
    data set has no test cases with labels.
    """
    dataset = load(Dataset, setting.folder.dataset_file, remake="autoseg_plan DATASET")
    if not any(case.label for case in dataset.test_cases):
        raise BenchmarkError(f"{dataset.name}: no test case has labels, so there is nothing to score both on.")
    version = peer.version()
    peer.prepare()
    loaders = 0
    if iterations is None and step_s is None:
        loaders, step_s = _best_step(peer)
    steps = iterations or max(1, int((budget_s or 0.0) / (step_s or 1.0)))
    name = f"{steps}" if budget_s is None else f"{budget_s:.0f}s"
    output = setting.results / "peer" / name
    trained = peer.train(
        iterations=steps, loaders=loaders, iterations_per_epoch=ITERATIONS_PER_EPOCH, results=f"results_{name}"
    )
    images = peer.raw / "imagesTs"
    predicted = peer.predict(Path(trained["model"]), images=images, output=output / "nnunet_classes")
    _decode(output / "nnunet_classes", output / "nnunet", labels=dataset.labels)
    seconds = predicted["seconds"] / len(dataset.test_cases)
    theirs = _row(version, setting, steps=trained["steps"], case_s=seconds, folder=output / "nnunet", dataset=dataset)
    ours = _ours(setting, dataset, output / "autoseg", images=images, budget_s=budget_s, iterations=iterations, name=name)
    given = f"{budget_s:.0f} s" if budget_s is not None else f"{steps} steps"
    paid = "" if step_s is None else f", as many as its median step of {step_s:.2f} s allows in that time"
    return Comparison(
        dataset=dataset.name,
        configuration=setting.configuration.name,
        budget_s=budget_s,
        step_s=step_s,
        cases=len(dataset.test_cases),
        rows=(theirs, ours),
        how=f"autoseg trained {given}; {version} {trained['steps']} steps{paid}, schedule ended there, no validation",
    )


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


def _row(name: str, setting: Setting, *, steps: int, case_s: float, folder: Path, dataset: Dataset) -> Row:
    scores = scores_of([evaluate(folder, partial(dataset_references, dataset), labels=dataset.labels)])
    return Row(
        name=name,
        configuration=setting.configuration.name,
        recipe=None,
        folds=(setting.fold,),
        steps=steps,
        case_s=case_s,
        mean_dice=mean_dice(scores),
        scores=scores,
    )


def _ours(
    setting: Setting,
    dataset: Dataset,
    output: Path,
    *,
    images: Path,
    budget_s: float | None,
    iterations: int | None,
    name: str,
) -> Row:
    fixed = () if iterations is None else ("training.epochs=1", f"training.iterations_per_epoch={iterations}")
    (result,) = cascade.train(
        setting.folder,
        setting.configuration.name,
        folds=[setting.fold],
        name=f"benchmark_peer_{name}",
        settings=fixed,
        time_budget_s=budget_s,
        device=str(setting.device),
        threads=setting.threads,
    )
    report = predict(images, output, models=[result.model], folds=[setting.fold])
    seconds = report.seconds / len(dataset.test_cases)
    return _row("autoseg", setting, steps=result.card.steps, case_s=seconds, folder=output, dataset=dataset)
