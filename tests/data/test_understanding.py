from pathlib import Path

import numpy as np

from autoseg.data.headers import read_headers
from autoseg.data.layouts import recognise
from autoseg.data.understanding import LabelUse, summarise
from tests.data.scans import a_label_map, a_scan, write_decathlon, write_nifti


def test_a_data_set_is_summed_up_in_shapes_spacings_and_label_counts(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "organs", cases=3)
    larger = np.concatenate([a_scan()] * 3)
    write_nifti(folder / "imagesTr/case_2.nii.gz", larger, affine=np.diag([1.0, 1.0, 1.0, 1.0]))
    write_nifti(folder / "labelsTr/case_2.nii.gz", np.concatenate([a_label_map()] * 3), affine=np.eye(4))
    dataset = recognise(folder)

    found = summarise(
        dataset,
        headers=read_headers(dataset),
        label_counts={"case_0": {0: 10, 1: 5}, "case_1": {0: 15}, "case_2": {1: 2, 7: 1}},
    )

    assert (found.cases, found.test_cases, found.channels) == (3, 0, ("MR0",))
    assert found.shapes == ((3, 4, 5), (3, 4, 5), (9, 4, 5))
    assert found.spacings_mm == ((1.0, 1.0, 1.0), (3.0, 2.0, 1.5), (3.0, 2.0, 1.5))
    assert found.labels == (
        LabelUse(name="background", value=0, voxels=25, cases=2),
        LabelUse(name="organ", value=1, voxels=7, cases=2),
        LabelUse(name="undeclared", value=7, voxels=1, cases=1),
    )


def test_without_a_readable_header_there_are_no_shapes(tmp_path: Path) -> None:
    folder = write_decathlon(tmp_path / "broken", cases=1)
    (folder / "imagesTr/case_0.nii.gz").write_bytes(b"")
    dataset = recognise(folder)
    found = summarise(dataset, headers=read_headers(dataset))
    assert found.shapes is None
    assert found.spacings_mm is None
    assert found.labels == ()
