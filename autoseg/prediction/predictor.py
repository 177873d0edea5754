"""A trained model ready to segment images: networks of all folds and configurations, loaded once."""

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.data.image import Image
from autoseg.data.in_memory import take_in
from autoseg.data.labels import LabelScheme
from autoseg.errors import PredictionError, number_of
from autoseg.prediction.agreeing import shares
from autoseg.prediction.arithmetic import choose_arithmetic, made_ready
from autoseg.prediction.beside import NOTHING, Beside
from autoseg.prediction.clock import Clock
from autoseg.prediction.ensemble import Member, fitting_together, open_ensemble
from autoseg.prediction.export import export
from autoseg.prediction.inference import Inference
from autoseg.prediction.keeping import Keeper
from autoseg.prediction.maps import NO_MAPS, Maps, decoded
from autoseg.prediction.memory import Job, Way, choose_way
from autoseg.prediction.passes import Apart
from autoseg.prediction.previous_stage import before_resampling, prepare_stages
from autoseg.prediction.refining import Scores
from autoseg.prediction.settings import Settings
from autoseg.prediction.sweeping import views_of
from autoseg.prediction.threads import FEW_VALUES, one_thread
from autoseg.prediction.thresholds import Thresholds
from autoseg.prediction.uncertainty import Tally
from autoseg.prediction.usable import refuse_unusable
from autoseg.preprocessing.case import Prepared
from autoseg.progress import SILENT, Progress
from autoseg.training.allocator import kept_memory
from autoseg.training.device import choose_device
from autoseg.training.model_folder import Which


@dataclass(frozen=True, eq=False)
class Prediction:
    """Label values (z, y, x) on the grid of the image, as the data set has them on disk.

    `maps` and `tally` hold what was asked for beside them; `seconds` says how long each stage took, `way` how memory was
    kept small (None where no network was run).
    """

    labels: NDArray[np.integer]
    seconds: dict[str, float]
    way: str | None
    maps: Maps = NO_MAPS
    tally: Tally | None = None

    @property
    def probabilities(self) -> NDArray[np.float32] | None:
        """Probabilities (output channel, z, y, x), if asked for, in steps of 1 / 65535."""
        return None if self.maps.probabilities is None else decoded(self.maps.probabilities)


class Predictor:
    """Segments images with an ensemble, held in memory on one device.

    Folds of a configuration are averaged as logits, configurations as probabilities, with `weights` if they are given (one
    for each of `members`, else PredictionError is raised). `prepare` and `decide` can be called one by one, each from its
    own thread; `predict` is both.
    """

    def __init__(
        self, members: Sequence[Member], *, settings: Settings | None = None, weights: Sequence[float] | None = None
    ) -> None:
        self.settings = settings or Settings()
        self._shares = shares(weights, len(members))
        self.device = choose_device(self.settings.device)
        self.precision = choose_arithmetic(self.settings, self.device)
        fitting = fitting_together(members)
        self._members = tuple(made_ready(member, self.precision, self.device) for member in fitting)
        self._inference = Inference(self.settings, self.device, self.precision)

    @classmethod
    def open(
        cls,
        *models: Path | str,
        folds: Sequence[str] = (),
        which: Which = "final",
        settings: Settings | None = None,
        weights: Sequence[float] | None = None,
    ) -> "Predictor":
        """The predictor of the model folders `models`, averaged with `weights`; see `open_ensemble` for folds."""
        paths = [Path(model) for model in models]
        return cls(open_ensemble(paths, folds=folds, which=which).members, settings=settings, weights=weights)

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels an image must have, in this order."""
        return self._members[0].plan.channels

    @property
    def may_lack_channels(self) -> bool:
        """Whether every network was trained with channels dropped, so that an image may lack some: those are zero then."""
        return all(member.plan.training.drop_channel > 0 for member in self._members)

    @property
    def labels(self) -> LabelScheme:
        """What the predicted values mean."""
        return self._members[0].plan.labels

    @property
    def apart(self) -> Apart | None:
        """What uncertainty is the spread of: networks (folds, configurations), or the mirrorings of a single one."""
        if sum(len(member.networks) for member in self._members) > 1:
            return "networks"
        return "mirrorings" if len(views_of(self._members[0], self.settings.mirroring)) > 1 else None

    def predict(self, image: Image, *, probabilities: bool = False, progress: Progress = SILENT) -> Prediction:
        """The segmentation of `image`. Raises PredictionError when it does not fit the model."""
        start = time.monotonic()
        prepared = self.prepare(image)
        seconds = time.monotonic() - start
        found = self.decide(prepared, beside=Beside(probabilities), progress=progress)
        return replace(found, seconds={"prepare": seconds, **found.seconds})

    def segment(self, image: Any, *, spacing_mm: Sequence[float] | None = None) -> Any:
        """The label map of `image`, in the same form: array, nibabel image, SimpleITK image, or Image.

        Several channels are one image with all of them, or a list with one for each. An array needs `spacing_mm` and is
        taken to lie as the model's own images do; its axes and spacing are (z, y, x). Raises ImageError for what is not
        understood and PredictionError for what does not fit the model.
        """
        taken, give_back = take_in(image, spacing_mm=spacing_mm, orientation=self._members[0].plan.orientation)
        return give_back(self.predict(taken).labels)

    def prepare(self, image: Image) -> list[Prepared]:
        """The image as each member's networks expect it. Raises PredictionError or ImageError where it cannot be used."""
        if len(image.voxels) != len(self.channels):
            raise PredictionError(
                f"the image has {number_of(len(image.voxels), 'channel')}; the model expects {len(self.channels)} in "
                f"this order: {', '.join(self.channels)}."
            )
        refuse_unusable(image)
        prepared = [prepare_stages(image, member) for member in self._members]
        if any(before_resampling(case.placement) != before_resampling(prepared[0].placement) for case in prepared):
            raise PredictionError(
                "the models orient or crop images differently, so their grids cannot be averaged. One of nnU-Net takes "
                "images as stored, unless it is imported with --orientation CODE."
            )
        return prepared

    def decide(
        self,
        prepared: Sequence[Prepared],
        *,
        beside: Beside = NOTHING,
        thresholds: Thresholds = (),
        scratch: Path | None = None,
        progress: Progress = SILENT,
        description: str = "windows",
        reserve: int = 0,
    ) -> Prediction:
        """The segmentation of an image that has been prepared, and what is wanted `beside` it.

        Regions are painted where they are likelier than their `thresholds`. `reserve` bytes of memory are needed elsewhere
        meanwhile. Maps lie in files in the folder `scratch`, else in memory.
        """
        start = time.monotonic()
        apart = self.apart if beside.uncertainty else None
        jobs = self._jobs(prepared, apart)
        way = self._way(jobs, prepared, reserve)
        clock = Clock(self.device)
        members = [
            self._inference.scores(
                member,
                case,
                job,
                result_device=way.device,
                clock=clock,
                apart=apart,
                progress=progress,
                description=description,
            )
            for member, case, job in zip(self._members, prepared, jobs, strict=True)
        ]
        keeper, placement = None, prepared[0].placement
        if beside != NOTHING:
            counts = [member.voices for member in members]
            keeper = Keeper(beside, self.labels, placement, shares=self._shares, voices=counts, folder=scratch)
        values = prod(placement.cropped_shape) * self.labels.output_channels
        alone = all(job.workers > 1 for job in jobs) and values <= FEW_VALUES
        with kept_memory() if way.is_roomy else nullcontext(), one_thread(alone):
            labels = export(
                members,
                labels=self.labels,
                placement=placement,
                boxes=way.boxes,
                shares=self._shares,
                keeper=keeper,
                thresholds=thresholds,
            )
        seconds = {"network": clock.seconds, "export": time.monotonic() - start - clock.seconds}
        if keeper is None:
            return Prediction(labels, seconds, str(way))
        return Prediction(labels, seconds, str(way), keeper.maps, keeper.tally)

    def scores(self, prepared: Sequence[Prepared]) -> list[Scores]:
        """What each member's networks say, on the member's own grid; they run when the slabs are taken."""
        jobs = self._jobs(prepared, None)
        way = self._way(jobs, prepared, 0)
        return [
            self._inference.scores(member, case, job, result_device=way.device, clock=Clock(self.device))
            for member, case, job in zip(self._members, prepared, jobs, strict=True)
        ]

    def _jobs(self, prepared: Sequence[Prepared], apart: Apart | None) -> list[Job]:
        return [self._inference.job(member, case, apart) for member, case in zip(self._members, prepared, strict=True)]

    def _way(self, jobs: Sequence[Job], prepared: Sequence[Prepared], reserve: int) -> Way:
        return choose_way(
            jobs,
            shape=prepared[0].placement.cropped_shape,
            device=self.device,
            precision=self.precision.name,
            memory_gb=self.settings.memory_gb,
            reserve=reserve,
        )
