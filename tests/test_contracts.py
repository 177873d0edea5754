"""Every part that can be chosen by name keeps the promises that third parties' parts are asked to keep."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from torch import Tensor, nn

from autoseg.augmentation.policy import NNUNET, POLICIES, Chance, Range
from autoseg.data.image import FLAT_SPACING_MM, Geometry, Image
from autoseg.data.readers import PICTURE_ENDINGS, READERS, write_image
from autoseg.errors import ImageError, TrainingError, UnknownNameError
from autoseg.evaluation.metrics import METRICS
from autoseg.losses import LOSSES
from autoseg.networks.unet import NETWORKS, plain_unet
from autoseg.testing import check_augmentation, check_loss, check_metric, check_network, check_reader
from tests.data.scans import a_scan


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_keeps_its_promises(name):
    check_network(name)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_keeps_its_promises(name):
    check_loss(name)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_keeps_its_promises(name):
    check_metric(name)


@pytest.mark.parametrize("name", POLICIES)
def test_every_augmentation_policy_keeps_its_promises(name):
    check_augmentation(name)


def example(folder: Path, ending: str) -> Path:
    """A file of that format, from a library of its own where ours does not write it."""
    path = folder / "source" / f"scan{ending}"
    path.parent.mkdir()
    if ending in PICTURE_ENDINGS:
        pixels = np.random.default_rng(0).integers(0, 255, (1, 1, 24, 30)).astype(np.uint8)
        affine = np.diag([1.0, 1.0, FLAT_SPACING_MM, 1.0])
        write_image(path, pixels, Geometry((1, 24, 30), (FLAT_SPACING_MM, 1.0, 1.0), affine))
    else:
        image = SimpleITK.GetImageFromArray(a_scan()[:1] if ending == ".dcm" else a_scan())
        image.SetSpacing((1.5, 2.0, 3.0))
        SimpleITK.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("ending", READERS)
def test_every_reader_keeps_its_promises(ending, tmp_path):
    check_reader(ending, example=example(tmp_path, ending))


def test_parts_of_third_parties_are_named_by_module_and_function():
    check_network("autoseg.networks.unet:residual_unet")
    check_loss("tests.test_contracts:brier")
    check_metric("tests.test_contracts:volume_difference")
    check_augmentation("autoseg.augmentation.policy:LIGHT")
    with pytest.raises(UnknownNameError, match="no_such:part"):
        check_loss("no_such:part")


def brier(labels, *, batch_dice=False, settings=None):
    """A loss as a third party might write it."""

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        valid = (
            target != labels.ignore_class if labels.ignore_class is not None else torch.ones_like(target, dtype=torch.bool)
        )
        classes = torch.where(valid, target, 0)
        if labels.target == "regions":
            masks = [torch.isin(classes, torch.tensor(labels.classes_of(region))) for region in labels.regions]
            gaps = (logits.float().sigmoid() - torch.stack(masks, dim=1).float()) ** 2
        else:
            truth = nn.functional.one_hot(classes, len(labels.labels)).movedim(-1, 1)
            gaps = (logits.float().softmax(1) - truth) ** 2
        return (gaps.sum(1) * valid).sum() / valid.sum().clamp_min(1)

    return loss


def volume_difference(structure):
    """A metric as a third party might write it."""
    counts = structure.counts
    return None if counts.reference == 0 else (counts.predicted - counts.reference) / counts.reference


# A contract test is worth what it finds: each of these parts breaks one promise.


class Careless(nn.Module):
    """A network with switches for what can be wrong."""

    def __init__(self, inner, *, deep_supervision, fault):
        super().__init__()
        self.inner, self.fault = inner, fault
        self.deep_supervision = not deep_supervision if fault == "flag" else deep_supervision
        if fault == "unused":
            self.never = nn.Linear(1, 1)
        if fault == "shared":
            self.again = inner.decoder.heads[0].weight

    def forward(self, image):
        self.inner.deep_supervision = True
        outputs = self.inner(image)
        match self.fault:
            case "order":
                outputs = outputs[::-1]
            case "level":
                outputs = outputs[:1]
            case "noise":
                outputs[0] = outputs[0] + torch.rand(1)
        return outputs if self.deep_supervision or self.fault == "alone" else outputs[0]


def careless(fault):
    def build(spec, *, dimensions, in_channels, out_channels, deep_supervision):
        inner = plain_unet(
            spec, dimensions=dimensions, in_channels=in_channels, out_channels=out_channels, deep_supervision=True
        )
        return Careless(inner, deep_supervision=deep_supervision, fault=fault)

    return build


@pytest.mark.parametrize(
    ("fault", "promise"),
    [
        ("flag", "must keep `deep_supervision`"),
        ("order", "the first output must be"),
        ("level", "2 outputs are expected, found 1"),
        ("noise", "must not depend on `deep_supervision`"),
        ("alone", "must return the finest logits alone"),
        ("unused", "parameters without a gradient: never.weight, never.bias"),
        ("shared", "without tensors that share memory"),
    ],
)
def test_a_network_that_breaks_a_promise_is_found_out(fault, promise):
    with pytest.raises(AssertionError, match=promise):
        check_network(careless(fault))


def test_a_sound_network_of_a_third_party_passes():
    check_network(careless(None))


@pytest.mark.parametrize(
    ("loss", "promise"),
    [
        (lambda labels: lambda logits, target: logits.square(), "must be one number"),
        (lambda labels: lambda logits, target: logits.float().mean() * 0, "must have a gradient other than zero"),
        (
            lambda labels: lambda logits, target: brier(labels)(logits, target) / (target > 0).any(),
            "without foreground must be",
        ),
        (lambda labels: lambda logits, target: logits.float().square().mean(), "must cost less"),
        (lambda labels: lambda logits, target: brier(labels)(logits, target.fill_(0)), "must not change its target"),
    ],
)
def test_a_loss_that_breaks_a_promise_is_found_out(loss, promise):
    def build(labels, *, batch_dice, settings):
        return loss(labels)

    with pytest.raises(AssertionError, match=promise):
        check_loss(build)


def test_a_loss_that_counts_ignored_voxels_is_found_out():
    def counting(labels, *, batch_dice, settings):
        inner = brier(labels.model_copy(update={"ignore": None}))
        return lambda logits, target: inner(logits, target.clamp_max(len(labels.labels) - 1))

    with pytest.raises(AssertionError, match="must not count"):
        check_loss(counting)


def test_a_loss_that_takes_no_target_is_found_out():
    def refusing(labels, *, batch_dice, settings):
        raise TrainingError("never")

    with pytest.raises(AssertionError, match="it refuses both"):
        check_loss(refusing)


def spoiling(structure):
    structure.predicted.fill(True)
    return 1.0


@pytest.mark.parametrize(
    ("metric", "promise"),
    [
        (lambda structure: math.nan, "must be None, not nan"),
        (lambda structure: "good", "expected a number or None, found 'good'"),
        (spoiling, "must not change the masks"),
    ],
)
def test_a_metric_that_breaks_a_promise_is_found_out(metric, promise):
    with pytest.raises(AssertionError, match=promise):
        check_metric(metric)


OWN = READERS[".nii"]


def without_channel(path):
    image = OWN.image(path)
    return Image(image.voxels[0], image.geometry)


def stretched(path):
    image = OWN.image(path)
    return Image(image.voxels, dataclasses.replace(image.geometry, spacing_mm=(9.0, 9.0, 9.0)))


def lenient(path):
    try:
        return OWN.image(path)
    except ImageError:
        return Image(np.zeros((1, 3, 4, 5)), Geometry((3, 4, 5), (1.0, 1.0, 1.0), np.eye(4)))


def clumsy(path):
    try:
        return OWN.image(path)
    except ImageError as error:
        raise ValueError from error


@pytest.mark.parametrize(
    ("read", "promise"),
    [
        (without_channel, "found 3 axes"),
        (stretched, "differ in spacing"),
        (lenient, "empty must raise ImageError; it was read"),
        (clumsy, "empty must raise ImageError, not ValueError"),
    ],
)
def test_a_reader_that_breaks_a_promise_is_found_out(read, promise, tmp_path):
    with pytest.raises(AssertionError, match=promise):
        check_reader(dataclasses.replace(OWN, image=read), example=example(tmp_path, ".nii"))


def test_a_writer_that_changes_voxels_is_found_out(tmp_path):
    def write(path, voxels, geometry):
        OWN.write(path, voxels + 1, geometry)

    with pytest.raises(AssertionError, match="must keep its voxels"):
        check_reader(dataclasses.replace(OWN, write=write), example=example(tmp_path, ".nii"))


def test_a_policy_that_breaks_a_promise_is_found_out():
    with pytest.raises(AssertionError, match="expected a Policy, found function"):
        check_augmentation("autoseg.augmentation.policy:draw")
    broken = dataclasses.replace(NNUNET, brightness=Chance(1.0, Range(3e38, 3e38)))
    with pytest.raises(AssertionError, match="must stay finite"):
        check_augmentation(broken)
