import ast
import json
from pathlib import Path

import numpy as np
import pytest

from autoseg.benchmark import nnunet
from autoseg.benchmark.nnunet import NnUnet
from autoseg.benchmark.nnunet_layout import lay_out
from autoseg.benchmark.setting import setting_of
from autoseg.data.phantom import write_phantom
from autoseg.data.readers import read_image, read_labels
from autoseg.errors import BenchmarkError
from autoseg.planning.run import plan
from autoseg.workspace import open_workspace


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    place = tmp_path_factory.mktemp("benchmark")
    data = write_phantom(place, cases=7, shape=(24, 24, 24))
    workspace = open_workspace(place / "workspace")
    made = plan(data, workspace=workspace)
    return workspace.dataset(made.dataset)


def test_a_data_set_is_laid_out_with_one_file_a_channel_and_consecutive_labels(planned, tmp_path):
    from autoseg.artefacts import load
    from autoseg.data.dataset import Dataset

    dataset = load(Dataset, planned.dataset_file, remake="autoseg_plan DATASET")
    lay_out(dataset, tmp_path)
    description = json.loads((tmp_path / "dataset.json").read_text())
    case = dataset.cases[0]
    assert sorted(description["channel_names"]) == [str(index) for index in range(len(dataset.channels))]
    for channel in range(len(dataset.channels)):
        assert read_image(tmp_path / "imagesTr" / f"{case.id}_{channel:04d}.nii.gz").voxels.shape == (1, 24, 24, 24)
    found, _ = read_labels(tmp_path / "labelsTr" / f"{case.id}.nii.gz")
    expected, _ = read_labels(case.label_path(dataset.folder))
    assert np.array_equal(found, dataset.labels.encode(expected))
    named = [value for value in description["labels"].values() if value != 0]
    classes = {one for value in named for one in (value if isinstance(value, list) else [value])}
    assert classes == set(range(1, len(dataset.labels.labels)))


def test_an_interpreter_without_nnunet_is_named(planned, tmp_path):
    import sys

    setting = setting_of(planned, "3d_fullres", device="cpu", threads=1)
    with pytest.raises(BenchmarkError, match="Is nnunetv2 installed there"):
        NnUnet(python=Path(sys.executable), folder=tmp_path, setting=setting).version()
    with pytest.raises(BenchmarkError, match="cannot be run"):
        NnUnet(python=tmp_path / "nothing", folder=tmp_path, setting=setting).version()


def test_the_script_for_the_other_environment_imports_nothing_of_autoseg():
    tree = ast.parse(nnunet.SCRIPT.read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(str(module).startswith("autoseg") for module in modules)
