"""Which augmentations are drawn how often and from which ranges: a policy is a value, and so is what is drawn from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from autoseg.augmentation.chance import Chance, Normal, Range
from autoseg.augmentation.elastic import Elastic
from autoseg.augmentation.intensity import (
    Absent,
    Blur,
    Brightness,
    Contrast,
    Gamma,
    IntensityStep,
    LowResolution,
    Noise,
    PerChannel,
    Shift,
)
from autoseg.augmentation.previous_stage import OPERATIONS, MaskStep, RemoveComponent, Reshape
from autoseg.augmentation.spatial import UNSCALED, UNTURNED, Placing

ANISOTROPIC_PATCH = 3
"""A 3-D patch this many times longer than its first axis is turned within its slices only."""
ELONGATED_PATCH = 1.5
"""A 2-D patch with sides of at least this ratio is turned by small angles only."""


NEVER = Chance(0, Range(1, 1))
MAGNITUDES = Range(1 / 8, 1 / 2)
"""Of elastic deformations, as in nnU-Net v1: stronger ones fold the image."""


@dataclass(frozen=True)
class Policy:
    """Probabilities and ranges of all augmentations; the default draws nothing.

    Angles are in degrees either way: about each axis of a 3-D patch, within the slices of an anisotropic or 2-D one, and
    within an elongated 2-D one. Of the samples that are scaled a share of `scaling_per_axis` is so by another factor along
    each axis. `elastic` draws the smoothing of the deformation as a share of the patch, `elastic_magnitude` its largest
    displacement as a share of the smoothing. `mirror` is the probability for each allowed axis. `reshaping` (radius in
    voxels) and `removal` change what a cascade gets from its previous stage, label by label.
    """

    rotation: float = 0.0
    rotation_degrees: float = 30.0
    in_plane_degrees: float = 180.0
    elongated_degrees: float = 15.0
    scaling: Chance = NEVER
    scaling_per_axis: float = 0.0
    elastic: Chance = NEVER
    elastic_magnitude: Range = MAGNITUDES
    noise: Chance = NEVER
    blur: Chance = NEVER
    brightness: Chance = NEVER
    shift: Chance = NEVER
    contrast: Chance = NEVER
    low_resolution: Chance = NEVER
    inverted_gamma: Chance = NEVER
    gamma: Chance = NEVER
    mirror: float = 0.0
    reshaping: Chance = NEVER
    removal: Chance = NEVER


NNUNET = Policy(
    rotation=0.2,
    scaling=Chance(0.2, Range(0.7, 1.4)),
    noise=Chance(0.1, Range(0, 0.1)),
    blur=Chance(0.2, Range(0.5, 1.0), channel=0.5),
    brightness=Chance(0.15, Range(0.75, 1.25, two_sided=True)),
    contrast=Chance(0.15, Range(0.75, 1.25, two_sided=True)),
    low_resolution=Chance(0.25, Range(0.5, 1.0), channel=0.5),
    inverted_gamma=Chance(0.1, Range(0.7, 1.5, two_sided=True)),
    gamma=Chance(0.3, Range(0.7, 1.5, two_sided=True)),
    mirror=0.5,
    reshaping=Chance(0.4, Range(1, 8), channel=0.5),
    removal=Chance(0.2, Range(0, 1), channel=0.5),
)
"""The list of nnU-Net v2 with its probabilities and ranges."""

LIGHT = Policy(
    brightness=NNUNET.brightness,
    contrast=NNUNET.contrast,
    gamma=NNUNET.gamma,
    mirror=0.5,
    reshaping=NNUNET.reshaping,
    removal=NNUNET.removal,
)
"""What costs next to nothing: mirroring and changes of brightness, contrast and gamma."""

BRATS = replace(
    NNUNET,
    rotation=0.3,
    scaling=Chance(0.3, Range(0.65, 1.6, two_sided=True)),
    scaling_per_axis=0.3,
    elastic=Chance(0.3, Range(0, 0.25)),
    shift=Chance(0.3, Normal(0, 0.2), channel=0.5),
    inverted_gamma=Chance(0.1, Range(0.5, 1.6, two_sided=True)),
    gamma=Chance(0.3, Range(0.5, 1.6, two_sided=True)),
)
"""The stronger set of the winner of BraTS 2020.

Source: Isensee et al., arXiv 2011.00848, for what is changed, the probabilities 0.3 of rotation, scaling, elastic
deformation and additive brightness, and the range of scales. The paper gives no numbers for the rest: the share scaled
axis by axis, how smooth and how strong deformations are, the deviation of the brightness and the range of gamma are those
of the trainers for BraTS published with nnU-Net v1.
"""

NONE = Policy()

POLICIES: Mapping[str, Policy] = {"nnunet": NNUNET, "brats": BRATS, "light": LIGHT, "none": NONE}


@dataclass(frozen=True)
class Augmentation:
    """Everything drawn for one sample; applying it again gives the same patch again.

    `steps` change the image's own channels, `mask_steps` those of a previous stage.
    """

    placing: Placing = field(default_factory=Placing)
    steps: tuple[IntensityStep, ...] = ()
    mask_steps: tuple[MaskStep, ...] = ()


def draw(
    policy: Policy,
    rng: np.random.Generator,
    *,
    patch: Sequence[int],
    channels: int,
    mirror_axes: Sequence[int],
    previous_labels: int = 0,
) -> Augmentation:
    """What happens to one sample of size `patch` (z, y, x; z is 1 in 2-D).

    `mirror_axes` are those that may be mirrored (0 = z); `previous_labels` counts the masks of a previous stage.
    """
    in_plane = is_in_plane(patch)
    return Augmentation(
        placing=_draw_placing(policy, rng, patch=patch, in_plane=in_plane, mirror_axes=mirror_axes),
        steps=_draw_steps(policy, rng, channels=channels, in_plane=in_plane),
        mask_steps=_draw_mask_steps(policy, rng, labels=previous_labels),
    )


def lacking(
    augmentation: Augmentation, rng: np.random.Generator, *, probability: float, values: Sequence[float]
) -> Augmentation:
    """The same with each channel taken away with a `probability`, but never all; `values` stand for what is absent."""
    absent = rng.random(len(values)) < probability
    if absent.all():
        absent[rng.integers(len(values))] = False
    if not absent.any():
        return augmentation
    step = Absent(tuple(value if gone else None for value, gone in zip(values, absent, strict=True)))
    return replace(augmentation, steps=(*augmentation.steps, step))


def is_in_plane(patch: Sequence[int]) -> bool:
    """Whether a patch (z, y, x) is so flat, or so anisotropic, that its slices are augmented as pictures."""
    return max(patch) / patch[0] > ANISOTROPIC_PATCH


def apply_steps(image: Tensor, augmentation: Augmentation) -> None:
    """Change the intensities of one sample (channel, z, y, x) in place."""
    for step in augmentation.steps:
        step.apply(image)


def apply_mask_steps(masks: Tensor, augmentation: Augmentation) -> None:
    """Change the masks of a previous stage (label, z, y, x) of one sample in place."""
    for step in augmentation.mask_steps:
        step.apply(masks)


def _draw_placing(
    policy: Policy, rng: np.random.Generator, *, patch: Sequence[int], in_plane: bool, mirror_axes: Sequence[int]
) -> Placing:
    angles, scales = UNTURNED, UNSCALED
    if rng.random() < policy.rotation:
        limit = math.radians(_largest_angle(policy, patch, in_plane=in_plane))
        about_z, about_y, about_x = (float(angle) for angle in rng.uniform(-limit, limit, size=3))
        angles = (about_z, 0.0, 0.0) if in_plane else (about_z, about_y, about_x)
    if rng.random() < policy.scaling.sample:
        z, y, x = _draw_scales(policy, rng)
        scales = (1.0 if in_plane else z, y, x)
    mirrored = tuple(axis for axis in mirror_axes if patch[axis] > 1 and rng.random() < policy.mirror)
    elastic = _draw_elastic(policy, rng, patch=patch, in_plane=in_plane)
    return Placing(angles=angles, scales=scales, mirrored=mirrored, in_plane=in_plane, elastic=elastic)


def _draw_scales(policy: Policy, rng: np.random.Generator) -> tuple[float, float, float]:
    scale = policy.scaling.values.draw(rng)
    if not policy.scaling_per_axis or rng.random() >= policy.scaling_per_axis:
        return scale, scale, scale
    return scale, policy.scaling.values.draw(rng), policy.scaling.values.draw(rng)


def _draw_elastic(policy: Policy, rng: np.random.Generator, *, patch: Sequence[int], in_plane: bool) -> Elastic | None:
    if not policy.elastic.sample or rng.random() >= policy.elastic.sample:
        return None
    share = policy.elastic.values.draw(rng)
    z, y, x = (share * size for size in patch)
    shares = [policy.elastic_magnitude.draw(rng) for _ in patch]
    magnitudes = (0.0 if in_plane else shares[0] * z, shares[1] * y, shares[2] * x)
    return Elastic(sigmas=(0.0 if in_plane else z, y, x), magnitudes=magnitudes, seed=int(rng.integers(2**63)))


def _largest_angle(policy: Policy, patch: Sequence[int], *, in_plane: bool) -> float:
    if not in_plane:
        return policy.rotation_degrees
    is_elongated = patch[0] == 1 and max(patch[1:]) / min(patch[1:]) > ELONGATED_PATCH
    return policy.elongated_degrees if is_elongated else policy.in_plane_degrees


def _draw_steps(policy: Policy, rng: np.random.Generator, *, channels: int, in_plane: bool) -> tuple[IntensityStep, ...]:
    """The steps in their order; none is listed that would change no channel."""
    steps: list[IntensityStep] = []
    if rng.random() < policy.noise.sample:
        steps.append(Noise(policy.noise.values.draw(rng), seed=int(rng.integers(2**63))))
    if rng.random() < policy.blur.sample:
        steps.append(Blur(tuple(_draw_sigmas(policy.blur, rng) for _ in range(channels))))
    if rng.random() < policy.brightness.sample:
        steps.append(Brightness(_per_channel(policy.brightness, rng, channels)))
    if policy.shift.sample and rng.random() < policy.shift.sample:
        steps.append(Shift(_per_channel(policy.shift, rng, channels)))
    if rng.random() < policy.contrast.sample:
        steps.append(Contrast(_per_channel(policy.contrast, rng, channels)))
    if rng.random() < policy.low_resolution.sample:
        zooms = _per_channel(policy.low_resolution, rng, channels)
        steps.append(LowResolution(zooms, axes=(1, 2) if in_plane else (0, 1, 2)))
    if rng.random() < policy.inverted_gamma.sample:
        steps.append(Gamma(_per_channel(policy.inverted_gamma, rng, channels), inverted=True))
    if rng.random() < policy.gamma.sample:
        steps.append(Gamma(_per_channel(policy.gamma, rng, channels)))
    return tuple(steps)


def _draw_mask_steps(policy: Policy, rng: np.random.Generator, *, labels: int) -> tuple[MaskStep, ...]:
    """Steps for the masks of a previous stage, labels in random order: a growing label displaces others."""
    if not labels:
        return ()
    steps: list[MaskStep] = []
    if rng.random() < policy.reshaping.sample:
        radii, operations = policy.reshaping.values, tuple(OPERATIONS)
        assert isinstance(radii, Range), "radii have a least and a largest"
        for label in _some(labels, rng, chance=policy.reshaping.channel):
            operation = operations[int(rng.integers(len(operations)))]
            steps.append(Reshape(label, operation, radius=int(rng.integers(int(radii.low), int(radii.high) + 1))))
    if rng.random() < policy.removal.sample:
        chosen = _some(labels, rng, chance=policy.removal.channel)
        steps += [RemoveComponent(label, policy.removal.values.draw(rng)) for label in chosen]
    return tuple(steps)


def _some(count: int, rng: np.random.Generator, *, chance: float) -> list[int]:
    """Each of `count` numbers from 0 with that chance, in random order."""
    return [int(number) for number in rng.permutation(count) if rng.random() < chance]


def _per_channel(chance: Chance, rng: np.random.Generator, channels: int) -> PerChannel:
    return tuple(chance.values.draw(rng) if rng.random() < chance.channel else None for _ in range(channels))


def _draw_sigmas(chance: Chance, rng: np.random.Generator) -> tuple[float, float, float] | None:
    if rng.random() >= chance.channel:
        return None
    return chance.values.draw(rng), chance.values.draw(rng), chance.values.draw(rng)
