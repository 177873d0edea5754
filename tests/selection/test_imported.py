"""Selection over models of nnU-Net that were imported with their splits: cascades beside others, thresholds of regions."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from autoseg.artefacts import save
from autoseg.benchmark.prediction import measure_qualities
from autoseg.cli.predict import main as predict_main
from autoseg.data.readers import read_labels
from autoseg.errors import PredictionError, SelectionError
from autoseg.interchange.nnunet_import import import_nnunet
from autoseg.planning.run import plan
from autoseg.prediction.postprocessing import Rule
from autoseg.selection.candidates import candidates
from autoseg.selection.chosen import selected
from autoseg.selection.run import select
from autoseg.selection.unseen import unseen_members
from autoseg.training.model_folder import open_model
from autoseg.workspace import open_workspace
from tests.interchange.made import write_nnunet_model
from tests.prediction.small import scan, write_nifti

CASES = [f"case{number}" for number in range(4)]
REGIONS = {"background": 0, "whole": [1, 2], "inner": [2]}
SPLITS = [{"train": CASES[:2], "val": CASES[2:]}, {"train": CASES[2:], "val": CASES[:2]}]


def write_dataset(folder):
    for number, name in enumerate(CASES):
        voxels, labels = scan(12, 14, 13, seed=number), np.zeros((12, 14, 13), dtype=np.uint8)
        labels[2:8, 3:9, 3:9] = 1
        labels[3:6, 4:7, 4:7] = 2
        write_nifti(folder / "imagesTr" / f"{name}_0000.nii.gz", (voxels + 6 * labels).astype(np.float32))
        write_nifti(folder / "labelsTr" / f"{name}.nii.gz", labels)
    described = {"channel_names": {"0": "MRI"}, "labels": REGIONS, "regions_class_order": [1, 2]}
    (folder / "dataset.json").write_text(json.dumps(described | {"numTraining": 4, "file_ending": ".nii.gz"}))
    return folder


def write_models(root):
    described = {"channel_names": {"0": "MRI"}, "regions_class_order": [1, 2]}
    common = {"labels": REGIONS, "dataset": described, "outputs": 2, "folds": ("0", "1")}
    for name in ("3d_lowres", "3d_cascade_fullres", "3d_fullres"):

        def change(plans, name=name):
            entry = plans["configurations"][name]
            entry["spacing"] = [2.0, 2.0, 2.0] if name == "3d_lowres" else [1.0, 1.0, 1.0]
            if name == "3d_cascade_fullres":
                entry["previous_stage"] = "3d_lowres"

        inputs = 3 if name == "3d_cascade_fullres" else 1
        write_nnunet_model(root / f"t__p__{name}", configuration=name, inputs=inputs, change=change, **common)
    (root / "splits_final.json").write_text(json.dumps(SPLITS))


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    root = tmp_path_factory.mktemp("imported")
    workspace = open_workspace(root / "workspace")
    raw = write_dataset(root / "Dataset003_Nested")
    found = plan(raw, workspace=workspace, workers=1)
    write_models(root / "models")
    for name in ("3d_cascade_fullres", "3d_fullres"):
        import_nnunet(root / "models" / f"t__p__{name}", workspace, name=name, dataset=found.dataset)
    return SimpleNamespace(folder=workspace.dataset(found.dataset), workspace=workspace, raw=raw, models=root / "models")


def test_a_cascade_is_judged_in_pairs_by_first_stages_that_had_not_seen_the_cases(imported):
    found, notes = candidates(imported.folder, most_members=2)
    assert "3d_cascade_fullres+3d_fullres" in {one.name for one in found}
    assert not notes
    (pair,) = (one for one in found if one.name == "3d_cascade_fullres+3d_fullres")
    ((members, ids),) = unseen_members(pair.models, "1", CASES[:2])
    assert ids == CASES[:2]
    first = open_model(imported.folder.model("3d_cascade_fullres_3d_lowres"))
    assert members[0].previous is not None
    assert len(members[0].previous.networks) == 1
    assert first.splits.fold("1")[1] == tuple(CASES[:2])
    assert members[0].previous.handed_on == "labels"


def test_what_is_chosen_out_of_fold_predicts_by_itself(imported, tmp_path):
    selection = select(imported.folder, most_members=2, workers=1, device="cpu")
    assert selection.cases == 4
    assert {one.name for one in selection.judged} >= {"3d_cascade_fullres", "3d_cascade_fullres+3d_fullres"}
    shares = list((imported.folder.selection / selection.chosen / "probabilities").glob("*.npz"))
    assert sorted(file.stem for file in shares) == CASES
    # With a threshold that nothing reaches, nothing is painted: autoseg_predict -d alone takes it from the selection.
    rules = tuple(Rule(kind="threshold", structure=name, probability=0.999) for name in ("whole", "inner"))
    save(selection.model_copy(update={"rules": rules}), imported.folder.selection_file)
    image = imported.raw / "imagesTr" / "case0_0000.nii.gz"
    words = ["-i", image, "-o", tmp_path / "out", "-d", imported.folder.path.name, "-w", imported.workspace.root]
    done = CliRunner().invoke(predict_main, [str(word) for word in [*words, "--device", "cpu"]])
    assert done.exit_code == 0, done.output
    assert "whole: where its probability is above 0.999" in done.stderr
    assert selected(imported.folder).rules == rules
    (file,) = (tmp_path / "out").glob("*.nii.gz")
    labels, _ = read_labels(file)
    assert not labels.any()


def test_a_model_without_splits_says_what_is_missing(imported, tmp_path):
    workspace = open_workspace(tmp_path / "workspace")
    write_models(tmp_path / "models")
    (tmp_path / "models" / "splits_final.json").unlink()
    model = import_nnunet(tmp_path / "models" / "t__p__3d_fullres", workspace, dataset="Dataset003_Nested")[-1]
    folder = workspace.dataset("Dataset003_Nested")
    folder.dataset_file.write_bytes(imported.folder.dataset_file.read_bytes())
    with pytest.raises(SelectionError, match=r"Import it again with --splits splits_final\.json"):
        select(folder)
    with pytest.raises(PredictionError, match=r"Import it again with --splits splits_final\.json"):
        measure_qualities(folder, model.path)
