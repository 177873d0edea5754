"""A trained model ready to segment images: networks of all folds and configurations, loaded once."""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autoseg.data.image import Image
from autoseg.data.in_memory import take_in
from autoseg.data.labels import LabelScheme
from autoseg.errors import PredictionError
from autoseg.prediction.agreeing import shares
from autoseg.prediction.arithmetic import choose_arithmetic, made_ready
from autoseg.prediction.beside import NOTHING, Beside
from autoseg.prediction.clock import Clock
from autoseg.prediction.ensemble import Member, fitting_together, open_ensemble
from autoseg.prediction.export import export
from autoseg.prediction.keeping import Keeper
from autoseg.prediction.maps import NO_MAPS, Maps, decoded
from autoseg.prediction.memory import Job, Way, choose_way, passes_at_a_time
from autoseg.prediction.passes import Apart, Sweep, voices
from autoseg.prediction.previous_stage import (
    before_resampling,
    prepare_stages,
    refined_classes,
    relabelled_classes,
    with_masks,
)
from autoseg.prediction.refining import Scores, interpolation_orders
from autoseg.prediction.settings import Settings
from autoseg.prediction.sliding_window import finished_slabs
from autoseg.prediction.sums import Box
from autoseg.prediction.sweeping import exchanged_channels, views_of, windows_at_a_time
from autoseg.prediction.threads import FEW_VALUES, one_thread
from autoseg.prediction.thresholds import Thresholds
from autoseg.prediction.uncertainty import Tally
from autoseg.prediction.usable import refuse_unusable
from autoseg.prediction.windows import enlarged
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
                f"the image has {len(image.voxels)} channels; the model expects {len(self.channels)} in this order: "
                f"{', '.join(self.channels)}."
            )
        refuse_unusable(image)
        prepared = [prepare_stages(image, member) for member in self._members]
        if any(before_resampling(case.placement) != before_resampling(prepared[0].placement) for case in prepared):
            raise PredictionError("the models orient or crop images differently, so their grids cannot be averaged.")
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
            self._scores(member, case, job, way.device, clock, apart=apart, progress=progress, description=description)
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
        each = zip(self._members, prepared, jobs, strict=True)
        return [self._scores(member, case, job, way.device, Clock(self.device)) for member, case, job in each]

    def _jobs(self, prepared: Sequence[Prepared], apart: Apart | None) -> list[Job]:
        return [self._job(member, case, apart) for member, case in zip(self._members, prepared, strict=True)]

    def _way(self, jobs: Sequence[Job], prepared: Sequence[Prepared], reserve: int) -> Way:
        return choose_way(
            jobs,
            shape=prepared[0].placement.cropped_shape,
            device=self.device,
            precision=self.precision.name,
            memory_gb=self.settings.memory_gb,
            reserve=reserve,
        )

    def _job(self, member: Member, case: Prepared, apart: Apart | None) -> Job:
        job = Job(
            configuration=member.configuration,
            plan=member.plan,
            networks=len(member.networks),
            shape=case.placement.network_shape,
            orders=interpolation_orders(member.configuration.resampling, case.placement),
            patch_size=self._patch_size(member, case),
            step=self.settings.step,
            batch_size=windows_at_a_time(member.configuration, self.device),
            voices=voices(apart, networks=len(member.networks), mirrorings=len(views_of(member, self.settings.mirroring))),
        )
        if self.device.type != "cpu":
            return job
        return replace(job, workers=passes_at_a_time(job, self.precision.name, threads=torch.get_num_threads()))

    def _scores(
        self,
        member: Member,
        case: Prepared,
        job: Job,
        result_device: torch.device,
        clock: Clock,
        *,
        apart: Apart | None = None,
        progress: Progress = SILENT,
        description: str = "windows",
    ) -> Scores:
        seen = self._seen(member, case, clock, progress=progress, description=description)
        sweep = Sweep(
            patch_size=job.patch_size,
            output_channels=self.labels.output_channels,
            step=job.step,
            mirrorings=views_of(member, self.settings.mirroring),
            device=self.device,
            result_device=result_device,
            precision=self.precision,
            batch_size=job.batch_size,
            workers=job.workers,
            exchanged=exchanged_channels(member),
            apart=apart,
        )

        def slabs(box: Box) -> Iterator[Tensor]:
            found = finished_slabs(member.networks, seen, sweep, box=box, progress=progress, description=description)
            return self._finite(clock.timed(found))

        return Scores(slabs, job.shape, job.orders, job.voices)

    def _seen(self, member: Member, case: Prepared, clock: Clock, *, progress: Progress, description: str) -> Tensor:
        """What goes into the networks (channel, z, y, x): the image, and what the previous stage found if there is one."""
        if member.previous is None:
            return torch.from_numpy(case.image)
        assert case.previous is not None, "prepared for all stages"
        first = f"{description}, {member.previous.configuration.name}"
        job = self._job(member.previous, case.previous, None)
        scores = self._scores(member.previous, case.previous, job, self.device, clock, progress=progress, description=first)
        grids = {"source": case.previous.placement, "target": case.placement}
        orders = member.previous.configuration.resampling
        if member.previous.handed_on == "labels":
            assert case.body is not None, "prepared for label maps"
            classes = relabelled_classes(
                scores,
                **grids,
                resampling=orders,
                label_resampling=member.configuration.resampling,
                labels=self.labels,
                body=case.body,
            )
        else:
            classes = refined_classes(scores, **grids, resampling=orders, labels=self.labels)
        return with_masks(case.image, classes, labels=self.labels)

    def _patch_size(self, member: Member, case: Prepared) -> tuple[int, ...]:
        patch = member.configuration.patch_size
        if not self.settings.single_window:
            return patch
        return enlarged(patch, case.placement.network_shape, member.configuration.network.strides)

    def _finite(self, slabs: Iterator[Tensor]) -> Iterator[Tensor]:
        for slab in slabs:
            if not bool(torch.isfinite(slab.sum())):
                raise PredictionError(f"the network's output is not finite in {self.precision.name}. Try --precision fp32.")
            yield slab
