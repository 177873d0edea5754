"""The plan: everything that preprocessing, training and prediction need to know, as numbers and names."""

from typing import Literal

from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN
from autoseg.data.labels import LabelScheme

PLAN_FORMAT = 1


class Decision(BaseModel):
    """An automatic choice: what was chosen, the numbers that led to it, and where the rule comes from."""

    model_config = FROZEN
    name: str
    value: str
    because: str
    source: str


class NetworkSpec(BaseModel):
    """The topology of a U-Net; tuples run over stages from full resolution to the bottleneck.

    `encoder_blocks` counts convolutions per stage (plain) or residual blocks (residual). Kernels and strides have one
    entry per image axis. `kind` names an entry of NETWORKS or `package.module:function`.
    """

    model_config = FROZEN
    kind: str
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    norm: Literal["instance", "batch"] = "instance"
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Normalisation(BaseModel):
    """How one channel's intensities are scaled.

    "zscore" uses the case's own mean and deviation, inside the nonzero mask only where `use_mask`; "ct" clips to
    `lower`..`upper` and uses `mean` and `deviation` of the data set's foreground.
    """

    model_config = FROZEN
    scheme: Literal["zscore", "ct", "none", "rescale_0_1", "rgb_0_1"]
    use_mask: bool = False
    lower: float = 0.0
    upper: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0


class Resampling(BaseModel):
    """Spline orders of resampling; `*_order_z` applies along a coarse axis that is resampled on its own."""

    model_config = FROZEN
    image_order: int = 3
    image_order_z: int = 0
    label_order: int = 1
    label_order_z: int = 0
    probability_order: int = 1
    probability_order_z: int = 0


class Configuration(BaseModel):
    """One way to train on a data set: a resolution, a patch, a batch and a network.

    `spacing_mm`, `median_shape` and `patch_size` (voxels) have three entries (z, y, x), or two (y, x) in 2-D, where slices
    keep their distance. `cost` is the number of feature-map elements of one sample, nnU-Net's stand-in for memory. The
    predicted bytes are those of the peak on a GPU, context included (None: not known for the network); the budget is the
    most that they may come to.
    """

    model_config = FROZEN
    name: str
    dimensions: Literal[2, 3]
    spacing_mm: tuple[float, ...]
    median_shape: tuple[float, ...]
    patch_size: tuple[int, ...]
    batch_size: int = Field(ge=1)
    normalisation: tuple[Normalisation, ...]
    resampling: Resampling
    network: NetworkSpec
    batch_dice: bool
    previous_stage: str | None = None
    cost: int
    predicted_training_bytes: int | None = None
    predicted_prediction_bytes: int | None = None
    memory_budget_bytes: int | None = None


class TrainingSettings(BaseModel):
    """How a network is trained; every value can be set with `--set training.NAME=VALUE`.

    `loss`, `optimiser`, `schedule` and `augmentation` name entries of their tables. `foreground_share` of each batch is
    centred on foreground. `precision` "auto" takes bf16 or fp16 where the device is fast at it. Over the first
    `warmup_share` of the training the learning rate rises from 0. `weight_average` is the share that a moving average of
    the weights keeps at each step; 0 trains without one. A checkpoint is written every `checkpoint_minutes` as well as at
    the end of each epoch.
    """

    model_config = FROZEN
    epochs: int = Field(default=1000, ge=1)
    iterations_per_epoch: int = Field(default=250, ge=1)
    validation_iterations: int = Field(default=50, ge=1)
    loss: str = "dice_ce"
    optimiser: str = "sgd"
    learning_rate: float = Field(default=0.01, gt=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=3e-5, ge=0)
    schedule: str = "poly"
    warmup_share: float = Field(default=0.0, ge=0, lt=1)
    weight_average: float = Field(default=0.0, ge=0, lt=1)
    gradient_clip: float = Field(default=12.0, gt=0)
    foreground_share: float = Field(default=0.33, ge=0, le=1)
    augmentation: str = "nnunet"
    mirror_axes: tuple[int, ...] = (0, 1, 2)
    deep_supervision: bool = True
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=10.0, gt=0)


class Plan(BaseModel):
    """What autoseg decided for a data set, and why.

    `orientation` is the one most training cases have and all cases are brought into before anything else (None: images
    are taken as stored). `transpose_forward` then moves the coarsest axis to the front. `mirror_axes` and patch axes are
    counted after both. `made_from` maps "dataset" and "fingerprint" to their digests.
    """

    model_config = FROZEN
    format: int = PLAN_FORMAT
    dataset: str
    channels: tuple[str, ...]
    labels: LabelScheme
    file_ending: str
    orientation: str | None
    transpose_forward: tuple[int, int, int]
    preset: str
    gpu_memory_gb: float
    configurations: dict[str, Configuration]
    training: TrainingSettings
    decisions: tuple[Decision, ...]
    made_from: dict[str, str]

    def input_channels(self, configuration: Configuration) -> int:
        """Channels of a network's input: the image's, and a mask per foreground label that a previous stage found."""
        return len(self.channels) + (len(self.labels.foreground) if configuration.previous_stage else 0)
