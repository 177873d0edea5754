"""A trained model ready to segment images: networks of all folds and configurations, loaded once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.image import Image
from autoseg.data.labels import LabelScheme
from autoseg.errors import PredictionError
from autoseg.planning.plan import Configuration
from autoseg.prediction.ensemble import Member, open_ensemble
from autoseg.prediction.export import Exported, Scores, export, interpolation_orders
from autoseg.prediction.previous_stage import before_resampling, prepare_stages, refined_classes, with_masks
from autoseg.prediction.sliding_window import predict_logits
from autoseg.preprocessing.case import Placement, Prepared
from autoseg.progress import SILENT, Progress
from autoseg.training.device import Precision, choose_device, choose_precision
from autoseg.training.model_folder import Which


@dataclass(frozen=True)
class Settings:
    """How thoroughly and how fast to predict.

    Windows overlap by 1 - `step` of their size at least; `mirroring` averages over all mirrorings trained with.
    `precision` "auto" takes bf16 or fp16 where the device is fast at it.
    """

    step: float = 0.5
    mirroring: bool = True
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise PredictionError(f"step {self.step:g}: expected a share of the patch, above 0 and at most 1.")


@dataclass(frozen=True, eq=False)
class Prediction:
    """Label values (z, y, x) on the grid of the image, as the data set has them on disk.

    `probabilities` (output channel, z, y, x), float16, are there if asked for; `seconds` says how long each stage took.
    """

    labels: NDArray[np.integer]
    probabilities: NDArray[np.float16] | None
    seconds: dict[str, float]


class Predictor:
    """Segments images with an ensemble, held in memory on one device.

    Folds of a configuration are averaged as logits, configurations as probabilities. The three stages can be called one
    by one, each from its own thread; `predict` is all of them.
    """

    def __init__(self, members: Sequence[Member], *, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.device = choose_device(self.settings.device)
        self.precision = _precision(self.settings, self.device)
        self._members = _fitting_together(members)
        for member in members:
            for network in member.all_networks:
                network.to(self.device).eval()

    @classmethod
    def open(
        cls, *models: Path, folds: Sequence[str] = (), which: Which = "final", settings: Settings | None = None
    ) -> "Predictor":
        """The predictor of the model folders `models`; see `open_ensemble` for folds and weights."""
        return cls(open_ensemble(models, folds=folds, which=which).members, settings=settings)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels an image must have, in this order."""
        return self._members[0].plan.channels

    @property
    def labels(self) -> LabelScheme:
        """What the predicted values mean."""
        return self._members[0].plan.labels

    def predict(self, image: Image, *, probabilities: bool = False, progress: Progress = SILENT) -> Prediction:
        """The segmentation of `image`. Raises PredictionError when it does not fit the model."""
        marks = [time.monotonic()]
        prepared = self.prepare(image)
        marks.append(time.monotonic())
        scores = self.scores(prepared, progress=progress)
        marks.append(time.monotonic())
        found = self.export(scores, prepared[0].placement, probabilities=probabilities)
        marks.append(time.monotonic())
        stages = zip(("prepare", "network", "export"), marks, marks[1:], strict=False)
        return Prediction(found.labels, found.probabilities, {name: end - start for name, start, end in stages})

    def prepare(self, image: Image) -> list[Prepared]:
        """The image as each member's networks expect it."""
        if len(image.voxels) != len(self.channels):
            raise PredictionError(
                f"the image has {len(image.voxels)} channels; the model expects {len(self.channels)} in this order: "
                f"{', '.join(self.channels)}."
            )
        prepared = [prepare_stages(image, member) for member in self._members]
        if any(before_resampling(case.placement) != before_resampling(prepared[0].placement) for case in prepared):
            raise PredictionError("the models orient or crop images differently, so their grids cannot be averaged.")
        return prepared

    def scores(
        self, prepared: Sequence[Prepared], *, progress: Progress = SILENT, description: str = "windows"
    ) -> list[Scores]:
        """What each member's networks say, on the member's own grid."""
        return [
            Scores(
                self._logits(member, case, progress=progress, description=description),
                interpolation_orders(member.configuration.resampling, case.placement),
            )
            for member, case in zip(self._members, prepared, strict=True)
        ]

    def export(self, scores: Sequence[Scores], placement: Placement, *, probabilities: bool = False) -> Exported:
        """The decision on the grid of the image that `placement` (of any member) belongs to."""
        return export(scores, labels=self.labels, placement=placement, probabilities=probabilities)

    def _logits(self, member: Member, case: Prepared, *, progress: Progress, description: str) -> Tensor:
        seen = self._seen(member, case, progress=progress, description=description)
        channels = self.labels.output_channels
        logits = predict_logits(
            member.networks,
            seen,
            patch_size=member.configuration.patch_size,
            output_channels=channels,
            step=self.settings.step,
            mirror_axes=member.plan.training.mirror_axes if self.settings.mirroring else (),
            device=self.device,
            result_device=_room_for(4 * channels * case.image[0].size, self.device),
            precision=self.precision,
            batch_size=_batch_size(member.configuration, self.device),
            progress=progress,
            description=description,
        )
        if not bool(torch.isfinite(logits.sum())):
            raise PredictionError(f"the network's output is not finite in {self.precision.name}. Try --precision fp32.")
        return logits

    def _seen(self, member: Member, case: Prepared, *, progress: Progress, description: str) -> Tensor:
        """What goes into the networks (channel, z, y, x): the image, and what the previous stage found if there is one."""
        if member.previous is None:
            return torch.from_numpy(case.image)
        assert case.previous is not None, "prepared for all stages"
        first = f"{description}, {member.previous.configuration.name}"
        logits = self._logits(member.previous, case.previous, progress=progress, description=first)
        classes = refined_classes(
            logits,
            source=case.previous.placement,
            target=case.placement,
            resampling=member.previous.configuration.resampling,
            labels=self.labels,
        )
        return with_masks(case.image, classes, labels=self.labels)


def _fitting_together(members: Sequence[Member]) -> tuple[Member, ...]:
    first = members[0].plan
    for member in members[1:]:
        if member.plan.channels != first.channels or member.plan.labels != first.labels:
            raise PredictionError(
                f"the models of {first.dataset} and {member.plan.dataset} differ in channels or labels and cannot be "
                "averaged. Predict with one at a time."
            )
    return tuple(members)


def _precision(settings: Settings, device: torch.device) -> Precision:
    if settings.precision == "fp16" and device.type != "cuda":
        raise PredictionError(f"--precision fp16 needs a CUDA device, found {device.type}. Use --precision auto.")
    return choose_precision(settings.precision, device)


def _room_for(result_bytes: int, device: torch.device) -> torch.device:
    """Where a case's logits are summed: on the device if they leave half of its free memory, else on the CPU."""
    if device.type == "cuda" and result_bytes > torch.cuda.mem_get_info(device)[0] // 2:
        return torch.device("cpu")
    return device


def _batch_size(configuration: Configuration, device: torch.device) -> int:
    """Windows a pass: as many as were trained on at a time in 2-D or on a GPU, else one (larger is slower on a CPU)."""
    if configuration.dimensions == 2 and device.type == "cpu":
        return min(8, configuration.batch_size)
    return 1 if device.type == "cpu" else configuration.batch_size
