import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from autoseg.viewer import niivue
from tests.viewer.made_up import write_set

HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""What runs in the background of a script is told to ignore Ctrl-C, and hands that on."""
PROGRAM = [sys.executable, "-c", f"{HEARD}; from autoseg.cli.view import main; main()"]


@pytest.fixture
def files(tmp_path):
    return write_set(tmp_path)


def run(*words, folder, **environment):
    return subprocess.run(
        [*PROGRAM, *map(str, words)],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_page_is_served_until_ctrl_c_which_ends_quietly(files):
    if not niivue.is_installed():
        pytest.skip("NiiVue is not installed: autoseg_view --install")
    words = [*PROGRAM, str(files / "images"), "-p", str(files / "predictions"), "--no-browser", "--json"]
    with subprocess.Popen(words, cwd=files, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        address = json.loads(process.stdout.readline())["address"]
        with urllib.request.urlopen(address, timeout=30) as page:
            assert b"autoseg viewer" in page.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(address.rsplit("/", 2)[0], timeout=30)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        told, complaints = process.communicate(timeout=30)
        assert (process.returncode, told, complaints) == (0, "", "")
    assert not (files / "autoseg_workspace").exists()


def test_without_niivue_and_without_a_network_one_message_says_what_to_do(files):
    nowhere = "http://127.0.0.1:9"
    found = run(
        files / "images" / "a.nii.gz",
        "--no-browser",
        folder=files,
        AUTOSEG_NIIVUE=str(files / "nothing"),
        https_proxy=nowhere,
        HTTPS_PROXY=nowhere,
        PATH=str(files),
    )
    assert found.returncode == 2
    assert "autoseg_view --install" in found.stderr
    assert "Traceback" not in found.stderr
    assert not (files / "nothing").exists()


def test_what_is_not_there_is_one_message(files):
    found = run("nowhere", folder=files)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("error: no data set 'nowhere'")
    found = run(folder=files)
    assert found.returncode == 2
    assert found.stderr.startswith("error: nothing to view")


def test_a_wrong_package_is_refused(files):
    (files / "made.tgz").write_text("nonsense")
    found = run("--niivue", files / "made.tgz", folder=files, AUTOSEG_NIIVUE=str(files / "kept"))
    assert found.returncode == 2
    assert "SHA-512 differs" in found.stderr
    assert not (files / "kept").exists()
