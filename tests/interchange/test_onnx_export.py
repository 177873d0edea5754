import warnings

import numpy as np
import pytest
import torch

from autoseg.artefacts import load
from autoseg.interchange.file_digest import file_digest
from autoseg.interchange.nnunet_import import import_nnunet
from autoseg.interchange.onnx_export import OnnxCard, export_onnx
from autoseg.training.model_folder import load_network, open_model
from autoseg.workspace import Workspace
from tests.interchange.made import spec_of, write_nnunet_model

pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


@pytest.mark.parametrize(("kind", "dimensions", "folds"), [("plain_unet", 2, ("0", "1")), ("residual_unet", 3, ("0",))])
def test_onnx_runtime_gives_the_logits_of_the_networks(tmp_path, kind, dimensions, folds):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks the machine for GPUs when it is imported
        runtime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    name = "3d_fullres" if dimensions == 3 else "2d"
    write_nnunet_model(
        tmp_path / "m",
        configuration=name,
        spec=spec_of(kind, dimensions),
        dimensions=dimensions,
        mirror=tuple(range(dimensions)),
        folds=folds,
    )
    path = import_nnunet(tmp_path / "m", Workspace(tmp_path / "w"))[-1].path
    graph, description = export_onnx(path, tmp_path / "net.onnx")
    model = open_model(path)
    images = torch.randn(3, 1, *model.configuration.patch_size, generator=torch.Generator().manual_seed(0))
    session = runtime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    found = session.run(["logits"], {"image": images.numpy()})[0]
    with torch.inference_mode():
        expected = torch.stack([load_network(model, fold)(images) for fold in folds]).mean(0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)
    card = load(OnnxCard, description, remake="autoseg_export")
    assert (card.folds, card.patch_size, card.activation) == (folds, model.configuration.patch_size, "softmax")
    assert card.graph_sha256 == file_digest(graph)
    assert card.normalisation == model.configuration.normalisation
    assert card.mirror_axes == model.plan.training.mirror_axes
