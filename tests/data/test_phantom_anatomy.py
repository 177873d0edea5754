import numpy as np
import pytest
from scipy import ndimage

from autoseg.data.phantom_anatomy import EDEMA, ENHANCING, NECROTIC, SEQUENCES, draw_head, draw_scan

SHAPE = (39, 60, 60)


def drawn(seed, shape=SHAPE):
    anatomy, scanner = np.random.default_rng(seed).spawn(2)
    head = draw_head(shape, anatomy)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[head.box] = head.labels
    return head, labels, draw_scan(head, scanner)


@pytest.fixture(scope="module")
def patients():
    return [drawn(seed) for seed in range(12)]


def test_the_same_generator_gives_the_same_patient():
    first, second = drawn(3), drawn(3)
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(first[2], second[2])
    assert not np.array_equal(first[2], drawn(4)[2])


def test_the_scan_is_zero_outside_the_brain_and_positive_inside(patients):
    for head, labels, scan in patients:
        brain = np.zeros(SHAPE, dtype=bool)
        brain[head.box] = head.brain
        assert scan.shape == (len(SEQUENCES), *SHAPE)
        assert (scan[:, brain] > 0).all()
        assert not scan[:, ~brain].any()
        assert not labels[~brain].any()
        assert 0.08 < brain.mean() < 0.3


def test_tissue_shares_sum_to_one(patients):
    for head, _, _ in patients:
        total = sum(head.shares.values())
        np.testing.assert_allclose(total, 1, atol=1e-5)
        assert min(share.min() for share in head.shares.values()) > -1e-6


def test_tumour_parts_are_nested(patients):
    for _, labels, _ in patients:
        assert set(np.unique(labels)) <= {0, NECROTIC, EDEMA, ENHANCING}
        whole, core = labels > 0, np.isin(labels, (NECROTIC, ENHANCING))
        assert 0 < core.sum() < whole.sum()
        # Where there is a rim, most of what touches the necrosis is rim.
        if (labels == ENHANCING).any():
            necrotic = labels == NECROTIC
            around = ndimage.binary_dilation(necrotic) & ~necrotic
            assert (labels[around] == ENHANCING).mean() > 0.6


def test_some_patients_have_no_enhancing_part(patients):
    without = sum(not (labels == ENHANCING).any() for _, labels, _ in patients)
    assert 0 < without < len(patients) / 2


def test_tumours_differ_in_size_and_place(patients):
    volumes = [np.count_nonzero(labels) for _, labels, _ in patients]
    assert max(volumes) > 2 * min(volumes)
    centres = np.array([ndimage.center_of_mass(labels > 0) for _, labels, _ in patients])
    assert (centres.std(axis=0) > 1.5).all()


def test_the_scale_of_the_scanner_differs_from_case_to_case(patients):
    brightness = np.array([np.median(scan[:, scan[0] > 0], axis=1) for _, _, scan in patients])
    assert (brightness.max(axis=0) > 1.8 * brightness.min(axis=0)).all()


def test_a_patient_looks_the_same_on_a_finer_grid():
    coarse, fine = drawn(5)[1], drawn(5, tuple(3 * size for size in SHAPE))[1]
    middle = fine[1::3, 1::3, 1::3]
    overlap = 2 * np.count_nonzero((coarse > 0) & (middle > 0)) / (np.count_nonzero(coarse) + np.count_nonzero(middle))
    assert overlap > 0.99


def test_no_threshold_finds_the_tumours(patients):
    # The best one for all cases, chosen with the answer at hand, on z-scored intensities of each sequence.
    for channel in range(len(SEQUENCES)):
        scores = []
        for direction in (1, -1):
            for threshold in np.linspace(-1.5, 2.5, 17):
                dice = []
                for _, labels, scan in patients:
                    brain = scan[channel] > 0
                    values = scan[channel][brain].astype(float)
                    found = direction * (values - values.mean()) / values.std() > threshold
                    tumour = labels[brain] > 0
                    dice.append(2 * (found & tumour).sum() / (found.sum() + tumour.sum()))
                scores.append(np.mean(dice))
        assert max(scores) < 0.7, SEQUENCES[channel]
