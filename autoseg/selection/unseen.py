"""Networks that have not seen a case, first stages of cascades included."""

from collections.abc import Iterator, Sequence

from autoseg.cascade import unseen_by
from autoseg.errors import AutosegError
from autoseg.prediction.ensemble import Member, first_stage_folder, load_previous
from autoseg.training.model_folder import Model, load_network, open_model


def unseen_members(models: Sequence[Model], fold: str, ids: Sequence[str]) -> Iterator[tuple[list[Member], list[str]]]:
    """Members of the `fold` of each model for the held-out cases `ids`, and those of the cases that they are for.

    The first stage of a cascade takes part with a fold that was not trained on the case; cases for which that is another
    one come with other members. Raises TrainingError for a case that every fold of a first stage was trained on.
    """
    firsts = [first_stage(model) for model in models]
    of_case = {id_: tuple(None if first is None else _unseen(first, id_) for first in firsts) for id_ in ids}
    for folds in dict.fromkeys(of_case.values()):
        members = [_member(model, fold, first, own) for model, first, own in zip(models, firsts, folds, strict=True)]
        yield members, [id_ for id_ in ids if of_case[id_] == folds]


def first_stage(model: Model) -> Model | None:
    """The model whose findings a cascade refines; None for a model of one stage."""
    return None if model.configuration.previous_stage is None else open_model(first_stage_folder(model))


def why_seen(model: Model, folds: Sequence[str]) -> str | None:
    """Why a first stage that has not seen the held-out cases of `folds` cannot predict them; None where it can."""
    try:
        first = first_stage(model)
        if first is not None:
            for id_ in (id_ for fold in folds for id_ in model.splits.fold(fold)[1]):
                _unseen(first, id_)
    except AutosegError as error:
        return str(error)
    return None


def _unseen(first: Model, id_: str) -> str:
    fold = unseen_by(first.splits, [id_])[id_]
    if fold not in first.folds:
        raise AutosegError(
            f"case {id_}: fold {fold} of the first stage {first.card.name} has not seen it, and is not trained. "
            f"Train it: {first.remake(f'-f {fold}')}"
        )
    return fold


def _member(model: Model, fold: str, first: Model | None, first_fold: str | None) -> Member:
    network = load_network(model, fold)
    if first is None or first_fold is None:
        return Member(model.plan, model.configuration, (network,))
    before = Member(
        first.plan,
        first.configuration,
        (load_network(first, first_fold),),
        handed_on=load_previous(model).handed_on,
    )
    return Member(model.plan, model.configuration, (network,), before)
