"""Cases preprocessed per second, and the memory that takes: autoseg's alone, or in turn with nnU-Net's on the same plan.

Run as a program it measures autoseg, see autoseg/benchmark/apart.py.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from autoseg.artefacts import FROZEN, digest, load
from autoseg.benchmark.apart import answered, requested
from autoseg.benchmark.nnunet import NnUnet
from autoseg.benchmark.setting import Setting
from autoseg.benchmark.timing import Machine, this_machine
from autoseg.data.dataset import Dataset
from autoseg.fingerprint import Fingerprint
from autoseg.preprocessing.run import preprocess, stored_as
from autoseg.progress import SILENT, Progress

KIB = 1024


class Preprocessed(BaseModel):
    """One run over all cases: seconds, and the most memory that a single process of it took."""

    model_config = FROZEN
    seconds: float
    peak_bytes: int


class PreprocessingBenchmark(BaseModel):
    """Runs over the same cases, one for each pair; `volume_bytes` is the largest case in float32, labels included."""

    model_config = FROZEN
    dataset: str
    configuration: str
    spacing_mm: tuple[float, ...]
    cases: int
    volume_bytes: int
    machine: Machine
    ours: tuple[Preprocessed, ...]
    theirs: tuple[Preprocessed, ...] = ()
    peer: str | None = None

    @property
    def ratios(self) -> list[float]:
        """How many times as fast autoseg was, pair by pair."""
        return [other.seconds / own.seconds for own, other in zip(self.ours, self.theirs, strict=True)]


def measure_preprocessing(
    setting: Setting, *, peer: NnUnet | None, pairs: int, progress: Progress = SILENT
) -> PreprocessingBenchmark:
    """All training cases preprocessed `pairs` times, in turn with the peer where there is one, nothing kept."""
    if peer is not None:
        peer.prepare()
    ours, theirs = [], []
    for _ in progress.track(range(pairs), description="pairs" if peer else "runs", total=pairs):
        ours.append(Preprocessed.model_validate_json(answered("autoseg.benchmark.preprocessing", setting)))
        if peer is not None:
            theirs.append(Preprocessed.model_validate(peer.preprocess()))
    fingerprint = load(Fingerprint, setting.folder.fingerprint_file, remake="autoseg_plan DATASET")
    voxels = max(int(np.prod(case.shape)) for case in fingerprint.cases)
    return PreprocessingBenchmark(
        dataset=setting.plan.dataset,
        configuration=setting.configuration.name,
        spacing_mm=setting.configuration.spacing_mm,
        cases=len(fingerprint.cases),
        volume_bytes=4 * (len(setting.plan.channels) + 1) * voxels,
        machine=this_machine(device="cpu", threads=setting.threads),
        ours=tuple(ours),
        theirs=tuple(theirs),
        peer=None if peer is None else peer.version(),
    )


def main() -> None:
    """Preprocess all cases into a folder that is thrown away and print what that took."""
    setting, request = requested()
    dataset = load(Dataset, setting.folder.dataset_file, remake="autoseg_plan DATASET")
    fingerprint = load(Fingerprint, setting.folder.fingerprint_file, remake="autoseg_plan DATASET")
    name = stored_as(setting.plan, setting.configuration.name)
    setting.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=setting.results) as folder:
        begun = time.monotonic()
        preprocess(dataset, digest(fingerprint), setting.plan, name, Path(folder), workers=request["threads"])
        seconds = time.monotonic() - begun
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)) * KIB
    sys.stdout.write("\n" + json.dumps({"seconds": seconds, "peak_bytes": peak}) + "\n")


if __name__ == "__main__":
    main()
