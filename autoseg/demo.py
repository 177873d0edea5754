"""Everything in a row on a small made-up data set: the functions that the commands call, one after another."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from autoseg.artefacts import digest, load
from autoseg.data.dataset import Dataset
from autoseg.data.image import Shape
from autoseg.data.phantom import CASES, SHAPE, write_phantom
from autoseg.errors import DatasetError, PredictionError, number_of
from autoseg.evaluation.evaluate import Evaluation
from autoseg.evaluation.pairing import dataset_references
from autoseg.evaluation.run import evaluate
from autoseg.fingerprint.fingerprint import Fingerprint
from autoseg.planning.plan import Plan
from autoseg.planning.run import plan as make_plan
from autoseg.prediction.run import predict
from autoseg.preprocessing.run import preprocess
from autoseg.progress import SILENT, Progress
from autoseg.training.observers import UNWATCHED, Observer
from autoseg.training.request import Means, Training
from autoseg.training.run import train
from autoseg.workspace import DatasetFolder, open_workspace

FEWEST_CASES = 8
"""Enough for five folds and a held-out case."""
CONFIGURATION = "3d_fullres"
FOLDS = ("0", "1")
TIME_BUDGET_S = 180.0
GPU_MEMORY_GB = 0.6
"""Asks the planner for a network that a processor trains in minutes."""
MOST_EDGE = 40
SETTINGS = (
    "training.optimiser=adam",
    "training.learning_rate=0.003",
    "training.augmentation=light",
    f"{CONFIGURATION}.batch_size=1",
)
"""What goes further than nnU-Net's SGD when there is time for a few hundred steps only: many small ones of Adam."""


@dataclass(frozen=True)
class Demo:
    """Where everything lies, what came out, the seconds that each stage took, and the values set by hand."""

    data: Path
    workspace: Path
    model: Path
    predictions: Path
    evaluated: Path
    evaluation: Evaluation
    seconds: dict[str, float]
    settings: tuple[str, ...]


def run_demo(
    output: Path,
    *,
    cases: int = CASES,
    shape: Shape = SHAPE,
    seed: int = 0,
    time_budget_s: float | None = TIME_BUDGET_S,
    settings: Sequence[str] = (),
    workers: int | None = None,
    progress: Progress = SILENT,
    observer: Observer = UNWATCHED,
) -> Demo:
    """Write a phantom, plan, preprocess, train two folds, predict the held-out cases with both, and evaluate.

    `time_budget_s` is for the training of both folds together; without it the plan's epochs count. `settings` are further
    KEY=VALUE overrides of the plan. Everything goes to the folder `output`; what is there and up to date is not made again,
    so that a demo that was broken off goes on. Raises DatasetError for too few cases.
    """
    if cases < FEWEST_CASES:
        raise DatasetError(
            f"a demo with {number_of(cases, 'case')} was asked for; expected at least {FEWEST_CASES} (--cases)."
        )
    workspace, predictions = open_workspace(output / "workspace"), output / "predictions"
    seconds: dict[str, float] = {}
    with _timed("write phantom", seconds):
        data = write_phantom(output, cases=cases, shape=shape, seed=seed, workers=workers, progress=progress)
    with _timed("check, fingerprint, plan", seconds):
        plan = make_plan(data, workspace=workspace, gpu_memory_gb=GPU_MEMORY_GB, workers=workers, progress=progress)
    folder = workspace.dataset(plan.dataset)
    with _timed("preprocess", seconds):
        _preprocess(folder, plan, workers=workers, progress=progress)
    chosen = (*SETTINGS, small_patch(plan), half_features(plan), f"training.seed={seed}", *settings)
    with _timed(f"train {len(FOLDS)} folds", seconds):
        asked = Training(CONFIGURATION, folds=FOLDS, settings=chosen, time_budget_s=time_budget_s)
        trained = train(folder, asked, means=Means(progress=progress, observer=observer))
    with _timed("predict held-out cases", seconds):
        model = trained[0].model
        report = predict(data / "imagesTs", predictions, models=[model], skip_existing=True, progress=progress)
        if report.failed:
            raise PredictionError(str(report.failed[0].error))
    with _timed("evaluate", seconds):
        evaluation = _evaluate(folder, predictions, output / "evaluation", workers=workers, progress=progress)
    return Demo(
        data=data,
        workspace=workspace.root,
        model=model,
        predictions=predictions,
        evaluated=output / "evaluation",
        evaluation=evaluation,
        seconds=seconds,
        settings=chosen,
    )


def small_patch(plan: Plan) -> str:
    """The setting that gives the network patches of at most MOST_EDGE voxels along each axis, as its strides allow."""
    planned = plan.configurations[CONFIGURATION]
    divisors = (math.prod(strides) for strides in zip(*planned.network.strides, strict=True))
    pairs = zip(planned.patch_size, divisors, strict=True)
    edges = (str(min(edge, max(1, MOST_EDGE // divisor) * divisor)) for edge, divisor in pairs)
    return f"{CONFIGURATION}.patch_size={','.join(edges)}"


def half_features(plan: Plan) -> str:
    """The setting that gives the network half of the planned feature maps, so that a step costs about a third."""
    features = (str(count // 2) for count in plan.configurations[CONFIGURATION].network.features)
    return f"{CONFIGURATION}.network.features={','.join(features)}"


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note how long what happens inside takes."""
    start = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - start


def _preprocess(folder: DatasetFolder, plan: Plan, *, workers: int | None, progress: Progress) -> None:
    """What training would do by itself, done apart so that its seconds are known."""
    dataset = load(Dataset, folder.dataset_file, remake="autoseg_demo")
    fingerprint = load(Fingerprint, folder.fingerprint_file, remake="autoseg_demo")
    preprocess(
        dataset,
        digest(fingerprint),
        plan,
        CONFIGURATION,
        folder.preprocessed(CONFIGURATION),
        workers=workers,
        progress=progress,
    )


def _evaluate(
    folder: DatasetFolder, predictions: Path, output: Path, *, workers: int | None, progress: Progress
) -> Evaluation:
    dataset = load(Dataset, folder.dataset_file, remake="autoseg_demo")
    return evaluate(
        predictions,
        partial(dataset_references, dataset),
        labels=dataset.labels,
        output=output,
        workers=workers,
        progress=progress,
    )
