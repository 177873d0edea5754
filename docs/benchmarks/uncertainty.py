"""Whether expected Dice puts cases in the order of their true Dice; see uncertainty.md for the figures.

    python uncertainty.py correlation PREDICTIONS REFERENCES
    python uncertainty.py phantom OUT [--seconds 60] [--cases 40] [--shape 32,48,48]

The first holds what autoseg_predict --uncertainty wrote against label maps. The second trains three folds on made-up heads
for so many seconds each, predicts other made-up heads whose scans were spoilt (noise of random strength; in a quarter of
them one sequence is missing), and prints the same for them.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

FOLDS = ("0", "1", "2")
RESAMPLES = 2000


def spearman(first, second):
    """The rank correlation of two series; None where one of them is constant."""
    from scipy.stats import rankdata

    one, other = rankdata(first), rankdata(second)
    if one.std() == 0 or other.std() == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])


def with_interval(first, second, *, seed=0):
    """The rank correlation and its 95 % interval: percentiles over bootstrap samples of the cases."""
    first, second, rng = np.asarray(first), np.asarray(second), np.random.default_rng(seed)
    drawn = (rng.integers(0, len(first), len(first)) for _ in range(RESAMPLES))
    values = [value for index in drawn if (value := spearman(first[index], second[index])) is not None]
    low, high = np.percentile(values, (2.5, 97.5))
    return {"spearman": round(spearman(first, second), 3), "low": round(low, 3), "high": round(high, 3)}


def true_dice(predicted, reference, labels):
    """The mean Dice over structures that are in the prediction or in the reference; None where there is none."""
    found = []
    for values in labels.structures.values():
        a, b = np.isin(predicted, values), np.isin(reference, values)
        if a.any() or b.any():
            found.append(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
    return float(np.mean(found)) if found else None


def scores(case):
    """What could put cases in order, the larger the surer: means over the structures that the label map has."""
    rows = [row for row in case.uncertainty.values() if row.expected_dice is not None]
    spread = [row.volume_sd_ml / row.volume_ml for row in rows if row.volume_sd_ml is not None and row.volume_ml]
    return {
        "expected Dice": np.mean([row.expected_dice for row in rows]),
        "less entropy in the structure": -np.mean([row.entropy_bits for row in rows]),
        "less entropy at its border": -np.mean([row.border_entropy_bits for row in rows]),
        "less spread of volume": -np.mean(spread) if spread else np.nan,
    }


def correlation(predictions, references):
    """Rank correlations of scores and true Dice over the cases of a folder of predictions."""
    from autoseg.artefacts import load
    from autoseg.data.readers import read_labels
    from autoseg.prediction.report import REPORT_FILE, PredictionReport

    report = load(PredictionReport, Path(predictions) / REPORT_FILE, remake="autoseg_predict --uncertainty")
    truth, surer, left_out = [], [], 0
    for case in report.cases:
        reference, _ = read_labels(Path(references) / f"{case.id}.nii.gz")
        dice = true_dice(read_labels(Path(predictions) / case.file)[0], reference, report.labels)
        if dice is None or all(row.expected_dice is None for row in case.uncertainty.values()):
            left_out += 1
            continue
        truth.append(dice)
        surer.append((case.id, scores(case)))
    worst = {id_ for _, id_ in sorted(zip(truth, [id_ for id_, _ in surer], strict=True))[: len(truth) // 4]}
    flagged = set(report.review)
    return {
        "cases": len(truth),
        "left out": left_out,
        "members": sorted({row.members for case in report.cases for row in case.uncertainty.values()}),
        "true Dice": {"mean": round(np.mean(truth), 3), "lowest": round(min(truth), 3), "highest": round(max(truth), 3)},
        "mean expected Dice": round(float(np.mean([one["expected Dice"] for _, one in surer])), 3),
        "flagged": len(flagged),
        "flagged in the worst quarter": f"{len(flagged & worst)} of {len(worst)}",
        **{name: with_interval([one[name] for _, one in surer], truth) for name in surer[0][1]},
    }


def spoilt(voxels, rng):
    """Voxels (channel, z, y, x) with noise of random strength; now and then without one channel. Air stays zero."""
    inside = voxels != 0
    deviation = voxels[inside].std() * rng.uniform(0, 2.5)
    found = np.where(inside, voxels + deviation * rng.standard_normal(voxels.shape), 0).astype(np.float32)
    if rng.random() < 0.25:
        found[rng.integers(len(found))] = 0
    return found


def spoilt_heads(folder, *, cases, shape, seed):
    """Made-up heads as `images` and `labels` below `folder`, each scan spoilt in its own way."""
    from autoseg.data.phantom import write_phantom
    from autoseg.data.readers import read_image, write_image

    source = write_phantom(folder, cases=cases, shape=shape, seed=seed)
    for number, file in enumerate(sorted(source.glob("images*/*.nii.gz"))):
        image, rng = read_image(file), np.random.default_rng([seed, number])
        write_image(folder / "images" / file.name, spoilt(image.voxels.astype(np.float32), rng), image.geometry)
        target = folder / "labels" / file.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(next(source.glob(f"labels*/{file.name}")).read_bytes())
    return folder / "images", folder / "labels"


def phantom(output, *, cases, shape, seconds=None, steps=None, train_cases=24, folds=FOLDS):
    """Train on clean heads, predict spoilt ones, and say how well expected Dice puts them in order.

    Each fold is trained for so many seconds, or for so many steps.
    """
    from autoseg.data.phantom import write_phantom
    from autoseg.demo import CONFIGURATION, SETTINGS, half_features, small_patch
    from autoseg.planning.run import plan
    from autoseg.prediction.run import predict
    from autoseg.training.request import Training
    from autoseg.training.run import train
    from autoseg.workspace import open_workspace

    workspace = open_workspace(output / "workspace")
    data = write_phantom(output / "training", cases=train_cases, shape=shape, seed=0)
    planned = plan(data, workspace=workspace, gpu_memory_gb=0.6)
    settings = (*SETTINGS, small_patch(planned), half_features(planned), "training.seed=0")
    budget = None if seconds is None else seconds * len(folds)
    if steps is not None:
        counted = ("epochs=1", f"iterations_per_epoch={steps}", "validation_iterations=2")
        settings += tuple(f"training.{one}" for one in counted)
    asked = Training(CONFIGURATION, folds=folds, settings=settings, time_budget_s=budget)
    model = train(workspace.dataset(planned.dataset), asked)[0].model
    images, labels = spoilt_heads(output / "spoilt", cases=cases, shape=shape, seed=1)
    report = predict(images, output / "predictions", models=[model], uncertainty=True, skip_existing=True)
    if report.failed:
        raise SystemExit(report.failed[0].error)
    return correlation(output / "predictions", labels)


def main():
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("correlation")
    one.add_argument("predictions", type=Path)
    one.add_argument("references", type=Path)
    two = commands.add_parser("phantom")
    two.add_argument("output", type=Path)
    two.add_argument("--seconds", type=float, default=60)
    two.add_argument("--cases", type=int, default=40)
    two.add_argument("--shape", default="32,48,48")
    options = parser.parse_args()
    if options.command == "correlation":
        found = correlation(options.predictions, options.references)
    else:
        shape = tuple(int(edge) for edge in options.shape.split(","))
        found = phantom(options.output, seconds=options.seconds, cases=options.cases, shape=shape)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
