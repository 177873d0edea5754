"""The training loop: steps, validation and what is written down after each epoch."""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch

from autoseg.errors import TrainingError
from autoseg.planning.plan import TrainingSettings
from autoseg.training.device import memory_bytes
from autoseg.training.example import example_of
from autoseg.training.history import EpochRow, moving_average
from autoseg.training.observers import Observer, Step
from autoseg.training.patches import Batch, BatchSource
from autoseg.training.plateau import why_ended
from autoseg.training.pseudo_dice import dice_of, mean_of, overlap_counts
from autoseg.training.setup import Setup, Surroundings
from autoseg.training.state import EpochSums, TrainingState
from autoseg.training.step import judged, take_step
from autoseg.training.whole_cases import with_whole_cases

MOST_SKIPPED_IN_A_ROW = 10
ENDLESS = 1_000_000
"""Batches asked for where a time budget decides when an epoch ends."""


@dataclass(frozen=True)
class _From:
    """A source that begins at iteration `first`, for epochs that were broken off there."""

    source: BatchSource
    first: int

    def batch(self, epoch: int, iteration: int) -> Batch:
        return self.source.batch(epoch, iteration + self.first)


def fit(state: TrainingState, setup: Setup, around: Surroundings) -> None:
    """Train until the pace says that it is finished, or validation losses that there is no more to gain.

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
        while not setup.pace.is_finished(state.position) and ended_early(state, setup.settings) is None:
            _train_epoch(state, setup, around, now_s)
            row = _validate(state, setup, around, now_s)
            _close_epoch(state, around, with_whole_cases(row, state, setup, around.observer, now_s), now_s)
        # One that came while the last epoch was written down must not let the next fold begin.
        _stop_if_asked(state, around)


def ended_early(state: TrainingState, settings: TrainingSettings) -> str | None:
    """Why the training ends before its time; None where it does not."""
    return why_ended(settings, [row.validation_loss for row in state.history])


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
            loss = take_step(state, setup, batch, warn=around.observer.warned)
            _note(state, loss, batch=batch, observer=around.observer)
            duration_s = now_s() - begun
            state.sums.steps_s += duration_s
            state.sums.waited_s += waited_s
            state.position = state.position.after_step(now_s=now_s(), duration_s=duration_s)
            around.observer.stepped(_seen(state, setup, loss))
            if now_s() - saved_s > 60 * setup.settings.checkpoint_minutes:
                around.save(state)
                saved_s = now_s()


def _stop_if_asked(state: TrainingState, around: Surroundings) -> None:
    if around.interrupted():
        around.save(state)
        raise KeyboardInterrupt("the checkpoint is written; the same command resumes from it")


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
        memory_bytes=memory_bytes(setup.device),
    )


def _validate(state: TrainingState, setup: Setup, around: Surroundings, now_s: Callable[[], float]) -> EpochRow:
    """The row of the epoch that has just been trained, with the loss and the overlap on validation patches."""
    begun = now_s()
    iterations = setup.pace.validation_iterations(state.position)
    losses: list[float] = []
    counts = torch.zeros(3, len(setup.labels.output_names), dtype=torch.int64)
    stream = setup.stream(setup.validation, epoch=state.position.epoch, iterations=iterations)
    with closing(stream), state.ready_to_predict(), torch.no_grad():
        for number, (batch, _) in enumerate(stream):
            if around.interrupted():
                break
            loss, logits, target = judged(state, setup, batch, warn=around.observer.warned)
            losses.append(loss)
            if number == 0:
                around.observer.pictured(example_of(batch.image, logits, target, labels=setup.labels))
            counts += overlap_counts(logits, target, setup.labels).cpu()
    # Not before the network has its own weights back: they belong into the checkpoint, not the averaged ones.
    _stop_if_asked(state, around)
    state.position = state.position.after_validation(
        now_s=now_s(), duration_s=now_s() - begun, iterations=max(iterations, 1)
    )
    return _row(state, setup, losses=losses, pseudo_dice=dice_of(setup.ranks.summed(counts)))


def _row(state: TrainingState, setup: Setup, *, losses: Sequence[float], pseudo_dice: tuple[float | None, ...]) -> EpochRow:
    position, sums = state.position, state.sums
    steps = position.iteration
    train_dice = dice_of(setup.ranks.summed(torch.tensor(sums.overlap))) if sums.overlap else ()
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
        train_dice=train_dice,
        mean_train_dice=mean_of(train_dice),
        micro_batch=state.thrift.micro_batch,
        recomputed=state.thrift.recompute,
        memory_bytes=memory_bytes(setup.device),
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
