"""What is measured: a configuration of a planned data set, on a device, with a number of threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from autoseg.artefacts import load
from autoseg.errors import unknown_name
from autoseg.planning.plan import Configuration, Plan
from autoseg.planning.settings import apply_settings
from autoseg.preprocessing.run import store_of
from autoseg.progress import SILENT, Progress
from autoseg.training.cases import load_splits, prepare_cases
from autoseg.training.device import choose_device, choose_precision
from autoseg.training.observers import UNWATCHED
from autoseg.training.task import Task
from autoseg.training.trial import variant_to_start
from autoseg.workspace import DatasetFolder


@dataclass(frozen=True)
class Setting:
    """A configuration of a plan, ready to be measured; `settings` are those that made `plan` of the planned one."""

    folder: DatasetFolder
    plan: Plan
    configuration: Configuration
    fold: str
    device: torch.device
    threads: int
    settings: tuple[str, ...] = ()

    @property
    def results(self) -> Path:
        """Where benchmarks of this data set lie."""
        return self.folder.path / "benchmarks"

    def task(self) -> Task:
        """What autoseg trains here; its model folder is never written."""
        from dataclasses import replace

        task = Task(
            model=self.results / "none",
            plan=self.plan,
            configuration=self.configuration,
            splits=load_splits(self.folder),
            preprocessed=store_of(self.folder, self.plan, self.configuration.name),
            device=self.device,
            precision=choose_precision(self.plan.training.precision, self.device),
            budget_s=None,
            observer=UNWATCHED,
        )
        return replace(task, variant=variant_to_start(task))


def setting_of(
    folder: DatasetFolder,
    configuration: str,
    *,
    settings: Sequence[str] = (),
    fold: str = "0",
    device: str = "auto",
    threads: int | None = None,
) -> Setting:
    """The setting that a command line names; raises UnknownNameError for a configuration the plan lacks."""
    plan = apply_settings(load(Plan, folder.plan_file, remake="autoseg_plan DATASET"), list(settings))
    if configuration not in plan.configurations:
        raise unknown_name("configuration", configuration, plan.configurations)
    return Setting(
        folder=folder,
        plan=plan,
        configuration=plan.configurations[configuration],
        fold=fold,
        device=choose_device(device),
        threads=threads or torch.get_num_threads(),
        settings=tuple(settings),
    )


def prepared(setting: Setting, *, progress: Progress = SILENT) -> None:
    """Preprocess the cases of the setting as far as they are not."""
    prepare_cases(setting.folder, setting.plan, setting.configuration.name, workers=None, progress=progress)
