"""Everything a training changes, and its form in a checkpoint: tensors and plain values."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autoseg.planning.plan import TrainingSettings
from autoseg.training.average import WeightAverage
from autoseg.training.budget import Position
from autoseg.training.device import Precision
from autoseg.training.history import EpochRow
from autoseg.training.optim import build_optimiser
from autoseg.training.thrift import Thrift
from autoseg.training.variants import PLAIN, Variant, arranged, uncompiled

CHECKPOINT_FORMAT = 2


@dataclass
class EpochSums:
    """What has been added up in the epoch under way, over its finite steps: losses, and seconds of all of them.

    `overlap` counts true positives, false positives and false negatives of each output, in some of the steps.
    """

    loss: float = 0.0
    finite: int = 0
    skipped: int = 0
    steps_s: float = 0.0
    waited_s: float = 0.0
    overlap: list[list[int]] = field(default_factory=list)

    def add_overlap(self, counts: list[list[int]]) -> None:
        """Add true positives, false positives and false negatives of each output; an empty list is nothing."""
        if counts:
            before = self.overlap or [[0] * len(counts[0])] * len(counts)
            self.overlap = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(before, counts, strict=True)]


@dataclass
class TrainingState:
    """A network on its device, its optimiser, and how far they have come."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage | None
    position: Position = field(default_factory=Position)
    sums: EpochSums = field(default_factory=EpochSums)
    history: list[EpochRow] = field(default_factory=list)
    best_ema: float | None = None
    skipped_in_a_row: int = 0
    thrift: Thrift = field(default_factory=Thrift)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """The weights to predict with: the averaged ones where an average is kept."""
        return self.average.tensors if self.average else self.network.state_dict()

    @contextmanager
    def ready_to_predict(self) -> Iterator[nn.Module]:
        """The network in evaluation mode with the weights to predict with."""
        self.network.eval()
        weights = nullcontext() if self.average is None else self.average.in_place_of(self.network)
        try:
            with weights, uncompiled(self.network):
                yield self.network
        finally:
            self.network.train()


def new_state(
    network: nn.Module,
    *,
    settings: TrainingSettings,
    device: torch.device,
    precision: Precision,
    variant: Variant = PLAIN,
) -> TrainingState:
    """The state before the first step; moves `network` to `device`."""
    arranged(network.to(device), variant)
    return TrainingState(
        network=network,
        optimiser=build_optimiser(network.parameters(), settings, fused=variant.fused),
        scaler=torch.amp.GradScaler(device.type, enabled=precision.scaled),
        average=WeightAverage(network, settings.weight_average) if settings.weight_average else None,
    )


def as_checkpoint(state: TrainingState) -> dict[str, Any]:
    """The state as nested dicts of tensors and plain values, loadable with `torch.load(weights_only=True)`."""
    average = state.average
    return {
        "format": CHECKPOINT_FORMAT,
        "network": state.network.state_dict(),
        "optimiser": state.optimiser.state_dict(),
        "scaler": state.scaler.state_dict(),
        "average": {"steps": average.steps, "tensors": average.tensors} if average else None,
        "position": asdict(state.position),
        "sums": asdict(state.sums),
        "history": [row.model_dump() for row in state.history],
        "best_ema": state.best_ema,
        "thrift": asdict(state.thrift),
    }


def restore(state: TrainingState, checkpoint: Mapping[str, Any]) -> None:
    """Bring `state` to where `checkpoint` was taken. KeyError or RuntimeError when the two do not fit."""
    state.network.load_state_dict(checkpoint["network"])
    state.optimiser.load_state_dict(checkpoint["optimiser"])
    state.scaler.load_state_dict(checkpoint["scaler"])
    if state.average is not None:
        state.average.load(tensors=checkpoint["average"]["tensors"], steps=checkpoint["average"]["steps"])
    state.position = Position(**checkpoint["position"])
    state.sums = EpochSums(**checkpoint["sums"])
    state.history = [EpochRow.model_validate(row) for row in checkpoint["history"]]
    state.best_ema = checkpoint["best_ema"]
    state.thrift = Thrift(**checkpoint["thrift"])
