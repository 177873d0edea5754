"""What measuring a case costs: every byte read once, and no more memory than stated."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoseg.data.dataset import Case
from autoseg.data.readers import write_image, write_labels
from autoseg.fingerprint.case import case_bytes
from autoseg.fingerprint.run import examine_case
from autoseg.fingerprint.stamps import content_digest
from tests.fingerprint.made_up import dataset, geometry, ramp

MEASURE = """
import sys
from pathlib import Path
from autoseg.artefacts import load
from autoseg.data.dataset import Dataset
from autoseg.fingerprint.run import examine_case

def kib(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

data = load(Dataset, Path(sys.argv[1]), remake="x")
small, large = data.cases
examine_case(small, dataset=data)  # libraries are loaded now
before = kib("VmRSS:")
assert examine_case(large, dataset=data).measurement is not None
print((kib("VmHWM:") - before) * 1024)
"""


def large_case(root, kind, *, foreground):
    """A case of 240 x 240 x 155 voxels and four channels in one file, quick to compress."""
    shape = (155, 240, 240)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[:foreground] = 1
    pattern = (np.arange(240 * 240) % 1000 + 1).reshape(240, 240)
    image = np.broadcast_to(pattern, (4, *shape)).astype(kind)
    grid = geometry(shape, (1.0, 1.0, 1.0))
    write_image(root / "large.nii.gz", image, grid)
    write_labels(root / "labels" / "large.nii.gz", labels, grid)
    return Case(id="large", images=("large.nii.gz",), label="labels/large.nii.gz")


def small_case(root):
    image = np.stack([ramp()] * 4)
    write_image(root / "small.nii.gz", image, geometry(image.shape[1:]))
    write_labels(root / "labels" / "small.nii.gz", (ramp() > 10).astype(np.uint8), geometry(image.shape[1:]))
    return Case(id="small", images=("small.nii.gz",), label="labels/small.nii.gz")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("kind", "foreground"), [("int16", 30), ("float64", 155)])
def test_a_large_case_takes_no_more_memory_than_stated(tmp_path, kind, foreground):
    (tmp_path / "labels").mkdir()
    case = large_case(tmp_path, kind, foreground=foreground)
    small = small_case(tmp_path)
    made = dataset(tmp_path, [small, case], channels=("a", "b", "c", "d"))
    (tmp_path / "dataset.json").write_text(made.model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "dataset.json")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) <= case_bytes(155 * 240 * 240, channels=4)


def bytes_read():
    """What this process has read from files so far, as the kernel counts it."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="reads /proc")
@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_every_byte_of_a_case_is_read_once_for_voxels_and_stamp(tmp_path, ending):
    voxels = np.random.default_rng(0).integers(0, 255, (60, 100, 100)).astype(np.uint8)
    grid = geometry(voxels.shape)
    write_image(tmp_path / f"image{ending}", voxels[None], grid)
    write_labels(tmp_path / f"label{ending}", voxels // 200, grid)
    data = dataset(tmp_path, [Case(id="case", images=(f"image{ending}",), label=f"label{ending}")])
    first = examine_case(data.cases[0], dataset=data)  # libraries are loaded now
    before = bytes_read()
    record = examine_case(data.cases[0], dataset=data)
    stored = sum((tmp_path / name).stat().st_size for name in record.files)
    assert stored <= bytes_read() - before < stored + 10_000
    assert record.files == first.files
    assert all(stamp.digest == content_digest(tmp_path / name) for name, stamp in record.files.items())


def test_formats_that_cannot_be_watched_are_stamped_by_a_pass_of_their_own(tmp_path):
    voxels = ramp()
    write_image(tmp_path / "image.mha", voxels[None], geometry(voxels.shape))
    write_labels(tmp_path / "label.nrrd", (voxels > 10).astype(np.uint8), geometry(voxels.shape))
    data = dataset(tmp_path, [Case(id="case", images=("image.mha",), label="label.nrrd")])
    record = examine_case(data.cases[0], dataset=data)
    assert record.measurement is not None
    assert all(stamp.digest == content_digest(tmp_path / name) for name, stamp in record.files.items())
