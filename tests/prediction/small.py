"""Models small enough to predict in milliseconds, and scans to go with them."""

from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from autoseg.data.labels import Label, LabelScheme
from autoseg.data.splits import Fold, Splits
from autoseg.planning.plan import Configuration, NetworkSpec, Normalisation, Plan, Resampling, TrainingSettings
from autoseg.training.checkpoint import save_weights
from autoseg.training.model_folder import ModelCard, network_of, weights_file, write_model

LABELS = LabelScheme(
    labels=(Label(name="background", value=0), Label(name="bright", value=4), Label(name="brighter", value=9))
)


class Brightness(nn.Module):
    """Class 1 where the first channel lies above 1, class 2 above 2: an answer that is known voxel by voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.deep_supervision = False
        self.sharpness = nn.Parameter(torch.tensor(10.0))

    def forward(self, image: Tensor) -> Tensor:
        first = image[:, :1]
        return self.sharpness * torch.cat([torch.zeros_like(first), first - 1, 2 * first - 3], dim=1)


def brightness(spec: NetworkSpec, **_: object) -> nn.Module:
    return Brightness()


class RefusingTheBrightest(Brightness):
    """As Brightness, with a bug that shows itself where the image is brighter than 50."""

    def forward(self, image: Tensor) -> Tensor:
        if float(image.max()) > 50:
            raise ZeroDivisionError("division by zero")
        return super().forward(image)


def refusing_the_brightest(spec: NetworkSpec, **_: object) -> nn.Module:
    return RefusingTheBrightest()


def spec(kind: str, dimensions: int) -> NetworkSpec:
    return NetworkSpec(
        kind=kind,
        features=(4, 8),
        kernels=((3,) * dimensions,) * 2,
        strides=((1,) * dimensions, (2,) * dimensions),
        encoder_blocks=(1, 1),
        decoder_blocks=(1,),
    )


def plan(
    *,
    kind: str = "plain_unet",
    channels: tuple[str, ...] = ("MRI",),
    labels: LabelScheme = LABELS,
    patch_size: tuple[int, ...] = (8, 8, 8),
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0),
    scheme: str = "none",
    orientation: str | None = "RAS",
    transpose: tuple[int, int, int] = (0, 1, 2),
    name: str = "3d_fullres",
) -> Plan:
    dimensions = len(patch_size)
    configuration = Configuration(
        name=name,
        dimensions=3 if dimensions == 3 else 2,
        spacing_mm=spacing_mm,
        median_shape=tuple(float(edge) for edge in patch_size),
        patch_size=patch_size,
        batch_size=2,
        normalisation=(Normalisation.model_validate({"scheme": scheme}),) * len(channels),
        resampling=Resampling(),
        network=spec(kind, dimensions),
        batch_dice=False,
        cost=1,
    )
    return Plan(
        dataset="Small",
        channels=channels,
        labels=labels,
        file_ending=".nii.gz",
        orientation=orientation,
        transpose_forward=transpose,
        preset="nnunet",
        gpu_memory_gb=8.0,
        configurations={name: configuration},
        training=TrainingSettings(),
        decisions=(),
        made_from={},
    )


def network(chosen: Plan, *, seed: int = 0) -> nn.Module:
    seeded = chosen.model_copy(update={"training": chosen.training.model_copy(update={"seed": seed})})
    found = network_of(seeded, next(iter(chosen.configurations.values())))
    found.deep_supervision = False
    return found.eval()


def write_small_model(path: Path, chosen: Plan, *, folds: tuple[str, ...] = ("0",), which: str = "final") -> Path:
    """A model folder whose folds have different random weights."""
    configuration = next(iter(chosen.configurations))
    card = ModelCard(name=path.name, dataset=chosen.dataset, configuration=configuration, autoseg_version="0", made_from={})
    write_model(path, plan=chosen, card=card, splits=Splits(folds=(Fold(train=("a",), validation=("b",)),)))
    for fold in folds:
        seed = 99 if fold == "all" else int(fold)
        file = weights_file(path, fold, "best" if which == "best" else "final")
        save_weights(network(chosen, seed=seed).state_dict(), file)
    return path


def scan(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Smooth voxels (z, y, x) between about -3 and 3, none of them zero."""
    coarse = np.random.default_rng(seed).standard_normal(tuple(-(-edge // 2) for edge in shape), dtype=np.float32)
    for axis in range(len(shape)):
        coarse = np.repeat(coarse, 2, axis=axis)
    return 1.5 * coarse[tuple(slice(edge) for edge in shape)] + 0.001


def write_nifti(path: Path, voxels: NDArray[np.generic], affine: NDArray[np.float64] | None = None) -> Path:
    """Voxels (z, y, x) or (channel, z, y, x) as NIfTI, channels last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = voxels.T if voxels.ndim == 3 else np.moveaxis(voxels, 0, -1).swapaxes(0, 2)
    nib.save(nib.Nifti1Image(np.ascontiguousarray(stored), np.eye(4) if affine is None else affine), path)
    return path
