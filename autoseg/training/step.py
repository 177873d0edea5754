"""One step of a training: loss, gradient and optimiser, with as little memory as there is."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from autoseg.errors import TrainingError
from autoseg.training.frozen import encoder_left
from autoseg.training.optim import learning_rate, set_learning_rate
from autoseg.training.patches import Batch
from autoseg.training.pseudo_dice import overlap_counts
from autoseg.training.setup import Setup
from autoseg.training.state import TrainingState
from autoseg.training.thrift import (
    Thrift,
    buffers_kept,
    gradients,
    gradients_in_parts,
    in_all_or_none,
    is_out_of_memory,
    recomputing,
    with_memory_left,
)
from autoseg.training.whole_batch import shares_norms

T = TypeVar("T")

OVERLAP_EVERY = 10
"""Steps between those whose overlap with the target is counted: enough for a curve, too few to cost time."""

MOST_PARTS = 1 << 20
"""More parts than any batch has, so that no two parts of any two processes draw the same."""


def take_step(state: TrainingState, setup: Setup, batch: Batch, *, warn: Callable[[str], None]) -> float | None:
    """The loss of one step; None, with nothing changed, where loss or gradient are not finite.

    Where the device has too little memory the same step is made with less, and so are all that follow.
    """
    losses = [row.validation_loss for row in state.history]
    set_learning_rate(state.optimiser, learning_rate(setup.settings, setup.pace.progress(state.position), losses))
    with encoder_left(state.network, active=state.position.epoch < setup.settings.freeze_encoder_epochs):
        (loss, overlap), state.thrift = _with_memory_left(
            lambda thrift: _gradients(state, setup, batch, thrift), state, setup, batch=batch, warn=warn
        )
    if not math.isfinite(loss):
        return None
    setup.ranks.average_gradients(state.network.parameters())
    state.scaler.unscale_(state.optimiser)
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), setup.settings.gradient_clip)
    # With scaled losses an infinite gradient is usual: the scaler skips that step itself and lowers its scale.
    if not setup.precision.scaled and not math.isfinite(float(norm)):
        return None
    state.scaler.step(state.optimiser)
    state.scaler.update()
    if state.average is not None:
        state.average.update(state.network)
    state.sums.add_overlap(overlap)
    return loss


def _gradients(state: TrainingState, setup: Setup, batch: Batch, thrift: Thrift) -> tuple[float, list[list[int]]]:
    """The loss of a batch; its gradients are those of the parameters afterwards, unless it is not finite.

    Now and then also the overlap of what the network finds with the target, as in `overlap_counts`; else an empty list.
    """
    state.optimiser.zero_grad(set_to_none=True)
    image, target = _on_device(setup, batch)
    numbers = (setup.settings.seed, state.position.epoch, state.position.iteration)

    def seed(part: int) -> None:
        number = part + MOST_PARTS * setup.ranks.rank
        torch.manual_seed(_step_seed(*numbers, *([number] if number else [])))

    def forward(part: Tensor) -> list[Tensor]:
        return _logits(state, setup, part)

    def backward(loss: Tensor) -> None:
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    overlap: list[list[int]] = []

    def loss_of(logits: list[Tensor]) -> Tensor:
        if state.position.iteration % OVERLAP_EVERY == 0:
            overlap[:] = overlap_counts(logits[0].detach(), target, setup.labels).tolist()
        return setup.loss(logits, target)

    together = partial(in_all_or_none, setup.ranks)
    sizes = thrift.sizes(len(image))
    with recomputing(state.network, active=thrift.recompute):
        if len(sizes) > 1:
            loss = gradients_in_parts(
                forward,
                state.network,
                image=image,
                loss=loss_of,
                backward=backward,
                sizes=sizes,
                seed=seed,
                together=together,
            )
            return float(loss), overlap
        seed(0)
        logits = together(lambda: forward(image))
        with buffers_kept(state.network) if thrift.recompute else nullcontext():
            if setup.ranks.size > 1:
                return float(gradients(logits, loss=loss_of, backward=backward, together=together)), overlap
            loss = loss_of(logits)
            if math.isfinite(float(loss.detach())):
                backward(loss)
        return float(loss.detach()), overlap


def judged(
    state: TrainingState, setup: Setup, batch: Batch, *, warn: Callable[[str], None]
) -> tuple[float, Tensor, Tensor]:
    """The loss of a batch, its finest logits and its target on the device; for validation, without gradients."""

    def attempt(thrift: Thrift) -> tuple[float, Tensor, Tensor]:
        image, target = _on_device(setup, batch)
        sizes = thrift.sizes(len(image))
        parts = in_all_or_none(setup.ranks, lambda: [_logits(state, setup, part) for part in torch.split(image, sizes)])
        logits = parts[0] if len(parts) == 1 else [torch.cat(levels) for levels in zip(*parts, strict=True)]
        return float(setup.loss(logits, target)), logits[0], target

    found, state.thrift = _with_memory_left(attempt, state, setup, batch=batch, warn=warn)
    return found


def _with_memory_left(
    attempt: Callable[[Thrift], T], state: TrainingState, setup: Setup, *, batch: Batch, warn: Callable[[str], None]
) -> tuple[T, Thrift]:
    """What `attempt` gives with as much memory as there is, and how; several processes make do with less together."""
    ranks = setup.ranks
    if not shares_norms(state.network, ranks):
        # The largest share: all processes take the same steps down, also the one that has a sample less.
        return with_memory_left(attempt, state.thrift, samples=lambda: ranks.largest(len(batch.image)), warn=warn)
    try:
        return attempt(state.thrift), state.thrift
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(
            f"process {ranks.rank} of {ranks.size}: its device has too little memory for {len(batch.image)} samples, and "
            "the others wait for the sums of its batch norms. Begin with one process, without torchrun: it finds out how "
            "to make do with less, and all processes that go on from its checkpoint do the same. Or start more processes, "
            "or take another norm: --set CONFIGURATION.network.norm=instance"
        ) from error


def _on_device(setup: Setup, batch: Batch) -> tuple[Tensor, Tensor]:
    return batch.image.to(setup.device, non_blocking=True), batch.target.to(setup.device, non_blocking=True)


def _logits(state: TrainingState, setup: Setup, image: Tensor) -> list[Tensor]:
    """One tensor (sample, channel, *grid) per output, finest first."""
    with setup.precision.autocast(setup.device):
        output = state.network(image)
    return [output] if isinstance(output, Tensor) else list(output)


def _step_seed(*numbers: int) -> int:
    """One seed from several numbers, so that the same step draws the same whatever went before."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 1) % (1 << 63)
    return mixed
