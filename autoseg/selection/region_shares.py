"""How likely each region is in held-out cases, in steps of a twentieth: what thresholds are tried on."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from autoseg.artefacts import load, save, written_whole
from autoseg.data.dataset import Case
from autoseg.errors import ArtefactError, AutosegError, SelectionError
from autoseg.prediction.beside import Beside
from autoseg.prediction.case_job import CaseJob
from autoseg.prediction.maps import LEVELS, Codes
from autoseg.prediction.predictor import Predictor
from autoseg.prediction.settings import Settings
from autoseg.progress import SILENT, Progress
from autoseg.selection.candidates import Candidate
from autoseg.selection.selection import Source
from autoseg.selection.unseen import unseen_members

STEPS = 20
"""A probability above k / STEPS is stored as a number above k, so that such thresholds lose nothing."""

Steps = NDArray[np.uint8]
_SOURCE = "source.json"


def in_steps(codes: Codes) -> Steps:
    """Codes of probabilities as whole numbers from 0 to STEPS, rounded up from the least that a code stands for."""
    least = 2 * codes.astype(np.int32) - 1
    found: Steps = (-(-least * STEPS // (2 * LEVELS))).astype(np.uint8)
    return found


def region_shares(
    candidate: Candidate,
    cases: Mapping[str, Sequence[Case]],
    folder: Path,
    *,
    made_from: dict[str, str],
    device: str,
    progress: Progress = SILENT,
) -> dict[str, Path]:
    """A file for each held-out case with the steps (region, z, y, x) of its probabilities, kept in `folder`.

    `cases` are those that each fold held out, with absolute paths. Networks run once more for this; what the same weights
    made before is kept. Raises SelectionError for a case that cannot be predicted.
    """
    _keep_only(folder, made_from)
    found: dict[str, Path] = {}
    for fold, held_out in cases.items():
        files = {case.id: folder / f"{case.id}.npz" for case in held_out}
        todo = [case for case in held_out if not files[case.id].is_file()]
        for members, ids in unseen_members(candidate.models, fold, [case.id for case in todo]):
            job = CaseJob(Predictor(members, settings=Settings(device=device)), folder)
            some = [case for case in todo if case.id in ids]
            for case in progress.track(some, description=f"probabilities, fold {fold}", total=len(some)):
                _store(files[case.id], _steps(job, case))
        found |= files
    return found


def read_steps(file: Path) -> Steps:
    """The steps (region, z, y, x) in a file of `region_shares`."""
    with np.load(file, allow_pickle=False) as content:
        steps: Steps = content["steps"]
    return steps


def _steps(job: CaseJob, case: Case) -> Steps:
    try:
        ready = job.read(case)
        maps = job.predictor.decide(ready.prepared, beside=Beside(probabilities=True), description=case.id).maps
    except AutosegError as error:
        raise SelectionError(f"case {case.id}: {error}") from error
    assert maps.probabilities is not None, "probabilities were asked for"
    return in_steps(maps.probabilities)


def _store(file: Path, steps: Steps) -> None:
    with written_whole(file) as target:
        np.savez_compressed(target, steps=steps)


def _keep_only(folder: Path, made_from: dict[str, str]) -> None:
    """Empty `folder` where other weights made what is in it."""
    try:
        if load(Source, folder / _SOURCE, remake="autoseg_select").made_from == made_from:
            return
    except ArtefactError:
        pass
    shutil.rmtree(folder, ignore_errors=True)
    save(Source(seconds={}, made_from=made_from), folder / _SOURCE)
