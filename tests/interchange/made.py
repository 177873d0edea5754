"""Model folders as nnU-Net writes them, made from networks of this package."""

import json
import re
from pathlib import Path

import numpy as np
import torch

from autoseg.networks.unet import build_network
from autoseg.planning.plan import NetworkSpec

ORDERS = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
LABELS = {"background": 0, "edema": 1, "core": 2}
BLOCKS = {"plain_unet": (2, 2, 1), "residual_unet": (1, 2, 2)}


def spec_of(kind="plain_unet", dimensions=3):
    kernels = ((1, 3, 3), (3, 3, 3), (3, 3, 3)) if dimensions == 3 else ((3, 3),) * 3
    strides = ((1, 1, 1), (1, 2, 2), (2, 2, 2)) if dimensions == 3 else ((1, 1), (2, 2), (2, 2))
    return NetworkSpec(
        kind=kind, features=(4, 6, 8), kernels=kernels, strides=strides, encoder_blocks=BLOCKS[kind], decoder_blocks=(2, 1)
    )


def theirs(state):
    """The tensors under nnU-Net's names, with those that it saves twice."""
    found = {}
    for name, tensor in state.items():
        new = re.sub(r"^encoder\.stem\.", "encoder.stem.convs.0.", name)
        new = re.sub(r"^encoder\.stages\.(\d+)\.convs\.", r"encoder.stages.\1.0.convs.", new)
        new = re.sub(r"^encoder\.stages\.(\d+)\.(\d+)\.(conv1|conv2|skip)", r"encoder.stages.\1.blocks.\2.\3", new)
        new = new.replace("decoder.heads.", "decoder.seg_layers.")
        found[new] = tensor
        if ".conv.weight" in new:
            found[new.replace(".conv.weight", ".all_modules.0.weight")] = tensor
        if new.startswith("encoder."):
            found[f"decoder.{new}"] = tensor
    return found


def architecture_of(spec, dimensions):
    blocks = "n_conv_per_stage" if spec.kind == "plain_unet" else "n_blocks_per_stage"
    name = {"plain_unet": "PlainConvUNet", "residual_unet": "ResidualEncoderUNet"}[spec.kind]
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": list(spec.features),
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": [list(kernel) for kernel in spec.kernels],
            "strides": [list(stride) for stride in spec.strides],
            blocks: list(spec.encoder_blocks),
            "n_conv_per_stage_decoder": list(spec.decoder_blocks[::-1]),  # nnU-Net counts from the coarsest on
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


def entry_of(spec, dimensions, *, channels=1, scheme="ZScoreNormalization"):
    return {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [8, 16, 16] if dimensions == 3 else [16, 16],
        "median_image_size_in_voxels": [10.0, 20.0, 20.0][-dimensions:],
        "spacing": [2.0, 1.0, 1.0][-dimensions:],
        "normalization_schemes": [scheme] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": ORDERS,
        "resampling_fn_seg_kwargs": {**ORDERS, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**ORDERS, "order": 1},
        "architecture": architecture_of(spec, dimensions),
        "batch_dice": False,
    }


def old_entry(entry):
    """The entry as nnU-Net up to 2.3 writes it."""
    arguments = entry["architecture"]["arch_kwargs"]
    return {key: value for key, value in entry.items() if key != "architecture"} | {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 8,
        "n_conv_per_stage_encoder": arguments["n_conv_per_stage"],
        "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [1, 2, 2],
        "pool_op_kernel_sizes": arguments["strides"],
        "conv_kernel_sizes": arguments["kernel_sizes"],
    }


def checkpoint_of(network, configuration="3d_fullres", *, mirror=(0, 1, 2), trainer="nnUNetTrainer"):
    return {
        "network_weights": theirs(network.state_dict()),
        "optimizer_state": {"state": {}, "param_groups": []},
        "grad_scaler_state": None,
        "logging": {"train_losses": [np.float64(0.5)], "dice_per_class_or_region": [[np.float32(0.1)]]},
        "_best_ema": np.float32(0.25),
        "current_epoch": 17,
        "init_args": {"configuration": configuration, "fold": 0, "device": torch.device("cpu")},
        "trainer_name": trainer,
        "inference_allowed_mirroring_axes": mirror,
    }


def network_for(spec, *, dimensions=3, channels=1, outputs=3, seed=0):
    return build_network(
        spec, dimensions=dimensions, in_channels=channels, out_channels=outputs, deep_supervision=False, seed=seed
    )


def write_nnunet_model(
    folder: Path,
    *,
    configuration="3d_fullres",
    spec=None,
    dimensions=3,
    channels=1,
    inputs=None,
    labels=LABELS,
    outputs=3,
    folds=("0",),
    change=lambda plans: None,
    dataset=None,
    **checkpoint,
):
    """A model folder of nnU-Net; returns the network of its last fold."""
    spec = spec or spec_of(dimensions=dimensions)
    plans = {
        "dataset_name": "Dataset007_Made",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {configuration: entry_of(spec, dimensions, channels=channels)},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(index): {"mean": 100.0, "std": 50.0, "percentile_00_5": -50.0, "percentile_99_5": 300.0}
            for index in range(channels)
        },
    }
    change(plans)
    names = {str(index): f"mr{index}" for index in range(channels)}
    described = {"channel_names": names, "labels": labels, "numTraining": 4, "file_ending": ".nii.gz"} | (dataset or {})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(described))
    network = None
    for seed, fold in enumerate(folds):
        network = network_for(spec, dimensions=dimensions, channels=inputs or channels, outputs=outputs, seed=seed)
        (folder / f"fold_{fold}").mkdir(exist_ok=True)
        torch.save(checkpoint_of(network, configuration, **checkpoint), folder / f"fold_{fold}" / "checkpoint_final.pth")
    return network
