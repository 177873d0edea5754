"""The networks of the residual presets, planned, trained for a few steps and predicted with."""

import numpy as np
import pytest

from autoseg.data.phantom import write_phantom
from autoseg.data.readers import read_labels
from autoseg.planning.run import plan
from autoseg.prediction.run import predict
from autoseg.training.model_folder import load_network, open_model
from autoseg.workspace import open_workspace
from tests.training.asking import train

SHAPE = (24, 32, 28)
SHORT = ("training.epochs=1", "training.iterations_per_epoch=2", "training.validation_iterations=1")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_phantom(tmp_path_factory.mktemp("raw"), cases=5, shape=SHAPE, workers=1)


@pytest.mark.parametrize(
    ("preset", "configuration"), [("resenc_m", "3d_fullres"), ("resenc_m", "2d"), ("resenc_l", "3d_fullres")]
)
def test_a_residual_preset_is_planned_trained_and_predicts(raw, tmp_path, preset, configuration):
    workspace = open_workspace(tmp_path)
    found = plan(raw, workspace=workspace, preset=preset, workers=1)
    network = found.configurations[configuration].network
    assert network.kind == "residual_unet"
    assert network.encoder_blocks == (1, 3, 4, 6, 6, 6, 6, 6)[: len(network.strides)]
    assert set(network.decoder_blocks) == {1}
    folder = workspace.dataset(found.dataset)
    small = (*SHORT, f"{configuration}.batch_size=2")
    (result,) = train(folder, configuration, folds=["0"], settings=small, workers=1, device="cpu")
    assert (result.card.steps, result.card.finished) == (2, True)
    assert result.card.train_loss is not None
    trained = load_network(open_model(result.model), "0")
    assert sum(weights.numel() for weights in trained.parameters()) == result.card.parameters
    report = predict(raw / "imagesTs", tmp_path / "out", models=[result.model], step=1.0, mirroring=False, device="cpu")
    assert not report.failed
    values, geometry = read_labels(tmp_path / "out" / str(report.cases[0].file))
    assert geometry.shape == SHAPE
    assert set(np.unique(values)) <= {0, 1, 2, 4}
