import json
import zipfile

import pytest
from typer.testing import CliRunner

from autoseg.cli.import_ import main
from autoseg.errors import ArtefactError
from autoseg.interchange.nnunet_zip import import_nnunet_zip, is_nnunet_zip
from autoseg.workspace import Workspace
from tests.interchange.made import write_nnunet_model

MODEL = "nnUNetTrainer__nnUNetPlans__3d_fullres"


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "workspace").mkdir()
    return Workspace(tmp_path / "workspace")


def zipped(results, file, *, also=()):
    """The folder of results as nnUNetv2_export_model_to_zip writes it: compressed, named from the data set on."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in results.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(results))
        for name, content in also:
            archive.writestr(name, content)
    return file


def test_an_exported_zip_is_taken_over_as_its_folder_is(tmp_path, workspace):
    results = tmp_path / "results"
    write_nnunet_model(results / "Dataset007_Made" / MODEL, folds=("0", "1"))
    (results / "Dataset007_Made" / MODEL / "fold_0" / "progress.png").write_bytes(b"a picture")
    file = zipped(results, tmp_path / "model.zip", also=[("Dataset007_Made/ensembles/postprocessing.pkl", b"a pickle")])
    done = CliRunner().invoke(main, [str(file), "-w", str(workspace.root), "--name", "mine", "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    assert (found["name"], found["dataset"], found["folds"]) == ("mine", "Dataset007_Made", ["0", "1"])
    (again,) = import_nnunet_zip(file, workspace, name="mine")
    assert again.was_there
    assert sorted(path.name for path in workspace.root.iterdir()) == ["Dataset007_Made"]


def test_several_models_in_a_zip_are_named_after_their_configurations(tmp_path, workspace):
    folder = tmp_path / "results" / "Dataset007_Made"
    for name in ("2d", "3d_fullres"):
        dimensions = 2 if name == "2d" else 3
        place = folder / f"nnUNetTrainer__nnUNetPlans__{name}"
        write_nnunet_model(place, configuration=name, dimensions=dimensions, mirror=(0, 1))
    file = zipped(tmp_path / "results", tmp_path / "both.zip")
    assert [one.name for one in import_nnunet_zip(file, workspace, name="liver")] == ["liver_2d", "liver_3d_fullres"]
    other = Workspace(tmp_path / "other")
    other.root.mkdir()
    assert [one.name for one in import_nnunet_zip(file, other)] == ["nnunet_2d", "nnunet_3d_fullres"]


def test_paths_out_of_the_folder_are_not_unpacked(tmp_path, workspace):
    write_nnunet_model(tmp_path / "results" / "Dataset007_Made" / MODEL)
    names = [
        f"../../{MODEL}/../dataset.json",
        f"/tmp/{MODEL}/fold_0/../../plans.json",
        f"{MODEL}/fold_0/validation/../x.png",
    ]
    file = zipped(tmp_path / "results", tmp_path / "model.zip", also=[(name, b"evil") for name in names])
    before = set(tmp_path.rglob("*"))
    (found,) = import_nnunet_zip(file, workspace)
    assert {path for path in set(tmp_path.rglob("*")) - before if found.path not in (path, *path.parents)} <= {
        found.path.parent,
        found.path.parent.parent,
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fold_0/checkpoint_best.pth", bytes(40 * 2**20), "no checkpoint can be"),
        ("splits_final.json", bytes(17 * 2**20), "more than the 16777216 allowed"),
    ],
)
def test_an_archive_that_is_larger_than_it_looks_is_refused(tmp_path, workspace, name, content, message):
    write_nnunet_model(tmp_path / "results" / "Dataset007_Made" / MODEL)
    file = zipped(tmp_path / "results", tmp_path / "bomb.zip", also=[(f"Dataset007_Made/{MODEL}/{name}", content)])
    with pytest.raises(ArtefactError, match=message):
        import_nnunet_zip(file, workspace)
    assert not list(workspace.root.iterdir())


def test_a_link_in_the_archive_is_refused(tmp_path, workspace):
    write_nnunet_model(tmp_path / "results" / "Dataset007_Made" / MODEL)
    link = zipfile.ZipInfo(f"Dataset007_Made/{MODEL}/fold_1/checkpoint_final.pth")
    link.external_attr = 0o120777 << 16
    file = zipped(tmp_path / "results", tmp_path / "model.zip", also=[(link, b"/etc/passwd")])
    with pytest.raises(ArtefactError, match="is a link"):
        import_nnunet_zip(file, workspace)


def test_a_damaged_archive_is_named(tmp_path, workspace):
    write_nnunet_model(tmp_path / "results" / "Dataset007_Made" / MODEL)
    file = zipped(tmp_path / "results", tmp_path / "model.zip")
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 2000] = bytes(2000)
    file.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"model\.zip: .* (damaged|cannot be read)"):
        import_nnunet_zip(file, workspace)


def test_other_files_are_no_zip_of_nnunet(tmp_path):
    plain = tmp_path / "plain.zip"
    with zipfile.ZipFile(plain, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    (tmp_path / "text.zip").write_text("no archive")
    assert [is_nnunet_zip(tmp_path / name) for name in ("plain.zip", "text.zip")] == [False, False]
