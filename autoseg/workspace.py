"""Where everything autoseg writes lies: one folder, known here and nowhere else."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from autoseg.artefacts import refuse_unwritable, written_whole
from autoseg.errors import WorkspaceError, unknown_name

DEFAULT_WORKSPACE = "autoseg_workspace"


@dataclass(frozen=True)
class DatasetFolder:
    """The part of a workspace that belongs to one data set."""

    path: Path

    @property
    def dataset_file(self) -> Path:
        """The data set as it was recognised."""
        return self.path / "dataset.json"

    @property
    def fingerprint_file(self) -> Path:
        """The fingerprint."""
        return self.path / "fingerprint.json"

    @property
    def plan_file(self) -> Path:
        """The plan."""
        return self.path / "plan.json"

    @property
    def splits_file(self) -> Path:
        """The cross-validation splits."""
        return self.path / "splits.json"

    @property
    def selection_file(self) -> Path:
        """What was chosen to predict with, and why."""
        return self.path / "selection.json"

    @property
    def selection(self) -> Path:
        """Out-of-fold predictions of what could have been chosen, a folder each."""
        return self.path / "selection"

    @property
    def case_cache(self) -> Path:
        """Measurements of single cases, kept by the content of their files."""
        return self.path / "cases"

    def preprocessed(self, configuration: str) -> Path:
        """The preprocessed cases of a configuration."""
        return self.path / "preprocessed" / configuration

    @property
    def models(self) -> Path:
        """One folder for each trained model."""
        return self.path / "models"

    def model(self, name: str) -> Path:
        """The folder of the model called `name`, whether it exists or not. Raises WorkspaceError for no plain name."""
        return self.models / _plain(name)


@dataclass(frozen=True)
class Workspace:
    """The only place autoseg writes to."""

    root: Path

    def dataset(self, name: str) -> DatasetFolder:
        """The folder of the data set called `name`, whether it exists or not. Raises WorkspaceError for no plain name."""
        return DatasetFolder(self.root / _plain(name))

    def planned(self) -> list[str]:
        """Names of the data sets that have a plan."""
        return sorted(file.parent.name for file in self.root.glob("*/plan.json"))

    def with_models(self) -> list[str]:
        """Names of the data sets that have a trained or imported model."""
        return sorted({file.parent.parent.parent.name for file in self.root.glob("*/models/*/model.json")})

    def models_of(self, name: str) -> list[str]:
        """Names of the trained or imported models of the data set called `name`."""
        return sorted(file.parent.name for file in self.dataset(name).models.glob("*/model.json"))

    def holding(self, model: str) -> list[str]:
        """Names of the data sets that have a model called `model`."""
        return [name for name in self.with_models() if model in self.models_of(name)]

    def located(self, name: str) -> Path | None:
        """The folder of the trained or imported model that `name` spells DATASET/MODEL; None for any other name."""
        dataset, _, model = name.partition("/")
        if dataset not in self.with_models() or model not in self.models_of(dataset):
            return None
        return self.dataset(dataset).model(model)

    def remember(self, name: str) -> None:
        """Make `name` the data set that commands without `-d` take."""
        with written_whole(self._current_file) as file:
            file.write(json.dumps({"dataset": name}).encode())

    def chosen(self, name: str | None, *, with_models: bool = False) -> DatasetFolder:
        """The folder of the planned data set `name`, or of the one planned last when it is None.

        A path to the raw folder of a planned data set is taken as its name. `with_models` takes data sets without a plan,
        too, if they have a model. Raises UnknownNameError for a data set that is not known and WorkspaceError when nothing
        has been planned here yet.
        """
        known = sorted({*self.planned(), *(self.with_models() if with_models else ())})
        if name is None:
            name = self._current()
        wanted = name if name in known else Path(name).resolve().name
        if wanted not in known:
            raise unknown_name(f"planned data set (in {self.root})", name, known)
        return self.dataset(wanted)

    @property
    def _current_file(self) -> Path:
        return self.root / "current.json"

    def _current(self) -> str:
        try:
            return str(json.loads(self._current_file.read_text())["dataset"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorkspaceError(
                f"{self.root}: no data set has been planned here. Run: autoseg_plan DATASET, or name a workspace with -w."
            ) from error


def _plain(name: str) -> str:
    """The name, if it can be that of one folder: another would lead out of the workspace."""
    if name in ("", ".", "..") or set(name) & set("/\\\0"):
        raise WorkspaceError(f"name {name!r}: expected the name of a folder, without slashes. Choose another with --name.")
    return name


def open_workspace(folder: Path | None = None) -> Workspace:
    """The workspace at `folder`, else at AUTOSEG_WORKSPACE, else `./autoseg_workspace`; made if it is not there.

    Raises WorkspaceError when it cannot be written.
    """
    root = Path(folder or os.environ.get("AUTOSEG_WORKSPACE") or DEFAULT_WORKSPACE).expanduser().absolute()
    refuse_unwritable(root, remedy="Choose another workspace with -w DIR or AUTOSEG_WORKSPACE.")
    return Workspace(root)
