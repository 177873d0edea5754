import subprocess
import sys

import pytest
from typer.testing import CliRunner

from autoseg.cli.demo import main, shape_of
from autoseg.data.readers import read_header


def test_the_shape_is_given_as_x_y_z():
    assert shape_of("240,240,155") == (155, 240, 240)
    assert shape_of("64x64x40") == (40, 64, 64)


@pytest.mark.parametrize("shape", ["64", "64,64", "a,b,c", "64,64,-40"])
def test_a_shape_that_is_none_ends_with_code_2(tmp_path, shape):
    done = CliRunner().invoke(main, ["-o", str(tmp_path), "--shape", shape])
    assert done.exit_code == 2
    assert "for example 240,240,155" in done.output


def test_only_the_data_set_is_written_and_torch_stays_away(tmp_path):
    code = (
        "import sys\n"
        f"sys.argv = ['autoseg_demo', '-o', {str(tmp_path)!r}, '--cases', '2', '--shape', '32,28,24']\n"
        "sys.argv += ['--generate-only', '-q']\n"
        "from autoseg.cli.demo import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Next: autoseg_plan" in done.stdout
    image = tmp_path / "Task01_Phantom" / "imagesTr" / "PHANTOM_00001.nii.gz"
    assert read_header(image).geometry.shape == (24, 28, 32)
    assert [path.name for path in tmp_path.iterdir()] == ["Task01_Phantom"]


def test_the_demo_ends_with_scores_times_places_and_commands(tmp_path):
    words = ["-o", str(tmp_path), "--cases", "8", "--shape", "32,32,24", "--time-budget", "4s", "--workers", "1", "-q"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    for expected in (
        "WT",
        "enhancing",
        "HD95",
        "train 2 folds",
        "total",
        "autoseg_predict -i",
        str(tmp_path / "predictions"),
    ):
        assert expected in done.stdout
