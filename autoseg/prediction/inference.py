"""Networks at work on a case: its windows, and first those of the stage before where a member has one."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autoseg.errors import PredictionError
from autoseg.prediction.clock import Clock
from autoseg.prediction.ensemble import Member
from autoseg.prediction.memory import Job, passes_at_a_time
from autoseg.prediction.passes import Apart, Sweep, voices
from autoseg.prediction.previous_stage import refined_classes, relabelled_classes, with_masks
from autoseg.prediction.refining import Scores, interpolation_orders
from autoseg.prediction.settings import Settings
from autoseg.prediction.sliding_window import finished_slabs
from autoseg.prediction.sums import Box
from autoseg.prediction.sweeping import exchanged_channels, views_of, windows_at_a_time
from autoseg.prediction.windows import enlarged
from autoseg.preprocessing.case import Prepared
from autoseg.progress import SILENT, Progress
from autoseg.training.device import Precision


@dataclass(frozen=True)
class Inference:
    """How networks are run: how thoroughly, where, and in which numbers."""

    settings: Settings
    device: torch.device
    precision: Precision

    def job(self, member: Member, case: Prepared, apart: Apart | None = None) -> Job:
        """What there is to do for a case of a member, with the means kept `apart`."""
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

    def scores(
        self,
        member: Member,
        case: Prepared,
        job: Job,
        *,
        result_device: torch.device,
        clock: Clock,
        apart: Apart | None = None,
        progress: Progress = SILENT,
        description: str = "windows",
    ) -> Scores:
        """What the member's networks say on its own grid, summed on `result_device`; they run when slabs are taken.

        The stage before runs at once. `clock` counts the seconds of all networks. Taking slabs raises PredictionError where
        what networks say is not finite.
        """
        seen = self._seen(member, case, clock, progress=progress, description=description)
        sweep = Sweep(
            patch_size=job.patch_size,
            output_channels=member.plan.labels.output_channels,
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
        scores = self.scores(
            member.previous,
            case.previous,
            self.job(member.previous, case.previous),
            result_device=self.device,
            clock=clock,
            progress=progress,
            description=first,
        )
        grids = {"source": case.previous.placement, "target": case.placement}
        orders = member.previous.configuration.resampling
        if member.previous.handed_on == "labels":
            assert case.body is not None, "prepared for label maps"
            classes = relabelled_classes(
                scores,
                **grids,
                resampling=orders,
                label_resampling=member.configuration.resampling,
                labels=member.plan.labels,
                body=case.body,
            )
        else:
            classes = refined_classes(scores, **grids, resampling=orders, labels=member.plan.labels)
        return with_masks(case.image, classes, labels=member.plan.labels)

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
