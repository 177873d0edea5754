"""What is asked of a training beyond the plan: another model to start from, a recipe, values set by hand."""

from dataclasses import dataclass

from autoseg.artefacts import load
from autoseg.errors import TrainingError, unknown_name
from autoseg.fingerprint import Fingerprint
from autoseg.planning.class_weights import with_counted_weights
from autoseg.planning.plan import Plan
from autoseg.planning.recipes import Recipe, apply_recipe, configuration_for, load_recipe
from autoseg.planning.settings import apply_settings
from autoseg.training.model_folder import Model
from autoseg.training.request import Training
from autoseg.training.transfer import adopted, find_source
from autoseg.workspace import DatasetFolder

REMAKE = "autoseg_plan DATASET"


@dataclass(frozen=True)
class Choices:
    """A configuration, and who changes the plan before it is trained; where several set a value, the last one wins."""

    configuration: str
    source: Model | None = None
    recipe: Recipe | None = None
    settings: tuple[str, ...] = ()

    @property
    def model_name(self) -> str:
        """What the model is called where nobody says."""
        return self.recipe.name if self.recipe else self.configuration

    @property
    def by_hand(self) -> list[str]:
        """KEY=VALUE that a training must not choose otherwise by itself."""
        return [*(self.recipe.settings(self.configuration) if self.recipe else ()), *self.settings]


def choices(folder: DatasetFolder, training: Training) -> Choices:
    """What names and paths stand for; the configuration is the recipe's own where none is given.

    Raises UnknownNameError for a recipe, configuration or model that does not exist, PlanError for a recipe that does not
    fit the data set, and TrainingError where a configuration or a model to start from is missing.
    """
    configuration = training.configuration
    found = None if training.recipe is None else load_recipe(training.recipe)
    if configuration is None and found is None:
        raise TrainingError("no configuration is named. Name one of the plan, for example: autoseg_train 3d_fullres")
    if found is not None:
        configuration = configuration_for(found, load(Plan, folder.plan_file, remake=REMAKE), configuration)
        if found.needs_source and training.init_from is None:
            raise TrainingError(f"recipe {found.name} starts from another model's weights. Name it: --init-from MODEL")
    source = None if training.init_from is None else find_source(training.init_from, folder)
    return Choices(configuration=str(configuration), source=source, recipe=found, settings=tuple(training.settings))


def chosen_plan(folder: DatasetFolder, chosen: Choices) -> Plan:
    """The plan of a data set with everything that is asked of it, each value as a decision.

    Raises UnknownNameError for a configuration that the plan does not have, PlanError or TrainingError for what does not
    fit.
    """
    plan = load(Plan, folder.plan_file, remake=REMAKE)
    cases = load(Fingerprint, folder.fingerprint_file, remake=REMAKE).cases
    if chosen.configuration not in plan.configurations:
        raise unknown_name("configuration", chosen.configuration, plan.configurations)
    if chosen.source is not None:
        plan = adopted(plan, chosen.configuration, chosen.source)
    if chosen.recipe is not None:
        plan = apply_recipe(plan, chosen.recipe, configuration=chosen.configuration, cases=cases)
    return with_counted_weights(apply_settings(plan, chosen.settings), cases)
