"""How well predictions agree with nnU-Net's own from the same weights; see nnunet-agreement.md for the figures.

First where nnU-Net is installed (autoseg is not needed there), once for each model and setting:

    python nnunet_agreement.py reference MODEL_FOLDER IMAGES OUT [--no-mirroring] [--previous FOLDER] [--single]
        [--checkpoint checkpoint_best.pth]

MODEL_FOLDER is nnU-Net's (plans.json, fold_X), IMAGES a folder with CASE_0000 files, OUT gets nnU-Net's label maps;
--previous names those of the first stage of a cascade; with --single nnU-Net adds windows up in single precision, where
it would do so in half precision. Then where autoseg is installed:

    python nnunet_agreement.py compare MODEL_FOLDER IMAGES OUT [--no-mirroring] [--precision fp32]

which imports the model, predicts the same images and prints the mean and the lowest Dice of each class against OUT. Both
run in float32 on the CPU unless told otherwise.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path


def reference(options):
    """Predict with nnU-Net."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(options.threads)
    if options.single:
        torch.half = torch.float32  # the number type that nnU-Net names when it makes room for its sums
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=options.mirroring,
        perform_everything_on_device=options.device != "cpu",
        device=torch.device(options.device),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(options.model), None, options.checkpoint)
    options.output.mkdir(parents=True, exist_ok=True)
    previous = str(options.previous) if options.previous else None
    predictor.predict_from_files_sequential(
        str(options.images), str(options.output), folder_with_segs_from_prev_stage=previous
    )


def compare(options):
    """Predict with autoseg and compare."""
    import numpy as np
    import torch

    from autoseg.data.readers import read_labels
    from autoseg.interchange.nnunet_import import import_nnunet
    from autoseg.prediction.run import predict
    from autoseg.training.model_folder import open_model
    from autoseg.workspace import open_workspace

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as place:
        model = open_model(import_nnunet(options.model, open_workspace(Path(place) / "workspace"))[-1].path)
        report = predict(
            options.images,
            Path(place) / "out",
            models=[model.path],
            mirroring=options.mirroring,
            precision=options.precision,
            device=options.device,
        )
        if report.failed:
            raise SystemExit(report.failed[0].error)
        scores, differing, compared, apart = {}, 0, 0, 0.0
        for case in report.cases:
            own, grid = read_labels(Path(place) / "out" / case.file)
            theirs, other = read_labels(options.output / case.file)
            apart = max(apart, float(np.abs(grid.affine - other.affine).max()))
            differing, compared = differing + int((own != theirs).sum()), compared + own.size
            for label in model.plan.labels.foreground:
                a, b = own == label.value, theirs == label.value
                if a.any() or b.any():
                    scores.setdefault(label.name, []).append(2 * (a & b).sum() / (a.sum() + b.sum()))
    result = {name: {"mean": float(np.mean(found)), "lowest": float(min(found))} for name, found in scores.items()}
    summary = {"cases": len(report.cases), "precision": report.precision, "mirroring": options.mirroring}
    summary |= {"voxels": compared, "differing": differing, "geometry_differs_by": apart, "dice": result}
    sys.stdout.write(json.dumps(summary) + "\n")


def main():
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function in (reference, compare):
        command = commands.add_parser(function.__name__)
        command.set_defaults(run=function)
        for name in ("model", "images", "output"):
            command.add_argument(name, type=Path)
        command.add_argument("--no-mirroring", dest="mirroring", action="store_false")
        command.add_argument("--device", default="cpu")
        command.add_argument("--threads", type=int, default=1)
    commands.choices["reference"].add_argument("--previous", type=Path)
    commands.choices["reference"].add_argument("--single", action="store_true")
    commands.choices["reference"].add_argument("--checkpoint", default="checkpoint_final.pth")
    commands.choices["compare"].add_argument(
        "--precision", default="fp32", choices=("fp32", "bf16", "fp16", "int8", "auto")
    )
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
