"""Every recipe learns: a few dozen steps on a small phantom."""

from types import SimpleNamespace

import pytest

from autoseg.data.phantom import write_phantom
from autoseg.planning.recipes import load_recipe, recipe_names
from autoseg.planning.run import plan
from autoseg.training.history import EpochRow
from autoseg.training.model_folder import load_network, open_model
from autoseg.training.observers import Unwatched
from autoseg.workspace import open_workspace
from tests.training.asking import train

pytestmark = pytest.mark.slow

SHORT = (
    "training.epochs=4",
    "training.iterations_per_epoch=15",
    "training.validation_iterations=4",
    "training.plateau_patience=1",
    "training.freeze_encoder_epochs=0",
)


class Rows(Unwatched):
    def __init__(self):
        self.rows: list[EpochRow] = []

    def epoch_ended(self, history):
        self.rows = list(history)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    root = tmp_path_factory.mktemp("recipes")
    workspace = open_workspace(root / "workspace")
    made = plan(write_phantom(root, cases=8, shape=(26, 34, 34), workers=1), workspace=workspace, workers=1)
    folder = workspace.dataset(made.dataset)
    stages = {name: len(one.network.strides) for name, one in made.configurations.items()}
    return SimpleNamespace(folder=folder, stages=stages)


def trained(phantom, recipe, *, rate, **options):
    """What the epochs of a short training with few feature maps were like; rates are raised for so few steps."""
    configuration = "2d" if load_recipe(recipe).dimensions == 2 else "3d_fullres"
    features = ",".join(str(8 * 2**stage) for stage in range(phantom.stages[configuration]))
    seen = Rows()
    (result,) = train(
        phantom.folder,
        recipe=recipe,
        folds=("0",),
        settings=(
            *SHORT,
            f"{configuration}.network.features={features}",
            f"training.learning_rate={rate}",
        ),
        workers=1,
        threads=1,
        device="cpu",
        observer=seen,
        **options,
    )
    return result, seen.rows


RATES = {
    "brats2020": 0.02,
    "isensee2017": 5e-3,
    "nnunet": 0.02,
    "unet2d_bce": 5e-3,
    "unet2d_ce": 5e-3,
    "unet3d_softdice": 5e-3,
}


@pytest.mark.parametrize("recipe", RATES)
def test_a_recipe_learns(phantom, recipe):
    result, rows = trained(phantom, recipe, rate=RATES[recipe])
    losses = [row.train_loss for row in rows]
    assert losses[-1] < losses[0] - 0.02
    # By chance, where as much is marked as there is, the overlap is that share of the head: about a hundredth.
    assert max(row.mean_pseudo_dice or 0.0 for row in rows) > 0.1
    model = open_model(result.model)
    assert model.card.recipe == recipe
    assert load_network(model, "0").state_dict()


def test_the_recipe_for_transfer_begins_where_the_source_ended(phantom):
    source, rows = trained(phantom, "unet3d_softdice", rate=5e-3, name="source")
    _, moved = trained(phantom, "transfer", rate=1e-3, init_from=source.model)
    assert moved[0].mean_pseudo_dice > max(rows[0].mean_pseudo_dice or 0.0, 0.1)


def test_every_recipe_is_tried():
    assert {*RATES, "transfer"} == set(recipe_names())
