"""The plan: everything that preprocessing, training and prediction need to know, as numbers and names."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from autoseg.artefacts import FROZEN
from autoseg.data.labels import LabelScheme

PLAN_FORMAT = 1

Weight = Annotated[float, Field(ge=0)]


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
    entry per image axis. `kind` names an entry of NETWORKS or `package.module:function`, `initialisation` one of
    INITIALISATIONS. "group" normalises groups of up to eight feature maps together.
    """

    model_config = FROZEN
    kind: str
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    norm: Literal["instance", "batch", "group"] = "instance"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    initialisation: str = "he_normal"


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

    What each is for stands in its description, which docs/training.md lists too.
    """

    model_config = FROZEN
    epochs: int = Field(default=1000, ge=1, description="epochs, where no time budget is given")
    iterations_per_epoch: int = Field(default=250, ge=1, description="steps of an epoch, where no time budget is given")
    validation_iterations: int = Field(
        default=50,
        ge=1,
        description="validation batches after each epoch, at most; where fewer steps are set by hand, as many times fewer",
    )
    loss: str = Field(default="dice_ce", description="name of a loss")
    class_weights: tuple[Weight, ...] | Literal["inverse_frequency"] | None = Field(
        default=None,
        description="weight in the loss of each class (background first) or region; inverse_frequency counts them in the "
        "training labels",
    )
    top_k_share: float = Field(default=0.1, gt=0, le=1, description="share of voxels that count in the top-k losses")
    focal_gamma: float = Field(default=2.0, ge=0, description="exponent of the focal losses")
    tversky_alpha: float = Field(default=0.3, ge=0, description="weight in the Tversky losses of what is found too much")
    tversky_beta: float = Field(default=0.7, ge=0, description="weight in the Tversky losses of what is missed")
    optimiser: str = Field(default="sgd", description="name of an optimiser")
    learning_rate: float = Field(default=0.01, gt=0, description="the highest learning rate")
    momentum: float = Field(default=0.99, ge=0, lt=1, description="momentum of sgd")
    nesterov: bool = Field(default=True, description="Nesterov's momentum in sgd")
    weight_decay: float = Field(default=3e-5, ge=0, description="weight decay of every optimiser")
    schedule: str = Field(default="poly", description="name of a schedule of the learning rate")
    warmup_share: float = Field(default=0.0, ge=0, lt=1, description="share of the training in which the rate rises from 0")
    plateau_patience: int = Field(
        default=10, ge=1, description="plateau: epochs without a better validation loss before the rate falls"
    )
    plateau_factor: float = Field(default=0.5, gt=0, lt=1, description="plateau: what the rate is then multiplied by")
    plateau_floor: float = Field(default=1e-6, gt=0, description="plateau: the least rate")
    stop_at_floor: bool = Field(default=False, description="plateau: end the training when the rate can fall no more")
    stop_patience: int | None = Field(
        default=None, ge=1, description="end the training after so many epochs without a better validation loss"
    )
    freeze_encoder_epochs: int = Field(
        default=0, ge=0, description="epochs in which the encoder keeps the weights it begins with"
    )
    weight_average: float = Field(
        default=0.0, ge=0, lt=1, description="share that a moving average of the weights keeps at each step; 0: none"
    )
    gradient_clip: float = Field(default=12.0, gt=0, description="longest gradient of a step")
    foreground_share: float = Field(
        default=0.33, ge=0, le=1, description="share of each batch that is centred on foreground"
    )
    augmentation: str = Field(default="nnunet", description="name of an augmentation policy")
    drop_channel: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that a sample lacks a channel, for each channel but never all; the model can then predict "
        "cases that lack some",
    )
    mirror_axes: tuple[int, ...] = Field(
        default=(0, 1, 2), description="axes (0 = z, 1 = y, 2 = x) that images are mirrored along"
    )
    mirror_pairs: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="pairs of labels that mirroring along paired_axis exchanges; by_name pairs those that differ in left "
        "and right only",
    )
    paired_axis: int | None = Field(
        default=None,
        ge=0,
        le=2,
        description="axis from left to right, counted as mirror_axes, along which pairs are exchanged",
    )
    deep_supervision: bool = Field(default=True, description="the loss is taken at every resolution of the decoder")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="numbers of the convolutions; auto: half precision where the device is fast at it"
    )
    variant: str = Field(
        default="auto", description="how a step is computed (plain, channels_last, fused, ...); auto: the fastest"
    )
    seed: int = Field(default=0, ge=0, description="what all random choices follow from")
    checkpoint_minutes: float = Field(
        default=10.0, gt=0, description="minutes between checkpoints; one is also written after each epoch"
    )
    validate_every: int = Field(
        default=25, ge=0, description="epochs after which some held-out cases are predicted whole; 0: never"
    )
    validate_cases: int = Field(default=2, ge=1, description="how many held-out cases that are")
    tensorboard: bool = Field(default=True, description="write event files for TensorBoard")
    watchdog_s: float = Field(
        default=30.0, gt=0, description="seconds without a batch after which it is said what the loader is at"
    )


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
