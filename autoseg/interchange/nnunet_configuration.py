"""A configuration of nnU-Net's plans.json as one of this package."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from autoseg.artefacts import describe
from autoseg.data.labels import LabelScheme
from autoseg.errors import PlanError, unknown_name
from autoseg.interchange.nnunet_format import Intensities, NnunetConfiguration, NnunetPlans, OldNetwork, Orders
from autoseg.planning.facts import label_entries
from autoseg.planning.nnunet_plans import NETWORK_CLASSES, SCHEMES
from autoseg.planning.plan import Configuration, NetworkSpec, Normalisation, Resampling
from autoseg.planning.topology import network_cost

M = TypeVar("M", bound=BaseModel)

_OWN_SCHEMES = {theirs: own for own, theirs in SCHEMES.items()}
_OWN_NETWORKS = {theirs: own for own, theirs in NETWORK_CLASSES.items()}


def read_plans(content: object, file: Path) -> NnunetPlans:
    """The plans in the content of a plans.json. Raises PlanError naming the key that is missing or makes no sense."""
    return _validated(NnunetPlans, content, where=f"{file}: ")


def configuration_of(
    plans: NnunetPlans, name: str, *, labels: LabelScheme, norm: Literal["instance", "batch"], file: Path
) -> Configuration:
    """The configuration `name` of `plans`, which lie in `file`; `norm` is what the weights were trained with.

    Raises UnknownNameError for a configuration that is not there and PlanError, naming the key, for a network or a way of
    preprocessing that this package does not have.
    """
    where = f"{file}: configurations.{name}."
    content = _with_inherited(plans.configurations, name, file)
    found = _validated(NnunetConfiguration, content, where=where)
    network = _network(found, content, norm=norm, where=where)
    dimensions: Literal[2, 3] = 3 if len(found.patch_size) == 3 else 2
    return Configuration(
        name=name,
        dimensions=dimensions,
        spacing_mm=found.spacing,
        median_shape=found.median_image_size_in_voxels,
        patch_size=found.patch_size,
        batch_size=found.batch_size,
        normalisation=_normalisation(found, plans, file),
        resampling=_resampling(found),
        network=network,
        batch_dice=found.batch_dice,
        previous_stage=found.previous_stage,
        cost=_cost(network, found.patch_size, labels),
    )


def _with_inherited(configurations: Mapping[str, Mapping[str, object]], name: str, file: Path) -> dict[str, object]:
    """The entry `name`, with what it does not say itself taken from the one that it inherits from."""
    if name not in configurations:
        raise unknown_name(f"configuration (in {file})", name, configurations)
    chain: list[Mapping[str, object]] = []
    following: object = name
    while following is not None:
        if not isinstance(following, str) or following not in configurations or len(chain) > len(configurations):
            raise PlanError(f"{file}: configurations.{name}.inherits_from: found {following!r}, which is no configuration.")
        chain.append(configurations[following])
        following = chain[-1].get("inherits_from")
    return {key: value for entry in reversed(chain) for key, value in entry.items()}


def _network(
    found: NnunetConfiguration, content: Mapping[str, object], *, norm: Literal["instance", "batch"], where: str
) -> NetworkSpec:
    if found.architecture is None:
        return _old_network(_validated(OldNetwork, content, where=where), norm=norm)
    network = found.architecture.arch_kwargs
    kind = _OWN_NETWORKS[found.architecture.network_class_name]
    key = "n_conv_per_stage" if kind == "plain_unet" else "n_blocks_per_stage"
    blocks: tuple[int, ...] | None = getattr(network, key)
    if blocks is None:
        raise PlanError(f"{where}architecture.arch_kwargs.{key}: missing. Use the plans.json that nnU-Net wrote.")
    return NetworkSpec(
        kind=kind,
        features=network.features_per_stage,
        kernels=network.kernel_sizes,
        strides=network.strides,
        encoder_blocks=blocks,
        decoder_blocks=network.n_conv_per_stage_decoder[::-1],
        norm="batch" if network.norm_op.startswith("BatchNorm") else norm,
    )


def _old_network(found: OldNetwork, *, norm: Literal["instance", "batch"]) -> NetworkSpec:
    first, most = found.UNet_base_num_features, found.unet_max_num_features
    return NetworkSpec(
        kind=_OWN_NETWORKS[found.UNet_class_name],
        features=tuple(min(first * 2**stage, most) for stage in range(len(found.n_conv_per_stage_encoder))),
        kernels=found.conv_kernel_sizes,
        strides=found.pool_op_kernel_sizes,
        encoder_blocks=found.n_conv_per_stage_encoder,
        decoder_blocks=found.n_conv_per_stage_decoder[::-1],
        norm=norm,
    )


def _normalisation(found: NnunetConfiguration, plans: NnunetPlans, file: Path) -> tuple[Normalisation, ...]:
    if len(found.use_mask_for_norm) != len(found.normalization_schemes):
        raise PlanError(
            f"{file}: use_mask_for_norm: expected an entry for each of {len(found.normalization_schemes)} normalisation "
            f"schemes, found {len(found.use_mask_for_norm)}."
        )
    channels: list[Normalisation] = []
    for index, (name, use_mask) in enumerate(zip(found.normalization_schemes, found.use_mask_for_norm, strict=True)):
        scheme = _OWN_SCHEMES[name]
        if scheme == "ct":
            channels.append(_ct(plans.foreground_intensity_properties_per_channel, index, file))
        else:
            channels.append(Normalisation(scheme=scheme, use_mask=use_mask and scheme == "zscore"))
    return tuple(channels)


def _ct(intensities: Mapping[str, Intensities], index: int, file: Path) -> Normalisation:
    if str(index) not in intensities:
        raise PlanError(
            f"{file}: foreground_intensity_properties_per_channel: no entry for channel {index}, which is normalised as CT."
            " Use the plans.json that the model was trained with."
        )
    one = intensities[str(index)]
    return Normalisation(
        scheme="ct", lower=one.percentile_00_5, upper=one.percentile_99_5, mean=one.mean, deviation=max(one.std, 1e-8)
    )


def _resampling(found: NnunetConfiguration) -> Resampling:
    image, label, probability = (
        found.resampling_fn_data_kwargs,
        found.resampling_fn_seg_kwargs,
        found.resampling_fn_probabilities_kwargs,
    )
    return Resampling(**_orders("image", image), **_orders("label", label), **_orders("probability", probability))


def _orders(kind: str, orders: Orders) -> dict[str, int]:
    return {f"{kind}_order": orders.order, f"{kind}_order_z": orders.order_z}


def _cost(network: NetworkSpec, patch_size: Sequence[int], labels: LabelScheme) -> int:
    """The cost, or 0 for stages that do not fit together, which is said later."""
    try:
        return network_cost(
            patch_size,
            strides=network.strides,
            features=network.features,
            encoder_blocks=network.encoder_blocks,
            decoder_blocks=network.decoder_blocks,
            is_residual=network.kind == "residual_unet",
            outputs=label_entries(labels),
        )
    except (ValueError, ZeroDivisionError, IndexError):
        return 0


def _validated(model: type[M], content: Any, *, where: str) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise PlanError(
            f"{where}{describe(error)}. Only nnU-Net's own plain and residual-encoder U-Nets with its default "
            "preprocessing can be taken over."
        ) from error
