"""A model of nnU-Net as large as BraTS's, with random weights, and a scan for it: something to time predictions with.

Runs where nnU-Net is installed (autoseg is not needed):

    python nnunet_random_model.py OUT [FEATURES [PATCH]]

The model is the folder OUT/model (fold 0), the scan lies in OUT/images: four channels of 155 x 240 x 240 voxels of 1 mm
that are zero outside an ellipsoid of 138 x 170 x 138 voxels, as brains are. FEATURES (default 32) are those of the first
stage, PATCH (default 128) is the edge of the windows.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch
from nnunet_agreement_models import LABELS, configuration, cube, written
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy.ndimage import gaussian_filter

SHAPE, BODY = (155, 240, 240), (138, 170, 138)
CHANNELS, STAGES = 4, 6
MOST_FEATURES = 320
KEY = "3d_fullres"
UNUSED = {"max": 1.0, "mean": 0.0, "median": 0.0, "min": -1.0, "percentile_00_5": -1.0, "percentile_99_5": 1.0, "std": 1.0}
"""Intensities that the normalisation does not look at but that have to be there."""


def plans_of(features, patch):
    """plans.json and dataset.json."""
    one = configuration(
        3,
        spacing=[1, 1, 1],
        patch=[patch] * 3,
        **cube(STAGES),
        scheme="ZScoreNormalization",
        channels=CHANNELS,
        use_mask=True,
    )
    arguments = one["architecture"]["arch_kwargs"]
    arguments["features_per_stage"] = [min(features * 2**stage, MOST_FEATURES) for stage in range(STAGES)]
    plans = {
        "dataset_name": "Dataset990_Random",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {KEY: one},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(index): UNUSED for index in range(CHANNELS)},
    }
    names = {str(index): name for index, name in enumerate(("flair", "t1", "t1ce", "t2"))}
    return plans, {"channel_names": names, "labels": LABELS, "numTraining": 1, "file_ending": ".nii.gz"}


def write_scan(folder):
    """The scan's four files."""
    random = np.random.default_rng(0)
    away = sum(
        ((np.arange(size) - size / 2) / (edge / 2)).reshape([-1 if axis == other else 1 for other in range(3)]) ** 2
        for axis, (size, edge) in enumerate(zip(SHAPE, BODY, strict=True))
    )
    for channel in range(CHANNELS):
        image = 500 + 100 * channel + 2000 * gaussian_filter(random.standard_normal(SHAPE, dtype=np.float32), 3)
        image = np.where(away < 1, image, 0).astype(np.float32)
        written(image, folder / f"scan_{channel:04d}.nii.gz", spacing=(1, 1, 1), orientation="LPS")


def make(out, features, patch):
    """Write the model and the scan below `out`."""
    plans, dataset = plans_of(features, patch)
    manager = PlansManager(copy.deepcopy(plans))
    config = manager.get_configuration(KEY)
    torch.manual_seed(0)
    network = nnUNetTrainer.build_network_architecture(
        manager, config, CHANNELS, len(LABELS), enable_deep_supervision=False
    )
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": KEY, "fold": 0, "plans": plans, "dataset_json": dataset},
        "inference_allowed_mirroring_axes": (0, 1, 2),
    }
    place = out / "model"
    (place / "fold_0").mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, place / "fold_0" / "checkpoint_final.pth")
    (place / "plans.json").write_text(json.dumps(plans, indent=1), encoding="utf-8")
    (place / "dataset.json").write_text(json.dumps(dataset, indent=1), encoding="utf-8")
    write_scan(out / "images")


if __name__ == "__main__":
    features, patch = [*map(int, sys.argv[2:]), *(32, 128)[len(sys.argv) - 2 :]]
    make(Path(sys.argv[1]), features, patch)
