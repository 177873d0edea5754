"""What runs inside nnU-Net's own environment; nothing of autoseg is imported here, and nothing of nnU-Net elsewhere.

    PYTHON -I peer_nnunet.py ACTION < request.json

The last line on standard output is the answer as JSON. Its own environment variables say where nnU-Net keeps its files.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

RAW, PREPROCESSED, LOADERS = "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_n_proc_DA"
"""Names of nnU-Net's environment variables."""


def main() -> None:
    """Do what the first argument names with the request on standard input."""
    request = json.load(sys.stdin)
    actions = {
        "prepare": prepare,
        "preprocess": preprocess,
        "steps": steps,
        "train": train,
        "predict": predict,
        "export": export,
    }
    answer = actions[sys.argv[1]](request)
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()


def prepare(request: dict[str, Any]) -> dict[str, Any]:
    """Extract the fingerprint, put the plan in its place and preprocess the configuration."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset

    extract_fingerprint_dataset(request["dataset"], num_processes=request["processes"], check_dataset_integrity=False)
    folder = Path(os.environ[PREPROCESSED]) / request["name"]
    shutil.copy(Path(os.environ[RAW]) / request["name"] / "dataset.json", folder)
    (folder / f"{request['plans_name']}.json").write_text(json.dumps(request["plans"]))
    (folder / "splits_final.json").write_text(json.dumps(request["splits"]))
    return preprocess(request)


def preprocess(request: dict[str, Any]) -> dict[str, Any]:
    """Preprocess the configuration; seconds of the whole and the most memory of a process of it, in bytes."""
    import resource

    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess_dataset

    begun = time.monotonic()
    preprocess_dataset(
        request["dataset"],
        request["plans_name"],
        configurations=(request["configuration"],),
        num_processes=(request["processes"],),
    )
    seconds = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"seconds": seconds, "peak_bytes": peak}


def _trainer(request: dict[str, Any]) -> Any:
    os.environ[LOADERS] = str(request["loaders"])
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(request["threads"])
    trainer = get_trainer_from_args(
        str(request["dataset"]),
        request["configuration"],
        request["fold"],
        "nnUNetTrainer",
        request["plans_name"],
        False,
        device=torch.device(request["device"]),
    )
    # A picture of the network is no part of training.
    trainer.plot_network_architecture = lambda: None
    return trainer


def _close(trainer: Any) -> None:
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(loader, "_finish"):
            loader._finish()


def steps(request: dict[str, Any]) -> dict[str, Any]:
    """Seconds of single training steps, and of each the seconds of waiting for data."""
    trainer = _trainer(request)
    trainer.disable_checkpointing = True
    trainer.initialize()
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    seconds, waited = [], []
    for _ in range(request["warmup"] + request["steps"]):
        begun = time.monotonic()
        batch = next(trainer.dataloader_train)
        arrived = time.monotonic()
        # The step hands its loss over as a number, so that a GPU has finished it.
        trainer.train_step(batch)
        seconds.append(time.monotonic() - begun)
        waited.append(arrived - begun)
    _close(trainer)
    first = request["warmup"]
    return {"seconds": seconds[first:], "waited": waited[first:], "batch_size": int(trainer.batch_size)}


def train(request: dict[str, Any]) -> dict[str, Any]:
    """Train for a number of iterations with the schedule ended there; nothing is spent on validation."""
    left, per_epoch = request["iterations"], request["iterations_per_epoch"]
    trainer = _trainer(request)
    trainer.num_epochs = -(-left // per_epoch)
    trainer.num_iterations_per_epoch = per_epoch
    trainer.initialize()
    trainer.on_train_start()
    begun = time.monotonic()
    while left > 0:
        trainer.on_train_epoch_start()
        losses = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(min(left, per_epoch))]
        trainer.on_train_epoch_end(losses)
        trainer.current_epoch += 1
        left -= len(losses)
    seconds = time.monotonic() - begun
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    _close(trainer)
    return {
        "seconds": seconds,
        "steps": request["iterations"],
        "model": str(trainer.output_folder_base),
        "batch_size": int(trainer.batch_size),
        "peak_bytes": _peak_bytes(trainer.device),
        "parameters": sum(one.numel() for one in trainer.network.parameters()),
    }


def _peak_bytes(device: Any) -> int:
    """The most memory so far: of the GPU where there is one, else of this process."""
    import resource

    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def predict(request: dict[str, Any]) -> dict[str, Any]:
    """Predict a folder as nnU-Net does by default: half-overlapping windows, all mirrorings."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(request["threads"])
    predictor = nnUNetPredictor(
        device=torch.device(request["device"]), perform_everything_on_device=False, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(request["model"], [request["fold"]], "checkpoint_final.pth")
    begun = time.monotonic()
    predictor.predict_from_files_sequential(request["input"], request["output"], overwrite=True)
    return {"seconds": time.monotonic() - begun}


def export(request: dict[str, Any]) -> dict[str, Any]:
    """Scores of a file to a label map of another size, as nnU-Net writes them; what that took."""
    import resource

    import numpy as np
    import torch
    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    scores = torch.from_numpy(np.load(request["scores"]))
    manager = PlansManager(_plans_to_export(request["network_spacing_mm"]))
    labels = {"background": 0, **{str(value): value for value in range(1, request["classes"])}}
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    shape, spacing = request["shape"], request["spacing_mm"]
    identity = [float(row == column) for row in range(3) for column in range(3)]
    properties = {
        "sitk_stuff": {"spacing": spacing[::-1], "origin": (0.0, 0.0, 0.0), "direction": identity},
        "spacing": spacing,
        "shape_before_cropping": shape,
        "bbox_used_for_cropping": [[0, size] for size in shape],
        "shape_after_cropping_and_before_resampling": shape,
    }
    name = request["output"].removesuffix(".nii.gz")
    begun, before = time.monotonic(), time.process_time()
    configuration = manager.get_configuration("3d_fullres")
    export_prediction_from_logits(
        scores, properties, configuration, manager, dataset, name, num_threads_torch=request["threads"]
    )
    seconds, used = time.monotonic() - begun, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "processor_s": used, "peak_bytes": peak}


def _plans_to_export(spacing_mm: float) -> dict[str, Any]:
    """As much of a plan as the export looks at."""
    orders = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "spacing": [spacing_mm] * 3,
        "architecture": {},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": orders,
    }
    return {
        "dataset_name": "Dataset999_Export",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "configurations": {"3d_fullres": configuration},
    }


if __name__ == "__main__":
    main()
