"""Now and then in a training, some held-out cases are predicted whole: slower than patches, but what counts."""

from collections.abc import Callable
from dataclasses import replace

from autoseg.errors import PredictionError
from autoseg.training.history import EpochRow
from autoseg.training.observers import Observer
from autoseg.training.pseudo_dice import mean_of
from autoseg.training.setup import Setup
from autoseg.training.state import TrainingState
from autoseg.training.thrift import is_out_of_memory


def with_whole_cases(
    row: EpochRow, state: TrainingState, setup: Setup, observer: Observer, now_s: Callable[[], float]
) -> EpochRow:
    """The row of an epoch, with the Dice in whole cases where it is their turn.

    Under a time budget they are left out where they would take more of it than is left. What goes wrong with them is
    told, and the training goes on.
    """
    if setup.whole_cases is None or not _is_due(state, setup):
        return row
    begun = now_s()
    try:
        with state.ready_to_predict() as network:
            dice: tuple[float | None, ...] = setup.whole_cases(network)
    except (PredictionError, RuntimeError, MemoryError) as error:
        if not isinstance(error, PredictionError) and not is_out_of_memory(error):
            raise
        observer.warned(f"epoch {row.epoch}: whole cases were not validated: {error}")
        dice = ()
    ended = now_s()
    state.position = replace(state.position, elapsed_s=ended, whole_cases_s=ended - begun)
    return row.model_copy(update={"case_dice": dice, "mean_case_dice": mean_of(dice)})


def _is_due(state: TrainingState, setup: Setup) -> bool:
    every = setup.settings.validate_every
    if not every or (state.position.epoch + 1) % every:
        return False
    left_s = setup.pace.left_s(state.position) if setup.epochs is None else None
    # Before they have been timed they get no more than half of the budget.
    expected_s = state.position.whole_cases_s or state.position.elapsed_s
    return left_s is None or expected_s < left_s
