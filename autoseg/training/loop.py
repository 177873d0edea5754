"""The training loop: steps, validation and what is written down after each epoch."""

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from autoseg.data.labels import LabelScheme
from autoseg.errors import TrainingError
from autoseg.planning.plan import TrainingSettings
from autoseg.training.budget import Pace
from autoseg.training.device import Precision
from autoseg.training.history import EpochRow, moving_average
from autoseg.training.observers import Observer, Step
from autoseg.training.optim import learning_rate, set_learning_rate
from autoseg.training.patches import Batch, BatchSource
from autoseg.training.pseudo_dice import dice_of, mean_of, overlap_counts
from autoseg.training.state import EpochSums, TrainingState

CHECKPOINT_EVERY_S = 600.0
MOST_SKIPPED_IN_A_ROW = 10
ENDLESS = 1_000_000
"""Batches asked for where a time budget decides when an epoch ends."""


class Stream(Protocol):
    """A way to run through a source, possibly ahead of the training."""

    def __call__(self, source: BatchSource, *, epoch: int, iterations: int) -> Generator[tuple[Batch, float], None, None]:
        """The batches of an epoch, each with the seconds that were spent waiting for it; closed when left early."""
        ...


def in_turn(source: BatchSource, *, epoch: int, iterations: int) -> Generator[tuple[Batch, float], None, None]:
    """Each batch is made when it is asked for."""
    for iteration in range(iterations):
        begun = time.monotonic()
        batch = source.batch(epoch, iteration)
        yield batch, time.monotonic() - begun


@dataclass(frozen=True)
class _From:
    """A source that begins at iteration `first`, for epochs that were broken off there."""

    source: BatchSource
    first: int

    def batch(self, epoch: int, iteration: int) -> Batch:
        return self.source.batch(epoch, iteration + self.first)


@dataclass(frozen=True)
class Setup:
    """What stays the same throughout a training. `iterations` and `epochs` are None under a time budget."""

    settings: TrainingSettings
    labels: LabelScheme
    loss: Callable[[Sequence[Tensor], Tensor], Tensor]
    device: torch.device
    precision: Precision
    pace: Pace
    training: BatchSource
    validation: BatchSource
    stream: Stream = in_turn
    epochs: int | None = None
    iterations: int | None = None


@dataclass(frozen=True)
class Surroundings:
    """Files, clocks and signals, as functions.

    `save` writes a checkpoint, `save_best` the weights of the best epoch so far; `interrupted` says whether to stop.
    """

    save: Callable[[TrainingState], None]
    save_best: Callable[[TrainingState], None]
    interrupted: Callable[[], bool]
    observer: Observer
    clock: Callable[[], float] = time.monotonic


def fit(state: TrainingState, setup: Setup, around: Surroundings) -> None:
    """Train until the pace says that it is finished.

    Epochs that were broken off go on where they were. Raises KeyboardInterrupt, with the checkpoint written, when
    interrupted, and TrainingError when the loss stays infinite or NaN.
    """
    offset = around.clock() - state.position.elapsed_s

    def now_s() -> float:
        return around.clock() - offset

    state.network.train()
    gpus = [setup.device] if setup.device.type == "cuda" else []
    # Dropout draws from the global generators: inside the fork they are seeded for each step.
    with torch.random.fork_rng(devices=gpus):
        while not setup.pace.is_finished(state.position):
            _train_epoch(state, setup, around, now_s)
            _close_epoch(state, around, _validate(state, setup, around, now_s), now_s)
        # One that came while the last epoch was written down must not let the next fold begin.
        _stop_if_asked(state, around)


def _train_epoch(state: TrainingState, setup: Setup, around: Surroundings, now_s: Callable[[], float]) -> None:
    first = state.position.iteration
    left = ENDLESS if setup.iterations is None else setup.iterations - first
    saved_s = now_s()
    stream = setup.stream(_From(setup.training, first), epoch=state.position.epoch, iterations=left)
    with closing(stream) as batches:
        while setup.pace.takes_another_step(state.position):
            begun = now_s()
            _stop_if_asked(state, around)
            batch, waited_s = next(batches)
            loss = _step(state, setup, batch)
            _note(state, loss, batch=batch, observer=around.observer)
            duration_s = now_s() - begun
            state.sums.steps_s += duration_s
            state.sums.waited_s += waited_s
            state.position = state.position.after_step(now_s=now_s(), duration_s=duration_s)
            around.observer.stepped(_seen(state, setup, loss))
            if now_s() - saved_s > CHECKPOINT_EVERY_S:
                around.save(state)
                saved_s = now_s()


def _stop_if_asked(state: TrainingState, around: Surroundings) -> None:
    if around.interrupted():
        around.save(state)
        raise KeyboardInterrupt("the checkpoint is written; the same command resumes from it")


def _step(state: TrainingState, setup: Setup, batch: Batch) -> float | None:
    """The loss of one step; None, with nothing changed, where loss or gradient are not finite."""
    settings, position = setup.settings, state.position
    torch.manual_seed(_step_seed(settings.seed, position.epoch, position.iteration))
    set_learning_rate(state.optimiser, learning_rate(settings, setup.pace.progress(position)))
    state.optimiser.zero_grad(set_to_none=True)
    loss, _ = _loss(state, setup, batch)
    value = float(loss.detach())
    if not math.isfinite(value):
        return None
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    state.scaler.unscale_(state.optimiser)
    norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.gradient_clip)
    # With scaled losses an infinite gradient is usual: the scaler skips that step itself and lowers its scale.
    if not setup.precision.scaled and not math.isfinite(float(norm)):
        return None
    state.scaler.step(state.optimiser)
    state.scaler.update()
    if state.average is not None:
        state.average.update(state.network)
    return value


def _loss(state: TrainingState, setup: Setup, batch: Batch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The loss of a batch, and the finest logits with their target."""
    image = batch.image.to(setup.device, non_blocking=True)
    target = batch.target.to(setup.device, non_blocking=True)
    with setup.precision.autocast(setup.device):
        output = state.network(image)
    logits = [output] if isinstance(output, Tensor) else output
    return setup.loss(logits, target), (logits[0], target)


def _step_seed(*numbers: int) -> int:
    """One seed from several numbers, so that the same step draws the same whatever went before."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 1) % (1 << 63)
    return mixed


def _note(state: TrainingState, loss: float | None, *, batch: Batch, observer: Observer) -> None:
    if loss is not None:
        state.sums.loss += loss
        state.sums.finite += 1
        state.skipped_in_a_row = 0
        return
    state.sums.skipped += 1
    state.skipped_in_a_row += 1
    cases = ", ".join(batch.case_ids)
    observer.warned(f"loss or gradient is not finite for cases {cases}: step skipped")
    if state.skipped_in_a_row >= MOST_SKIPPED_IN_A_ROW:
        raise TrainingError(
            f"the loss was not finite {MOST_SKIPPED_IN_A_ROW} steps in a row, last for cases {cases}. Likely causes: too "
            "high a learning rate (--set training.learning_rate=0.001), too coarse numbers "
            "(--set training.precision=fp32), or images with extreme values (autoseg_plan DATASET --check)."
        )


def _seen(state: TrainingState, setup: Setup, loss: float | None) -> Step:
    position, sums = state.position, state.sums
    return Step(
        epoch=position.epoch,
        epochs=setup.epochs,
        iteration=position.iteration,
        iterations=setup.iterations,
        loss=loss,
        learning_rate=float(state.optimiser.param_groups[0]["lr"]),
        step_s=position.step_s or 0.0,
        waiting_share=sums.waited_s / sums.steps_s if sums.steps_s else 0.0,
        progress=setup.pace.progress(position),
        left_s=setup.pace.left_s(position),
    )


def _validate(state: TrainingState, setup: Setup, around: Surroundings, now_s: Callable[[], float]) -> EpochRow:
    """The row of the epoch that has just been trained, with the loss and the overlap on validation patches."""
    begun = now_s()
    iterations = setup.pace.validation_iterations(state.position)
    losses: list[float] = []
    counts = torch.zeros(3, len(setup.labels.output_names), dtype=torch.int64)
    stream = setup.stream(setup.validation, epoch=state.position.epoch, iterations=iterations)
    with closing(stream), state.ready_to_predict(), torch.no_grad():
        for batch, _ in stream:
            if around.interrupted():
                break
            loss, (logits, target) = _loss(state, setup, batch)
            losses.append(float(loss))
            counts += overlap_counts(logits, target, setup.labels).cpu()
    # Not before the network has its own weights back: they belong into the checkpoint, not the averaged ones.
    _stop_if_asked(state, around)
    state.position = state.position.after_validation(
        now_s=now_s(), duration_s=now_s() - begun, iterations=max(iterations, 1)
    )
    return _row(state, losses=losses, pseudo_dice=dice_of(counts))


def _row(state: TrainingState, *, losses: Sequence[float], pseudo_dice: tuple[float | None, ...]) -> EpochRow:
    position, sums = state.position, state.sums
    steps = position.iteration
    mean = mean_of(pseudo_dice)
    return EpochRow(
        epoch=position.epoch,
        steps=steps,
        learning_rate=float(state.optimiser.param_groups[0]["lr"]),
        train_loss=sums.loss / sums.finite if sums.finite else None,
        validation_loss=mean_of(tuple(loss for loss in losses if math.isfinite(loss))),
        pseudo_dice=pseudo_dice,
        mean_pseudo_dice=mean,
        ema_pseudo_dice=moving_average(state.history[-1].ema_pseudo_dice if state.history else None, mean),
        seconds=position.elapsed_s - position.epoch_started_s,
        seconds_per_step=sums.steps_s / max(steps, 1),
        waiting_share=sums.waited_s / sums.steps_s if sums.steps_s else 0.0,
        elapsed_s=position.elapsed_s,
        skipped_steps=sums.skipped,
    )


def _close_epoch(state: TrainingState, around: Surroundings, row: EpochRow, now_s: Callable[[], float]) -> None:
    begun = now_s()
    state.history.append(row)
    state.sums = EpochSums()
    if row.ema_pseudo_dice is not None and (state.best_ema is None or row.ema_pseudo_dice > state.best_ema):
        state.best_ema = row.ema_pseudo_dice
        around.save_best(state)
    state.position = state.position.next_epoch()
    around.save(state)
    around.observer.epoch_ended(state.history)
    state.position = state.position.after_closing(now_s=now_s(), duration_s=now_s() - begun)
