"""Small cases and plans made from numbers."""

import numpy as np

from autoseg.data.image import Geometry, Image
from autoseg.data.labels import Label, LabelScheme
from autoseg.planning.plan import Configuration, NetworkSpec, Normalisation, Plan, Resampling, TrainingSettings

LABELS = LabelScheme(
    labels=(Label(name="background", value=0), Label(name="edema", value=2), Label(name="core", value=4)),
)


def geometry(shape, *, spacing_mm=(1.0, 1.0, 1.0), orientation="RAS"):
    """A geometry whose file axes (x, y, z) point as `orientation` says."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for axis, code in enumerate(orientation):
        world = next(index for index, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[world, axis] = spacing_mm[2 - axis] * (1 if code in "RAS" else -1)
    return Geometry(shape=tuple(shape), spacing_mm=tuple(spacing_mm), affine=affine)


def image(voxels, **options):
    voxels = np.asarray(voxels)
    return Image(voxels, geometry(voxels.shape[1:], **options))


def configuration(*, spacing_mm=(1.0, 1.0, 1.0), patch_size=None, batch_size=2, scheme="none", use_mask=False, channels=1):
    size = patch_size or (8,) * len(spacing_mm)
    return Configuration(
        name="test",
        dimensions=len(spacing_mm),
        spacing_mm=tuple(spacing_mm),
        median_shape=tuple(float(n) for n in size),
        patch_size=tuple(size),
        batch_size=batch_size,
        normalisation=(Normalisation(scheme=scheme, use_mask=use_mask),) * channels,
        resampling=Resampling(),
        network=NetworkSpec(
            kind="plain_unet", features=(4,), kernels=((3,) * len(size),), strides=((1,) * len(size),),
            encoder_blocks=(1,), decoder_blocks=(),
        ),
        batch_dice=False,
        cost=1,
    )  # fmt: skip


def plan(config, *, orientation=None, transpose=(0, 1, 2), labels=LABELS, training=None):
    return Plan(
        dataset="test",
        channels=tuple(f"channel{index}" for index in range(len(config.normalisation))),
        labels=labels,
        file_ending=".nii.gz",
        orientation=orientation,
        transpose_forward=transpose,
        preset="nnunet",
        gpu_memory_gb=8.0,
        configurations={config.name: config},
        training=training or TrainingSettings(),
        decisions=(),
        made_from={},
    )
