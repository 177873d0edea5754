import io
import os
import tarfile

import pytest

from autoseg.errors import ViewerError
from autoseg.viewer import niivue


@pytest.fixture
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(niivue.FOLDER_VARIABLE, str(tmp_path / "kept"))
    return tmp_path


def package(path, *, name, link=None):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        content = b"alert(1)"
        if link is None:
            member.size = len(content)
        else:
            member.type, member.linkname = tarfile.SYMTYPE, link
        archive.addfile(member, io.BytesIO(content) if link is None else None)
    return path


def test_nothing_is_installed_at_first(empty_folder):
    assert not niivue.is_installed()
    assert niivue.script_file() == empty_folder / "kept" / "niivue.umd.js"


@pytest.mark.parametrize("name", ["package/dist/niivue.umd.js", "../../escaped.js", "/tmp/escaped.js"])
def test_a_package_other_than_the_expected_one_is_refused_and_leaves_nothing(empty_folder, name):
    made = package(empty_folder / "made.tgz", name=name)
    with pytest.raises(ViewerError, match="SHA-512 differs"):
        niivue.install(made)
    assert [path.name for path in empty_folder.iterdir()] == ["made.tgz"]


def test_a_package_that_is_not_there_or_no_package_is_refused(empty_folder):
    with pytest.raises(ViewerError, match="cannot be read"):
        niivue.install(empty_folder / "none.tgz")
    (empty_folder / "text.tgz").write_text("no package")
    with pytest.raises(ViewerError, match="is not the package @niivue/niivue@"):
        niivue.install(empty_folder / "text.tgz")


def test_a_changed_script_does_not_count_as_installed(empty_folder):
    niivue.script_file().parent.mkdir()
    niivue.script_file().write_text("alert(1)")
    assert not niivue.is_installed()


def test_without_a_network_one_message_says_what_to_do(empty_folder, monkeypatch):
    monkeypatch.setattr(niivue, "ADDRESS", "https://127.0.0.1:9/niivue-0.69.0.tgz")
    monkeypatch.setenv("PATH", str(empty_folder))
    with pytest.raises(ViewerError, match=r"cannot be reached .* --install\. .* --niivue niivue-0\.69\.0\.tgz"):
        niivue.ensure_installed()


def test_a_package_carried_by_hand_is_installed(empty_folder):
    carried = os.environ.get("AUTOSEG_TEST_NIIVUE_PACKAGE")
    if not carried:
        pytest.skip(f"no package of NiiVue: name {niivue.ADDRESS}, as a file, with AUTOSEG_TEST_NIIVUE_PACKAGE")
    kept = niivue.install(niivue.Path(carried))
    assert niivue.is_installed()
    assert [path.name for path in kept.parent.iterdir()] == ["niivue.umd.js"]
