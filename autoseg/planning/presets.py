"""The families of networks a plan can be made for, and the constants that tie their size to GPU memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

NNUNET = "Isensee et al., Nature Methods 18 (2021); constants of nnU-Net 2.8"
RESENC = "Isensee et al., nnU-Net Revisited, MICCAI 2024; constants of nnU-Net 2.8"


@dataclass(frozen=True)
class Preset:
    """How large networks of one family may become.

    `reference_cost_*` is the number of feature-map elements of one sample that fits `reference_gb` with the batch
    `reference_batch_*`. The patch shrinks until the smallest batch fits where `fits_smallest_batch`, else until one sample
    costs no more than the reference. `dataset_share` caps the batch to a share of the voxels of the data set.
    """

    name: str
    kind: Literal["plain_unet", "residual_unet"]
    reference_gb: float
    reference_cost_3d: float
    reference_cost_2d: float
    dataset_share: float
    fits_smallest_batch: bool
    encoder_blocks: tuple[int, ...]
    decoder_blocks: int
    source: str
    nnunet_plans: str
    nnunet_planner: str
    reference_batch_3d: int = 2
    reference_batch_2d: int = 12
    smallest_batch: int = 2
    first_features: int = 32
    most_features_3d: int = 320
    most_features_2d: int = 512

    def reference_cost(self, dimensions: int) -> float:
        """Feature-map elements of one sample that `reference_gb` holds."""
        return self.reference_cost_3d if dimensions == 3 else self.reference_cost_2d

    def reference_batch(self, dimensions: int) -> int:
        """Samples at once that `reference_gb` holds."""
        return self.reference_batch_3d if dimensions == 3 else self.reference_batch_2d

    def features(self, stages: int, *, dimensions: int) -> tuple[int, ...]:
        """Feature maps of each stage: doubled from stage to stage up to a limit."""
        most = self.most_features_3d if dimensions == 3 else self.most_features_2d
        return tuple(min(most, self.first_features * 2**stage) for stage in range(stages))

    def blocks(self, stages: int) -> tuple[int, ...]:
        """Convolutions (plain) or residual blocks of each encoder stage; deep stages repeat the last number."""
        known = self.encoder_blocks[:stages]
        return known + self.encoder_blocks[-1:] * (stages - len(known))


def _residual(name: str, *, size: str, gb: float, cost_3d: float, cost_2d: float) -> Preset:
    return Preset(
        name=name,
        kind="residual_unet",
        reference_gb=gb,
        reference_cost_3d=cost_3d,
        reference_cost_2d=cost_2d,
        dataset_share=1.0,
        fits_smallest_batch=False,
        encoder_blocks=(1, 3, 4, 6),
        decoder_blocks=1,
        source=RESENC,
        nnunet_plans=f"nnUNetResEncUNet{size}Plans",
        nnunet_planner=f"nnUNetPlannerResEnc{size}",
    )


PRESETS: Mapping[str, Preset] = {
    "nnunet": Preset(
        name="nnunet",
        kind="plain_unet",
        reference_gb=8,
        reference_cost_3d=560e6,
        reference_cost_2d=85e6,
        dataset_share=0.05,
        fits_smallest_batch=True,
        encoder_blocks=(2,),
        decoder_blocks=2,
        source=NNUNET,
        nnunet_plans="nnUNetPlans",
        nnunet_planner="ExperimentPlanner",
    ),
    "resenc_m": _residual("resenc_m", size="M", gb=8, cost_3d=680e6, cost_2d=135e6),
    "resenc_l": _residual("resenc_l", size="L", gb=24, cost_3d=2100e6, cost_2d=380e6),
    "resenc_xl": _residual("resenc_xl", size="XL", gb=40, cost_3d=3600e6, cost_2d=560e6),
}
