import io
import json
import zipfile

import pytest
from typer.testing import CliRunner

from autoseg.cli.export import main as export_command
from autoseg.cli.import_ import main as import_command
from autoseg.errors import ArtefactError, WorkspaceError
from autoseg.interchange.archive import MANIFEST, read_manifest
from autoseg.interchange.archive_export import export_model
from autoseg.interchange.archive_import import import_archive
from autoseg.interchange.nnunet_import import import_nnunet
from autoseg.prediction.ensemble import open_ensemble
from autoseg.workspace import Workspace, open_workspace
from tests.interchange.made import write_nnunet_model


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return open_workspace(tmp_path / "workspace")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    place = tmp_path_factory.mktemp("made")
    write_nnunet_model(place / "m", folds=("0", "1"))
    return import_nnunet(place / "m", open_workspace(place / "first"), name="one")[-1].path


@pytest.fixture(scope="module")
def exported(model):
    path = model.parent / "one.autoseg"
    export_model(model, path)
    return path.read_bytes()


@pytest.fixture
def file(tmp_path, exported):
    path = tmp_path / "one.autoseg"
    path.write_bytes(exported)
    return path


def rewritten(file, change):
    """The archive with its entries changed by `change(list of (ZipInfo, bytes))`; the manifest stays as it was."""
    with zipfile.ZipFile(file) as archive:
        entries = [(entry, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(file, "w") as archive:
        for entry, content in change(entries):
            archive.writestr(entry, content)


def with_manifest(entries, **changed):
    """The entries with keys of the manifest replaced."""
    return [
        (entry, json.dumps(json.loads(content) | changed).encode() if entry.filename == MANIFEST else content)
        for entry, content in entries
    ]


def resealed(file, name, content):
    """Replace the file `name`, so that manifest and digests fit again: what a careful attacker would do."""
    import hashlib

    with zipfile.ZipFile(file) as archive:
        listed = json.loads(archive.read(MANIFEST))["files"]
    listed[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewritten(
        file,
        lambda entries: with_manifest(
            [(entry, content if entry.filename == name else old) for entry, old in entries], files=listed
        ),
    )


def plan_with(file, change):
    with zipfile.ZipFile(file) as archive:
        plan = json.loads(archive.read("model/plan.json"))
    change(plan)
    resealed(file, "model/plan.json", json.dumps(plan).encode())


def test_a_model_comes_out_of_its_file_as_it_went_in(workspace, model, file):
    found = import_archive(file, workspace)[-1]
    assert (found.name, found.dataset, found.folds) == ("one", "Dataset007_Made", ("0", "1"))
    for name in ("plan.json", "splits.json", "fold_0/fold.json", "fold_1/weights_final.safetensors"):
        assert (found.path / name).read_bytes() == (model / name).read_bytes()
    assert open_ensemble([found.path]).digest == open_ensemble([model]).digest


def test_the_same_model_gives_the_same_bytes_wherever_it_lies(tmp_path, workspace, file):
    again = import_archive(file, workspace)[-1].path
    export_model(again, tmp_path / "again.autoseg")
    assert (tmp_path / "again.autoseg").read_bytes() == file.read_bytes()


def test_a_file_is_imported_once_and_replaces_nothing_unasked(tmp_path, workspace, file):
    assert not import_archive(file, workspace)[-1].was_there
    assert import_archive(file, workspace)[-1].was_there
    write_nnunet_model(tmp_path / "m", folds=("0", "1", "2"))
    other = import_nnunet(tmp_path / "m", open_workspace(tmp_path / "first"), name="other")[-1].path
    export_model(other, tmp_path / "other.autoseg")
    with pytest.raises(WorkspaceError, match="--overwrite"):
        import_archive(tmp_path / "other.autoseg", workspace, name="one")
    assert import_archive(tmp_path / "other.autoseg", workspace, name="one", overwrite=True)[-1].folds == ("0", "1", "2")


def test_a_cascade_travels_with_its_first_stage_under_any_name(tmp_path, workspace):
    first, second = (tmp_path / f"nnUNetTrainer__nnUNetPlans__{name}" for name in ("3d_lowres", "3d_cascade_fullres"))
    write_nnunet_model(first, configuration="3d_lowres")

    def change(plans):
        plans["configurations"]["3d_cascade_fullres"]["previous_stage"] = "3d_lowres"

    write_nnunet_model(second, configuration="3d_cascade_fullres", inputs=3, change=change)
    path = import_nnunet(second, open_workspace(tmp_path / "first"), name="two")[-1].path
    export_model(path, tmp_path / "two.autoseg")
    stage, cascade = import_archive(tmp_path / "two.autoseg", workspace, name="new", dataset="Else")
    assert (stage.name, cascade.name, cascade.dataset) == ("new_3d_lowres", "new", "Else")
    assert open_ensemble([cascade.path]).members[0].previous is not None


HOSTILE = {
    "a path that leads out": "../evil.json",
    "an absolute path": "/tmp/evil.json",
    "a path of Windows": "..\\evil.json",
    "a drive": "C:/evil.json",
    "a path inside that leads out": "model/../../evil.json",
    "a script": "model/setup.py",
    "a pickle": "model/fold_0/checkpoint.pt",
    "a deeper folder": "model/fold_0/deep/fold.json",
    "a folder": "model/",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_name_that_no_model_has_stops_everything(tmp_path, workspace, file, name):
    rewritten(file, lambda entries: [*entries, (zipfile.ZipInfo(name), b"{}")])
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ArtefactError, match="is no file of a model"):
        import_archive(file, workspace)
    assert set(tmp_path.rglob("*")) == before


def as_link(entries):
    entry = zipfile.ZipInfo("model/fold_0/fold.json")
    entry.external_attr = 0o120777 << 16
    return [(e, c) for e, c in entries if e.filename != entry.filename] + [(entry, b"/etc/passwd")]


def compressed(entries):
    entry = zipfile.ZipInfo("model/fold_7/weights_final.safetensors")
    entry.compress_type = zipfile.ZIP_DEFLATED
    return [*entries, (entry, bytes(2**20))]


def too_many(entries):
    return [*entries, *((zipfile.ZipInfo(f"model/fold_{index}/fold.json"), b"{}") for index in range(10, 600))]


def large_json(entries):
    return [*entries, (zipfile.ZipInfo("model/fold_7/fold.json"), bytes(17 * 2**20))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (as_link, "is a link"),
        (compressed, "is compressed"),
        (too_many, "at most 500"),
        (large_json, "more than the 16777216 allowed"),
        (
            lambda e: [*e, (zipfile.ZipInfo("model/fold_7/fold.json"), b"{}")],
            "2 bytes in the file, missing in its manifest",
        ),
        (lambda e: e[:-1], "missing in the file"),
        (lambda e: [(entry, content) for entry, content in e if entry.filename != MANIFEST], "manifest.json is missing"),
        (lambda e: with_manifest(e, format=2, autoseg_version="9.0"), "written by autoseg '9.0'.*Update autoseg"),
        (lambda e: with_manifest(e, extra=1), "manifest.json: extra: unknown key"),
        (
            lambda e: with_manifest(e, files={"../x": {"bytes": 1, "sha256": "0" * 64}}),
            "missing in the file|in its manifest",
        ),
        (lambda e: [(entry, b"[" * 10**5 if entry.filename == MANIFEST else c) for entry, c in e], "not JSON"),
    ],
)
def test_an_archive_that_is_not_what_it_says_is_refused_before_anything_is_written(workspace, file, change, message):
    rewritten(file, change)
    with pytest.raises(ArtefactError, match=message):
        import_archive(file, workspace)
    assert list(workspace.root.iterdir()) == []


def test_a_file_that_is_there_twice_is_refused(workspace, file):
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewritten(file, lambda entries: [*entries, entries[-1]])
    with pytest.raises(ArtefactError, match="twice"):
        import_archive(file, workspace)


def test_one_flipped_bit_of_the_weights_is_noticed(workspace, file):
    content = bytearray(file.read_bytes())
    place = bytes(content).find(b"weights_final.safetensors") + 2000
    content[place] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(ArtefactError, match=r"is damaged|differs"):
        import_archive(file, workspace)
    assert list(workspace.root.iterdir()) == []


@pytest.mark.parametrize("share", [0, 0.3, 0.999])
def test_a_truncated_file_is_named(workspace, file, share):
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    with pytest.raises(ArtefactError, match=r"one\.autoseg: truncated"):
        import_archive(file, workspace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["training"].update(loss="os:system"), "training.loss: names 'os:system', which is no part of autoseg"),
        (
            lambda p: p["configurations"]["3d_fullres"]["network"].update(kind="os:system"),
            "network.kind: names 'os:system'",
        ),
        (lambda p: p["configurations"]["3d_fullres"]["network"].update(features=[4, 6, 10**9]), "1000000000 features"),
        (lambda p: p["configurations"]["3d_fullres"]["network"].update(features=[4, 6, 16]), "belong to another network"),
        (lambda p: p["configurations"]["3d_fullres"].update(patch_size=[7, 16, 16]), "patch"),
        (lambda p: p["configurations"].clear(), "which its plan does not have"),
        (lambda p: p.update(extra=1), "extra: unknown key"),
    ],
)
def test_a_resealed_plan_may_name_no_code_and_ask_for_no_more_than_its_weights(workspace, file, change, message):
    plan_with(file, change)
    with pytest.raises(ArtefactError, match=message):
        import_archive(file, workspace)
    assert list(workspace.root.iterdir()) == []


def test_weights_that_are_no_safetensors_are_refused(workspace, file):
    resealed(file, "model/fold_0/weights_final.safetensors", b"\x80\x04pickle")
    with pytest.raises(ArtefactError, match=r"fold_0/weights_final\.safetensors: damaged"):
        import_archive(file, workspace)


def test_the_zip_that_nnunet_writes_is_told_from_a_model_of_autoseg(tmp_path, workspace):
    with zipfile.ZipFile(tmp_path / "their.zip", "w") as archive:
        archive.writestr("Dataset001/nnUNetTrainer__nnUNetPlans__2d/plans.json", "{}")
    with pytest.raises(ArtefactError, match="It is a model of nnU-Net: unpack it and import its folder"):
        read_manifest(tmp_path / "their.zip")


def run(command, *arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_commands_hand_a_model_from_one_workspace_to_another(tmp_path, model):
    file = tmp_path / "out.autoseg"
    done = run(export_command, "one", file, "-w", model.parents[2], "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["files"] == [{"path": str(file), "bytes": file.stat().st_size}]
    again = run(export_command, model, file)
    assert again.exit_code == 2
    assert "is there already" in again.output
    done = run(import_command, file, "--name", "copy", "-w", tmp_path / "other")
    assert done.exit_code == 0, done.output
    assert "Next: autoseg_predict -m copy" in done.output
    assert run(export_command, model, tmp_path).exit_code == 2
    assert run(export_command, model, tmp_path / "x", "-f", "0").exit_code == 2
    assert run(import_command, tmp_path / "gone").exit_code == 2


def test_a_stream_of_random_bytes_is_no_model(tmp_path, workspace):
    (tmp_path / "x.autoseg").write_bytes(io.BytesIO(bytes(range(256)) * 40).getvalue())
    with pytest.raises(ArtefactError, match="not a file of autoseg_export"):
        import_archive(tmp_path / "x.autoseg", workspace)
