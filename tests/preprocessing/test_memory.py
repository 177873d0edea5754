import gc
import tracemalloc
from functools import partial

import numpy as np
import pytest

from autoseg.data.dataset import Case
from autoseg.preprocessing.memory import case_bytes
from autoseg.preprocessing.run import _preprocess_case
from tests.prediction.small import write_nifti
from tests.preprocessing.making import LABELS, configuration, geometry, plan


def test_volumes_of_a_case_counted_by_hand():
    found = plan(configuration(spacing_mm=(1.0, 1.0, 0.5), channels=4))
    source = 10 * 20 * 30
    assert case_bytes(geometry((10, 20, 30)), found, found.configurations["test"]) == 4 * (12 * source + 8 * 2 * source)


def test_slices_of_two_dimensions_keep_their_distance():
    found = plan(configuration(spacing_mm=(0.5, 0.5)))
    assert case_bytes(geometry((10, 20, 30)), found, found.configurations["test"]) == 4 * 6000 * (6 + 5 * 4)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.75, 0.75, 0.75), (2.0, 2.0, 2.0), (0.7, 1.0, 1.5)])
@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_no_case_takes_more_memory_than_is_counted_on(channels, spacing_mm, kind, tmp_path):
    shape = (56, 60, 64)
    rng = np.random.default_rng(0)
    names = []
    for channel in range(channels):
        voxels = rng.integers(1, 500, size=shape).astype(kind)
        names.append(f"imagesTr/a_{channel:04}.nii.gz")
        write_nifti(tmp_path / names[-1], voxels)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[10:40, 10:50, 10:50] = 2
    labels[20:30, 20:30, 20:30] = 4
    write_nifti(tmp_path / "labelsTr" / "a.nii.gz", labels)
    made = plan(configuration(spacing_mm=spacing_mm, channels=channels, scheme="zscore"), labels=LABELS)
    config = made.configurations["test"]
    case = Case(id="a", images=tuple(names), label="labelsTr/a.nii.gz")
    work = partial(_preprocess_case, (case, "x"), root=tmp_path, plan=made, configuration=config, folder=tmp_path / "out")
    work()  # libraries are loaded and matrices made
    gc.collect()
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    counted = case_bytes(geometry(shape), made, config)
    assert 0.3 * counted < peak <= counted, peak / counted
