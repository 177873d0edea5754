"""What differs between two plans."""

from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from autoseg.artefacts import FROZEN, load
from autoseg.errors import UnknownNameError, unknown_name
from autoseg.planning.plan import Plan
from autoseg.workspace import Workspace

NOTHING = "nothing"
"""What stands for a value that one of the plans does not have."""


class Difference(BaseModel):
    """A key of the plan, and its value in each; "nothing" where a plan has no such key."""

    model_config = FROZEN
    key: str
    first: str
    second: str


def differences(first: Plan, second: Plan) -> tuple[Difference, ...]:
    """Every value in which two plans differ, in the order of the plan; reasons are left out, as they follow from values."""
    shared = set(first.configurations) & set(second.configurations)
    ours, theirs = (dict(_values(plan, shared)) for plan in (first, second))
    keys = [*ours, *(key for key in theirs if key not in ours)]
    return tuple(
        Difference(key=key, first=ours.get(key, NOTHING), second=theirs.get(key, NOTHING))
        for key in keys
        if ours.get(key) != theirs.get(key)
    )


def _values(plan: Plan, shared: Set[str]) -> Iterator[tuple[str, str]]:
    """Every value of a plan with its key; a configuration that only one plan has is one value."""
    content = plan.model_dump(mode="json", exclude={"decisions"})
    content["configurations"] = {
        name: content["configurations"][name] if name in shared else f"patch {_inner(list(one.patch_size))}"
        for name, one in plan.configurations.items()
    }
    yield from _leaves(content)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value with its key, "3d_fullres.patch_size"; lists of plain values are one value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            # Settings name configurations without this word, and so do we.
            yield from _leaves(inner, path if key == "configurations" else f"{path}{key}.")
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{path}{index}.")
    else:
        yield path.removesuffix("."), _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_inner(inner) for inner in value) or "none"
    return (
        f"{value:.6g}" if isinstance(value, float) else str(value).lower() if value in (None, True, False) else str(value)
    )


def _inner(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def find_plan(text: str, *, workspace: Workspace) -> Plan:
    """The plan that `text` names: a plan file, a folder with one (of a data set or a model), or a planned data set.

    Raises UnknownNameError when there is none, ArtefactError when it is damaged.
    """
    path = Path(text).expanduser()
    file = path / "plan.json" if path.is_dir() else path
    if file.is_file():
        return load(Plan, file, remake="autoseg_plan DATASET")
    if "/" in text or path.suffix == ".json":
        raise UnknownNameError(f"{text}: no plan there. Name a plan file, a folder that holds plan.json, or a data set.")
    if text not in workspace.planned():
        raise unknown_name(f"planned data set (in {workspace.root})", text, workspace.planned())
    return load(Plan, workspace.dataset(text).plan_file, remake=f"autoseg_plan {text}")
