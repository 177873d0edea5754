"""The keys of nnU-Net's plans.json that say how a network sees images; a network that could not be rebuilt is refused."""

from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

_KNOWN_KEYS = ConfigDict(frozen=True, extra="forbid")
_SOME_KEYS = ConfigDict(frozen=True, extra="ignore")

Scheme = Literal[
    "CTNormalization", "ZScoreNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization"
]
ResamplingFunction = Literal["resample_data_or_seg_to_shape"]
Counts = tuple[int, ...]


def _class_name(value: object) -> object:
    """The last part of a dotted name: modules were moved between versions."""
    return value.rpartition(".")[2] if isinstance(value, str) else value


def _only(expected: float) -> AfterValidator:
    """Refuses any other number."""

    def check(value: float) -> float:
        if value != expected:
            raise ValueError(f"expected {expected}, found {value}")
        return value

    return AfterValidator(check)


class Orders(BaseModel):
    """Spline orders of resampling; a coarse axis is found by rule."""

    model_config = _KNOWN_KEYS
    is_seg: bool
    order: int = Field(ge=0, le=5)
    order_z: int = Field(default=0, ge=0, le=5)
    force_separate_z: None = None


class NormArguments(BaseModel):
    """Settings of a normalisation layer."""

    model_config = _KNOWN_KEYS
    eps: Annotated[float, _only(1e-05)] = 1e-05
    affine: Literal[True]


class ActivationArguments(BaseModel):
    """Settings of the leaky ReLU."""

    model_config = _KNOWN_KEYS
    inplace: bool = True
    negative_slope: Annotated[float, _only(0.01)] = 0.01


class NetworkArguments(BaseModel):
    """What nnU-Net builds a U-Net from; decoder stages run from coarse to fine."""

    model_config = _KNOWN_KEYS
    n_stages: int
    features_per_stage: Counts
    conv_op: Annotated[Literal["Conv2d", "Conv3d"], BeforeValidator(_class_name)]
    kernel_sizes: tuple[Counts, ...]
    strides: tuple[Counts, ...]
    n_conv_per_stage: Counts | None = None
    n_blocks_per_stage: Counts | None = None
    n_conv_per_stage_decoder: Counts
    conv_bias: Literal[True]
    norm_op: Annotated[
        Literal["InstanceNorm2d", "InstanceNorm3d", "BatchNorm2d", "BatchNorm3d"], BeforeValidator(_class_name)
    ]
    norm_op_kwargs: NormArguments
    dropout_op: None = None
    dropout_op_kwargs: None = None
    nonlin: Annotated[Literal["LeakyReLU"], BeforeValidator(_class_name)]
    nonlin_kwargs: ActivationArguments | None = None
    nonlin_first: Literal[False] = False
    deep_supervision: bool = False


class Architecture(BaseModel):
    """A network by its class and arguments."""

    model_config = _SOME_KEYS
    network_class_name: Annotated[Literal["PlainConvUNet", "ResidualEncoderUNet"], BeforeValidator(_class_name)]
    arch_kwargs: NetworkArguments


class NnunetConfiguration(BaseModel):
    """One entry of `configurations`, with what it inherits filled in.

    Plans up to version 2.3 have the network's numbers here and no `architecture`.
    """

    model_config = _SOME_KEYS
    preprocessor_name: Literal["DefaultPreprocessor"] = "DefaultPreprocessor"
    batch_size: int = Field(ge=1)
    patch_size: Counts
    median_image_size_in_voxels: tuple[float, ...]
    spacing: tuple[float, ...]
    normalization_schemes: tuple[Scheme, ...]
    use_mask_for_norm: tuple[bool, ...]
    resampling_fn_data: ResamplingFunction
    resampling_fn_seg: ResamplingFunction
    resampling_fn_probabilities: ResamplingFunction
    resampling_fn_data_kwargs: Orders
    resampling_fn_seg_kwargs: Orders
    resampling_fn_probabilities_kwargs: Orders
    batch_dice: bool = False
    previous_stage: str | None = None
    architecture: Architecture | None = None


class OldNetwork(BaseModel):
    """The network of a configuration as plans up to version 2.3 write it."""

    model_config = _SOME_KEYS
    UNet_class_name: Literal["PlainConvUNet", "ResidualEncoderUNet"]
    UNet_base_num_features: int = Field(ge=1)
    unet_max_num_features: int = Field(ge=1)
    n_conv_per_stage_encoder: Counts
    n_conv_per_stage_decoder: Counts
    pool_op_kernel_sizes: tuple[Counts, ...]
    conv_kernel_sizes: tuple[Counts, ...]


class Intensities(BaseModel):
    """Intensities of a channel over the foreground of the data set."""

    model_config = _SOME_KEYS
    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float


class NnunetPlans(BaseModel):
    """The parts of plans.json that hold for every configuration."""

    model_config = _SOME_KEYS
    dataset_name: str
    plans_name: str = "nnUNetPlans"
    image_reader_writer: str = "SimpleITKIO"
    transpose_forward: tuple[int, int, int]
    experiment_planner_used: str = "ExperimentPlanner"
    label_manager: Literal["LabelManager"] = "LabelManager"
    configurations: dict[str, dict[str, object]]
    foreground_intensity_properties_per_channel: dict[str, Intensities] = Field(
        validation_alias=AliasChoices(
            "foreground_intensity_properties_per_channel", "foreground_intensity_properties_by_modality"
        )
    )
