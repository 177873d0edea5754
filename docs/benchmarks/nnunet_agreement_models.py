"""Small models of nnU-Net on made-up scans, for nnunet_agreement.py: regions, ignore label, coarse slices, 2-D, cascade.

Runs where nnU-Net is installed (autoseg is not needed):

    python nnunet_agreement_models.py OUT [NAME ...]

Each model is a folder OUT/NAME/Dataset9xx/nnUNetTrainer__nnUNetPlans__CONFIGURATION as nnU-Net writes it, with scans in
OUT/NAME/images. A network of a few thousand weights is trained for a minute at most, so that its predictions have
smooth borders as those of real models do.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import SimpleITK
import torch
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.ndimage import gaussian_filter

CASES = 4
STEPS = 60
LABELS = {"background": 0, "edema": 1, "core": 2, "enhancing": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "inner": [2, 3], "enhancing": [3]}
KIDNEY = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumour": 2}
KIDNEY_OVER = {"background": 0, "masses": [2, 3], "kidney": [1, 2, 3], "tumour": 2}
ORDERS = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}


def scan(seed, *, shape, spacing, channels, kind):
    """A body with nested ellipsoids in it: channels (z, y, x) and labels 0..3; MR is zero outside the body, CT -1000."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij"))
    size = np.array(shape) * np.array(spacing)
    wobble = gaussian_filter(random.normal(size=shape), [6 / s for s in spacing]) * 60

    def ellipsoid(centre, radii):
        away = sum(((grid[i] - centre[i] * size[i]) / (radii[i] * size[i])) ** 2 for i in range(3))
        return away + 0.15 * wobble < 1

    body = ellipsoid([0.5] * 3, random.uniform(0.36, 0.44, 3))
    middle = random.uniform(0.42, 0.58, 3)
    labels = np.zeros(shape, np.uint8)
    for value, radius in ((1, 0.27), (2, 0.18), (3, 0.11)):
        labels[ellipsoid(middle + random.uniform(-0.02, 0.02, 3), radius * random.uniform(0.85, 1.15, 3)) & body] = value
    found = []
    for channel in range(channels):
        means = np.array([0.0, 1.0, 2.0, 3.0]) * (1 if channel % 2 == 0 else -0.7) + channel
        image = means[labels] + gaussian_filter(random.normal(size=shape), 0.7)
        image = image * 60 + 40 if kind == "ct" else image * 100 + 500
        found.append(np.where(body, image, -1000 if kind == "ct" else 0).astype(np.float32))
    return found, labels


def configuration(dimensions, *, spacing, patch, kernels, strides, scheme, channels, use_mask=False, residual=False):
    """An entry of plans.json."""
    stages = len(strides)
    blocks = {"n_blocks_per_stage": [1, 2, 2, 2][:stages]} if residual else {"n_conv_per_stage": [2] * stages}
    return {
        "data_identifier": "nnUNetPlans",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "median_image_size_in_voxels": [float(n) for n in patch],
        "spacing": spacing,
        "normalization_schemes": [scheme] * channels,
        "use_mask_for_norm": [use_mask] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": ORDERS,
        "resampling_fn_seg_kwargs": {**ORDERS, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**ORDERS, "order": 1},
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet."
            + ("ResidualEncoderUNet" if residual else "PlainConvUNet"),
            "arch_kwargs": {
                "n_stages": stages,
                "features_per_stage": [8 * 2**stage for stage in range(stages)],
                "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
                "kernel_sizes": kernels,
                "strides": strides,
                **blocks,
                "n_conv_per_stage_decoder": [1 if residual else 2] * (stages - 1),
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
        "batch_dice": False,
    }


def cube(stages, dimensions=3):
    """Kernels and strides of a network that halves every axis at every stage."""
    return {"kernels": [[3] * dimensions] * stages, "strides": [[1] * dimensions] + [[2] * dimensions] * (stages - 1)}


FLAT = {"kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]}
MR = {"scheme": "ZScoreNormalization", "channels": 1}
CT = {"scheme": "CTNormalization", "channels": 1}
BRATS = {"scheme": "ZScoreNormalization", "channels": 4, "use_mask": True}

MODELS = {
    "brats_regions": {
        "labels": REGIONS,
        "order": [1, 2, 3],
        "scan": {"shape": (70, 84, 76), "spacing": (1, 1, 1), "channels": 4, "kind": "mr"},
        "3d_fullres": configuration(3, spacing=[1, 1, 1], patch=[40, 48, 40], **cube(4), **BRATS),
    },
    "ct_coarse_slices": {
        "scan": {"shape": (30, 110, 100), "spacing": (5, 0.8, 0.8), "channels": 1, "kind": "ct"},
        "3d_fullres": configuration(3, spacing=[4, 1.1, 1.1], patch=[16, 56, 48], **FLAT, **CT),
    },
    "2d_on_volumes": {
        "scan": {"shape": (24, 90, 80), "spacing": (3, 1, 1), "channels": 1, "kind": "mr"},
        "old_plans": True,
        "2d": configuration(2, spacing=[0.9, 0.9], patch=[64, 56], **cube(4, 2), **MR),
    },
    "residual": {
        "scan": {"shape": (60, 72, 66), "spacing": (1.2, 1, 1.1), "channels": 1, "kind": "mr"},
        "3d_fullres": configuration(3, spacing=[1, 1, 1], patch=[40, 40, 48], residual=True, **cube(3), **MR),
    },
    "cascade": {
        "scan": {"shape": (64, 80, 72), "spacing": (1, 1, 1), "channels": 1, "kind": "mr"},
        "3d_lowres": configuration(3, spacing=[2, 2, 2], patch=[32, 32, 32], **cube(3), **MR),
        "3d_cascade_fullres": configuration(3, spacing=[1.1, 1.1, 1.1], patch=[40, 48, 40], **cube(3), **MR)
        | {"previous_stage": "3d_lowres"},
    },
    "transposed": {
        "transpose": [2, 0, 1],
        "scan": {"shape": (90, 100, 26), "spacing": (0.8, 0.9, 4), "channels": 1, "kind": "mr"},
        "3d_fullres": configuration(3, spacing=[4.5, 1, 1], patch=[16, 48, 56], **FLAT, **MR, use_mask=True),
    },
    "two_folds_ignore": {
        "labels": {**LABELS, "ignore": 4},
        "folds": 2,
        "mirror": [0, 2],
        "scan": {"shape": (60, 64, 70), "spacing": (1, 1, 1), "channels": 2, "kind": "mr"},
        "3d_fullres": configuration(
            3, spacing=[1, 1, 1], patch=[32, 40, 40], **cube(3), scheme="ZScoreNormalization", channels=2
        ),
    },
    "reoriented": {
        "reader": "NibabelIOWithReorient",
        "turned": True,
        "scan": {"shape": (60, 66, 72), "spacing": (1.5, 1, 1.2), "channels": 1, "kind": "mr"},
        "3d_fullres": configuration(3, spacing=[1.3, 1.1, 1.1], patch=[32, 40, 40], **cube(3), **MR),
    },
    "regions_order": {
        "labels": KIDNEY,
        "order": [1, 3, 2],
        "names": {"0": ""},
        "turned": "tilted",
        "scan": {"shape": (60, 66, 72), "spacing": (1.2, 0.9, 0.9), "channels": 1, "kind": "mr"},
        "3d_fullres": configuration(3, spacing=[1.1, 1.0, 1.0], patch=[32, 40, 40], **cube(3), **MR),
    },
    "regions_over": {
        "labels": KIDNEY_OVER,
        "order": [3, 1, 2],
        "reader": "NibabelIOWithReorient",
        "turned": "tilted and turned",
        "scan": {"shape": (60, 66, 72), "spacing": (1.2, 0.9, 0.9), "channels": 1, "kind": "mr"},
        "3d_fullres": configuration(3, spacing=[1.1, 1.0, 1.0], patch=[32, 40, 40], **cube(3), **MR),
    },
    "strange": {
        "labels": {**LABELS, "ignore": 4},
        "names": {"0": "noNorm"},
        "ending": ".nrrd",
        "turned": "tilted and turned",
        "old_plans": True,
        "checkpoint": "checkpoint_best.pth",
        "scan": {"shape": (60, 66, 72), "spacing": (1.2, 0.9, 0.9), "channels": 1, "kind": "mr"},
        "3d_fullres": configuration(
            3, spacing=[1.1, 1.0, 1.0], patch=[32, 40, 40], **cube(3), scheme="NoNormalization", channels=1
        ),
    },
    "pictures": {
        "reader": "NaturalImage2DIO",
        "ending": ".png",
        "scan": {"shape": (1, 150, 170), "spacing": (1, 1, 1), "channels": 1, "kind": "mr"},
        "2d": configuration(2, spacing=[1.0, 1.0], patch=[64, 80], **cube(4, 2), **MR),
    },
}


def tilted():
    """The axes of a scan whose gantry is turned by 20 degrees and tilted by 10."""
    (a, b), (c, d) = ((np.cos(angle), np.sin(angle)) for angle in np.radians((20, 10)))
    return np.array([[a, -b, 0], [b, a, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -d], [0, d, c]])


def written(image, path, *, spacing, orientation):
    """The path of a scan (z, y, x), written with this spacing and stored in this orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(image[0].clip(0, 255).astype(np.uint8)), str(path))
        return str(path)
    itk = SimpleITK.GetImageFromArray(image)
    itk.SetSpacing([float(s) for s in spacing[::-1]])
    itk.SetOrigin([7.0, -3.0, 12.0])
    if orientation.startswith("tilted"):
        itk.SetDirection(tilted().ravel())
    if orientation != "tilted":
        itk = SimpleITK.DICOMOrient(itk, orientation.removeprefix("tilted "))
    SimpleITK.WriteImage(itk, str(path))
    return str(path)


def write_scans(model, folder):
    """Write the scans of a model; returns paths of each case's channels and of its labels."""
    what, found, ending = dict(model["scan"]), [], model.get("ending", ".nii.gz")
    for case in range(CASES):
        shape = what["shape"] if what["shape"][0] == 1 else tuple(n + 3 * case for n in what["shape"])
        channels, labels = scan(case, **{**what, "shape": shape})
        axes = ("LPS", "PIR")[case % 2]
        turned = {"tilted": "tilted", "tilted and turned": f"tilted {axes}", True: axes}.get(model.get("turned"), "LPS")
        how = {"spacing": what["spacing"], "orientation": turned}
        scale = 0.25 if ending == ".png" else 1
        paths = [
            written(image * scale, folder / "images" / f"case{case}_{index:04d}{ending}", **how)
            for index, image in enumerate(channels)
        ]
        found.append((paths, written(labels, folder / "labels" / f"case{case}{ending}", **how)))
    return found


def plans_of(name, model):
    """plans.json and dataset.json of a model."""
    transpose = model.get("transpose", [0, 1, 2])
    intensities = {"max": 400.0, "mean": 120.0, "median": 110.0, "min": -900.0, "std": 70.0}
    intensities |= {"percentile_00_5": -60.0, "percentile_99_5": 330.0}
    plans = {
        "dataset_name": f"Dataset9{list(MODELS).index(name):02d}_{name}",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": model.get("reader", "SimpleITKIO"),
        "transpose_forward": transpose,
        "transpose_backward": [transpose.index(axis) for axis in range(3)],
        "configurations": {key: value for key, value in model.items() if key.startswith(("2d", "3d"))},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(i): intensities for i in range(model["scan"]["channels"])},
    }
    kind = "CT" if model["scan"]["kind"] == "ct" else "MR"
    dataset = {
        "channel_names": model.get("names", {str(i): kind for i in range(model["scan"]["channels"])}),
        "labels": model.get("labels", LABELS),
        "numTraining": CASES,
        "file_ending": model.get("ending", ".nii.gz"),
    }
    if "order" in model:
        dataset["regions_class_order"] = model["order"]
    return plans, dataset


def prepared(cases, manager, config, dataset, previous):
    """Each case as nnU-Net preprocesses it: (channels, grid) and labels (grid); a cascade sees the true labels, shaken."""
    found = []
    reader = manager.image_reader_writer_class()
    for paths, label_path in cases:
        image, properties = reader.read_images(paths)
        data, seg, _ = DefaultPreprocessor(verbose=False).run_case_npy(
            image, reader.read_seg(label_path)[0], properties, manager, config, dataset
        )
        data, seg = torch.as_tensor(np.asarray(data)), torch.as_tensor(np.asarray(seg))[0].clamp(min=0).long()
        if previous:
            rolled = torch.roll(seg, (2, -2), (1, 2))
            data = torch.cat([data, torch.stack([rolled == label for label in (1, 2, 3)]).float()])
        found.append((data, seg))
    return found


def train(network, cases, *, patch, regions, seed):
    """A few steps on random patches around the middle."""
    generator = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(STEPS):
        data, seg = cases[generator.integers(len(cases))]
        missing = [max(0, p - n) for p, n in zip(patch, seg.shape[-len(patch) :], strict=True)]
        pads = [count for miss in reversed(missing) for count in (miss // 2, miss - miss // 2)]
        data, seg = torch.nn.functional.pad(data, pads), torch.nn.functional.pad(seg, pads)
        where = [generator.integers(n - p + 1) for n, p in zip(seg.shape[-len(patch) :], patch, strict=True)]
        box = tuple(slice(w, w + p) for w, p in zip(where, patch, strict=True))
        if len(patch) == 2:
            box = (int(generator.integers(seg.shape[0])), *box)
        x, y = data[(slice(None), *box)][None], seg[box][None]
        logits = network(x)
        if regions:
            target = torch.stack([torch.isin(y, torch.tensor(region)) for region in regions], 1).float()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        else:
            loss = torch.nn.functional.cross_entropy(logits, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


def old_format(plans):
    """The same plans as nnU-Net up to 2.3 writes them."""
    plans = copy.deepcopy(plans)
    for one in plans["configurations"].values():
        arguments = one.pop("architecture")["arch_kwargs"]
        one |= {
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": arguments["features_per_stage"][0],
            "unet_max_num_features": 512,
            "n_conv_per_stage_encoder": arguments["n_conv_per_stage"],
            "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
            "num_pool_per_axis": [len(arguments["strides"]) - 1] * len(one["patch_size"]),
            "pool_op_kernel_sizes": arguments["strides"],
            "conv_kernel_sizes": arguments["kernel_sizes"],
        }
    return plans


def make(name, out):
    """Write the scans and the models called `name` below `out`."""
    model, folder = MODELS[name], out / name
    cases = write_scans(model, folder)
    plans, dataset = plans_of(name, model)
    manager = PlansManager(copy.deepcopy(plans))
    labels = manager.get_label_manager(dataset)
    regions = labels.foreground_regions if labels.has_regions else None
    for key in plans["configurations"]:
        config = manager.get_configuration(key)
        previous = config.previous_stage_name is not None
        data = prepared(cases, manager, config, dataset, previous)
        place = folder / plans["dataset_name"] / f"nnUNetTrainer__nnUNetPlans__{key}"
        for fold in range(model.get("folds", 1)):
            torch.manual_seed(fold)
            network = nnUNetTrainer.build_network_architecture(
                manager,
                config,
                determine_num_input_channels(manager, config, dataset),
                labels.num_segmentation_heads,
                enable_deep_supervision=False,
            )
            loss = train(network, data, patch=config.patch_size, regions=regions, seed=fold)
            (place / f"fold_{fold}").mkdir(parents=True, exist_ok=True)
            checkpoint = {
                "network_weights": network.state_dict(),
                "optimizer_state": None,
                "grad_scaler_state": None,
                "logging": {"train_losses": [np.float64(loss)]},
                "_best_ema": np.float32(0.5),
                "current_epoch": 1,
                "init_args": {"configuration": key, "fold": fold, "plans": plans, "dataset_json": dataset},
                "trainer_name": "nnUNetTrainer",
                "inference_allowed_mirroring_axes": tuple(model.get("mirror", range(len(config.patch_size)))),
            }
            torch.save(checkpoint, place / f"fold_{fold}" / model.get("checkpoint", "checkpoint_final.pth"))
            sys.stdout.write(f"{name} {key} fold {fold}: loss {loss:.3f}\n")
        written = old_format(plans) if model.get("old_plans") else plans
        (place / "plans.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
        (place / "dataset.json").write_text(json.dumps(dataset, indent=1), encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[2:] or MODELS:
        make(wanted, Path(sys.argv[1]))
