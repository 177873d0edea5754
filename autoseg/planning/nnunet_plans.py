"""A plan in the format of nnU-Net 2.8 (nnUNetPlans.json)."""

from typing import Any

from autoseg.errors import PlanError
from autoseg.planning.facts import Facts
from autoseg.planning.nnunet_files import STATISTICS
from autoseg.planning.plan import Configuration, Plan
from autoseg.planning.presets import PRESETS, Preset
from autoseg.planning.rules import Scheme, median_shape, median_spacing

SCHEMES: dict[Scheme, str] = {
    "ct": "CTNormalization",
    "zscore": "ZScoreNormalization",
    "none": "NoNormalization",
    "rescale_0_1": "RescaleTo01Normalization",
    "rgb_0_1": "RGBTo01Normalization",
}
NETWORK_CLASSES = {"plain_unet": "PlainConvUNet", "residual_unet": "ResidualEncoderUNet"}
_PICTURES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")
_RESAMPLING = "resample_data_or_seg_to_shape"


def nnunet_plans(plan: Plan, facts: Facts) -> dict[str, Any]:
    """The content of nnUNetPlans.json for `plan`, which was made from `facts`; every key that nnU-Net 2.8.1 writes.

    Raises PlanError for a network that nnU-Net does not have.
    """
    order = plan.transpose_forward
    spacing, shape = median_spacing(facts.spacings_mm), median_shape(facts.shapes)
    name = nnunet_plans_name(plan)
    return {
        "dataset_name": plan.dataset,
        "plans_name": name,
        "original_median_spacing_after_transp": [spacing[axis] for axis in order],
        "original_median_shape_after_transp": [round(shape[axis]) for axis in order],
        "image_reader_writer": facts.reader or ("NaturalImage2DIO" if plan.file_ending in _PICTURES else "SimpleITKIO"),
        "transpose_forward": list(order),
        "transpose_backward": [order.index(axis) for axis in range(3)],
        "configurations": {
            key: _cascade(plan) if one.previous_stage else _configuration(one, preset=PRESETS[plan.preset], plans_name=name)
            for key, one in plan.configurations.items()
        },
        "experiment_planner_used": PRESETS[plan.preset].nnunet_planner,
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(index): {key: getattr(found, field) for key, field in sorted(STATISTICS.items())}
            for index, found in enumerate(facts.intensities)
        },
    }


def nnunet_plans_name(plan: Plan) -> str:
    """The name nnU-Net knows the plan by; it says the memory where that is not the preset's own."""
    preset = PRESETS[plan.preset]
    own = plan.gpu_memory_gb == preset.reference_gb
    return preset.nnunet_plans if own else f"{preset.nnunet_plans}_{plan.gpu_memory_gb:g}GB"


def _cascade(plan: Plan) -> dict[str, Any]:
    """The cascade as what it has from full resolution, and what has been set otherwise."""
    preset, name = PRESETS[plan.preset], nnunet_plans_name(plan)
    full, own = (
        _configuration(plan.configurations[key], preset=preset, plans_name=name)
        for key in ("3d_fullres", "3d_cascade_fullres")
    )
    changed = {key: value for key, value in own.items() if value != full[key] and key != "data_identifier"}
    previous = plan.configurations["3d_cascade_fullres"].previous_stage
    return {"inherits_from": "3d_fullres", "previous_stage": previous, **changed}


def _configuration(one: Configuration, *, preset: Preset, plans_name: str) -> dict[str, Any]:
    is_low = one.name == "3d_lowres"
    # Residual presets preprocess like the default one, except at the low resolution.
    data = plans_name if is_low or preset.kind == "plain_unet" else "nnUNetPlans"
    orders = one.resampling
    found = {
        "data_identifier": f"{data}_{one.name}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": one.batch_size,
        "patch_size": list(one.patch_size),
        "median_image_size_in_voxels": [round(n) if is_low else n for n in one.median_shape],
        "spacing": list(one.spacing_mm),
        "normalization_schemes": [SCHEMES[channel.scheme] for channel in one.normalisation],
        "use_mask_for_norm": [channel.use_mask for channel in one.normalisation],
        "resampling_fn_data": _RESAMPLING,
        "resampling_fn_seg": _RESAMPLING,
        "resampling_fn_data_kwargs": _orders(orders.image_order, orders.image_order_z, is_seg=False),
        "resampling_fn_seg_kwargs": _orders(orders.label_order, orders.label_order_z, is_seg=True),
        "resampling_fn_probabilities": _RESAMPLING,
        "resampling_fn_probabilities_kwargs": _orders(orders.probability_order, orders.probability_order_z, is_seg=False),
        "architecture": _architecture(one),
        "batch_dice": one.batch_dice,
    }
    return {**found, "next_stage": "3d_cascade_fullres"} if is_low else found


def _orders(order: int, order_z: int, *, is_seg: bool) -> dict[str, Any]:
    return {"is_seg": is_seg, "order": order, "order_z": order_z, "force_separate_z": None}


def _architecture(one: Configuration) -> dict[str, Any]:
    network, dimensions = one.network, one.dimensions
    if network.kind not in NETWORK_CLASSES or network.norm != "instance" or network.dropout:
        raise PlanError(f"{one.name}: nnU-Net's planner knows no network {network.kind!r} with these settings.")
    blocks = "n_conv_per_stage" if network.kind == "plain_unet" else "n_blocks_per_stage"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{NETWORK_CLASSES[network.kind]}",
        "arch_kwargs": {
            "n_stages": len(network.features),
            "features_per_stage": list(network.features),
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": [list(kernel) for kernel in network.kernels],
            "strides": [list(stride) for stride in network.strides],
            blocks: list(network.encoder_blocks),
            "n_conv_per_stage_decoder": list(network.decoder_blocks[::-1]),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
