"""Writes golden/plans/*.json from folders that hold nnU-Net's fingerprint, dataset.json and plans; numbers only.

Run: python tests/golden/make_plans.py FOLDER_OF_DATA_SETS
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "plans"
PRESETS = {"nnUNetPlans": "nnunet", "M": "resenc_m", "L": "resenc_l", "XL": "resenc_xl"}
FINGERPRINT = ("spacings", "shapes_after_crop", "median_relative_size_after_cropping")
INTENSITIES = "foreground_intensity_properties_per_channel"
DATASET = ("channel_names", "labels", "numTraining", "file_ending", "regions_class_order", "overwrite_image_reader_writer")


def budget_of(file: Path) -> tuple[str, float | None]:
    """Preset and GB (None: the preset's own) of a plans file, from its name."""
    memory = re.search(r"_(\d+)GB", file.name)
    residual = re.search(r"ResEncUNet(M|L|XL)Plans", file.name)
    return PRESETS[residual[1] if residual else "nnUNetPlans"], float(memory[1]) if memory else None


def configuration(stored: dict[str, Any]) -> dict[str, Any]:
    if "inherits_from" in stored:
        return {"previous_stage": stored["previous_stage"]}
    network = stored["architecture"]["arch_kwargs"]
    return {
        "spacing": stored["spacing"],
        "median_shape": stored["median_image_size_in_voxels"],
        "patch": stored["patch_size"],
        "batch": stored["batch_size"],
        "features": network["features_per_stage"],
        "strides": network["strides"],
        "kernels": network["kernel_sizes"],
        "encoder": network.get("n_conv_per_stage") or network["n_blocks_per_stage"],
        "decoder": network["n_conv_per_stage_decoder"],
        "normalisation": stored["normalization_schemes"],
        "use_mask": stored["use_mask_for_norm"],
        "batch_dice": stored["batch_dice"],
        "orders": [
            stored[f"resampling_fn_{kind}_kwargs"][order]
            for kind in ("data", "seg", "probabilities")
            for order in ("order", "order_z")
        ],
    }


def golden(folder: Path) -> dict[str, Any]:
    fingerprint = json.loads((folder / "dataset_fingerprint.json").read_text())
    dataset = json.loads((folder / "dataset.json").read_text())
    plans = []
    for file in sorted(folder.glob("nnUNet*.json")):
        stored = json.loads(file.read_text())
        preset, memory = budget_of(file)
        configurations = {name: configuration(one) for name, one in stored["configurations"].items()}
        plans.append(
            {
                "preset": preset,
                "gpu_memory_gb": memory,
                "transpose": stored["transpose_forward"],
                "configurations": configurations,
            }
        )
    return {
        "fingerprint": {key: fingerprint[key] for key in (*FINGERPRINT, INTENSITIES)},
        "dataset": {key: dataset[key] for key in DATASET if key in dataset},
        "plans": plans,
    }


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for folder in sorted(Path(sys.argv[1]).glob("Dataset*")):
        (HERE / f"{folder.name}.json").write_text(json.dumps(golden(folder), separators=(",", ":")) + "\n")
