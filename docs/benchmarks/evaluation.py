"""How long the metrics of a case take, beside distance transforms of the whole volume, and whether memory stays flat.

    python docs/benchmarks/evaluation.py speed BRATS_FOLDER    cases with *_seg.nii.gz; predictions are made of them
    python docs/benchmarks/evaluation.py memory WORK_FOLDER     1000 small cases

Run on one core: the figures in evaluation.md are of `OMP_NUM_THREADS=1`.
"""

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
from scipy import ndimage

from autoseg.data.image import Geometry
from autoseg.data.labels import Label, LabelScheme, Region
from autoseg.data.readers import read_labels, write_labels
from autoseg.evaluation.run import evaluate
from autoseg.evaluation.scores import evaluate_case
from autoseg.evaluation.surface_area import cell_codes, surface_areas, surface_cells

T = TypeVar("T")
REGIONS = {"WT": (1, 2, 4), "TC": (1, 4), "ET": (4,)}
# The labels are the regions' parts; a scheme must declare them, so six structures are computed, five of them different.
SCHEME = LabelScheme(
    labels=tuple(Label(name=name, value=value) for name, value in (("none", 0), ("ncr", 1), ("ed", 2), ("et", 4))),
    regions=tuple(Region(name=name, values=values) for name, values in REGIONS.items()),
)


def say(line):
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def perturbed(reference, *, seed):
    """The reference with blobs of it shifted by up to two voxels, and a few small lesions made up."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=reference.shape), 2)
    found = np.where(noise > 0.03, np.roll(reference, rng.integers(-2, 3, 3), (0, 1, 2)), reference)
    for z, y, x in rng.integers(40, 110, (4, 3)):
        found[z : z + 4, y : y + 5, x : x + 4] = 4
    return found.astype(reference.dtype)


def by_distance_transforms(predicted, reference, spacing_mm):
    """Overlap, HD, HD95, ASSD and NSD of WT, TC and ET with distance transforms of the whole volume; no lesions."""
    found = {}
    for name, values in REGIONS.items():
        masks = [np.isin(labels, values) for labels in (predicted, reference)]
        both = np.count_nonzero(masks[0] & masks[1])
        sizes = [np.count_nonzero(mask) for mask in masks]
        surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
        maps = [ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
        directed = maps[1][surfaces[0]], maps[0][surfaces[1]]
        cells = [surface_cells(mask) for mask in masks]
        areas = [surface_areas(spacing_mm)[cell_codes(*pair)] for pair in zip(masks, cells, strict=True)]
        far = [ndimage.distance_transform_edt(~cell, sampling=spacing_mm) for cell in cells]
        near = sum(area[far[1 - i][cells[i]] <= 1].sum() for i, area in enumerate(areas))
        found[name] = {
            "dice": 2 * both / sum(sizes),
            "hd_mm": max(map(np.max, directed)),
            "hd95_mm": max(np.percentile(part, 95) for part in directed),
            "assd_mm": np.concatenate(directed).mean(),
            "nsd": near / sum(area.sum() for area in areas),
        }
    return found


def speed(folder):
    """A row for each case: seconds of both, in turn, and the largest difference between their numbers."""
    say("| case | autoseg s | distance transforms s | times | largest difference |\n|---|---:|---:|---:|---:|")
    for seed, path in enumerate(sorted(Path(folder).glob("*/*_seg.nii.gz"))):
        reference, geometry = read_labels(path)
        predicted = perturbed(reference, seed=seed)
        own = []
        for _ in range(3):
            start = time.perf_counter()
            scores = evaluate_case(predicted, reference, case_id="c", scheme=SCHEME, spacing_mm=geometry.spacing_mm)
            own.append(time.perf_counter() - start)
        start = time.perf_counter()
        others = by_distance_transforms(predicted, reference, geometry.spacing_mm)
        theirs = time.perf_counter() - start
        gap = max(abs(scores.regions[r].metrics[m] - v) for r, values in others.items() for m, v in values.items())
        say(f"| {path.parent.name} | {min(own):.2f} | {theirs:.1f} | {theirs / min(own):.0f} | {gap:.1e} |")


class Watch:
    """Writes down the memory of this process and its children while cases are done."""

    def track(self, items: Iterable[T], *, description: str, total: int) -> Iterator[T]:
        """Yield `items`; at 200 and at the end say the largest memory so far."""
        for done, item in enumerate(items, start=1):
            yield item
            if done in (100, 200, total):
                own, children = (
                    resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
                )
                workers = [memory_of(child) for child in children_of_this()]
                ended = children // 1024
                say(f"{description}: {done} cases, own peak {own // 1024} MB, workers now {workers} MB, ended {ended} MB")


def children_of_this():
    """Process ids of running workers."""
    return [int(word) for task in Path("/proc/self/task").iterdir() for word in (task / "children").read_text().split()]


def memory_of(process):
    """Resident memory of a process in MB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


def memory(folder, cases=1000):
    """Evaluates 1000 small cases in two processes and says what memory that took."""
    rng = np.random.default_rng(0)
    grid = Geometry((20, 24, 24), (1.0, 1.0, 1.0), np.eye(4))
    for kind in ("p", "r"):
        for case in range(cases):
            blob = ndimage.gaussian_filter(rng.normal(size=(5, 6, 6)), 1).repeat(4, 0).repeat(4, 1).repeat(4, 2)
            write_labels(Path(folder) / kind / f"{case:04}.nii.gz", np.digitize(blob, [0.1, 0.2]).astype(np.uint8), grid)
    start = time.perf_counter()
    evaluate(Path(folder) / "p", Path(folder) / "r", workers=2, progress=Watch())
    say(f"{cases} cases in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    {"speed": speed, "memory": memory}[sys.argv[1]](sys.argv[2])
