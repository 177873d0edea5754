"""How the windows of a member go over a case: what its plan says of mirrorings, channels and batches."""

import torch

from autoseg.planning.mirroring import exchange_of
from autoseg.planning.plan import Configuration
from autoseg.prediction.ensemble import Member
from autoseg.prediction.passes import Exchanged
from autoseg.prediction.sliding_window import network_axes
from autoseg.prediction.windows import views


def views_of(member: Member, mirroring: str) -> tuple[tuple[int, ...], ...]:
    """The mirrorings (axes of the patch) of a kind that a member was trained with."""
    return views(network_axes(member.plan.training.mirror_axes, member.configuration.dimensions), mirroring)


def exchanged_channels(member: Member) -> Exchanged | None:
    """Which channels left and right exchange; None where the networks have no axis from left to right, or no pairs."""
    plan, configuration = member.plan, member.configuration
    found = exchange_of(plan.training, plan.labels)
    axes = [] if found is None else network_axes([found.axis], configuration.dimensions)
    if found is None or not axes:
        return None
    masks = len(plan.labels.foreground) if configuration.previous_stage else 0
    return Exchanged(axis=axes[0], inputs=found.inputs(len(plan.channels), masks=masks), outputs=found.outputs)


def windows_at_a_time(configuration: Configuration, device: torch.device) -> int:
    """Windows a pass: as many as were trained on at a time in 2-D or on a GPU, else one (larger is slower on a CPU)."""
    if configuration.dimensions == 2 and device.type == "cpu":
        return min(8, configuration.batch_size)
    return 1 if device.type == "cpu" else configuration.batch_size
