"""Writing a report, or its pictures on their own."""

from collections.abc import Sequence
from pathlib import Path

from autoseg.artefacts import refuse_unwritable, written_whole
from autoseg.errors import EvaluationError, unknown_name
from autoseg.evaluation.evaluate import Evaluation
from autoseg.report.curves import draw_curves
from autoseg.report.overlays import chosen_cases, draw_overlay
from autoseg.report.page import write
from autoseg.report.scene import open_scene
from autoseg.report.sources import Sources

PAGE = "report.html"
CURVES = "curves.png"
ELSEWHERE = "Choose another folder with -o DIR."


def write_report(sources: Sources, folder: Path) -> list[Path]:
    """The page in `folder`; what could not be read stands at its top."""
    refuse_unwritable(folder, remedy=ELSEWHERE)
    write(sources, folder / PAGE)
    return [folder / PAGE]


def write_overlays(sources: Sources, folder: Path, *, cases: Sequence[str] = ()) -> list[Path]:
    """An overlay picture of each of `cases` (none named: worst, median and best), as PNG files."""
    evaluation = _evaluation(sources)
    known = [case.id for case in evaluation.cases]
    for case_id in cases:
        if case_id not in known:
            raise unknown_name("evaluated case", case_id, known)
    refuse_unwritable(folder, remedy=ELSEWHERE)
    chosen = {case_id: case_id for case_id in cases} or chosen_cases(evaluation)
    written = []
    for name, case_id in chosen.items():
        scene = open_scene(sources, case_id, scheme=evaluation.scheme)
        value = next(case for case in evaluation.cases if case.id == case_id).mean_dice
        title = f"{case_id if name == case_id else f'{name} case: {case_id}'}, mean Dice " + (
            "undefined" if value is None else f"{value:.3f}"
        )
        path = folder / (f"overlay_{case_id}.png" if name == case_id else f"overlay_{name}_{case_id}.png")
        _write(path, draw_overlay(scene, scheme=evaluation.scheme, title=title))
        written.append(path)
    return written


def write_curves(sources: Sources, folder: Path) -> list[Path]:
    """The curves of all folds as one PNG file. Raises EvaluationError where no fold has a history."""
    folds = [fold for fold in sources.folds if fold.history]
    if not folds:
        raise EvaluationError(f"{sources.title}: no training with a history. Name a trained model with -m.")
    refuse_unwritable(folder, remedy=ELSEWHERE)
    _write(folder / CURVES, draw_curves(folds))
    return [folder / CURVES]


def write_gifs(sources: Sources, folder: Path, *, case_id: str) -> list[Path]:
    """Two animations of a case: both surfaces turning, and a sweep through the slices."""
    from autoseg.report.moving import sweep, turning, write_gif

    scheme = _evaluation(sources).scheme
    scene = open_scene(sources, case_id, scheme=scheme)
    refuse_unwritable(folder, remedy=ELSEWHERE)
    paths = [folder / f"{case_id}_surface.gif", folder / f"{case_id}_sweep.gif"]
    for frames, path in zip((turning(scene), sweep(scene)), paths, strict=True):
        write_gif(frames, path)
    return paths


def _evaluation(sources: Sources) -> Evaluation:
    if sources.evaluation is None:
        raise EvaluationError(
            f"{sources.title}: no evaluated predictions. Name a folder of predictions with an evaluation with -p, or a "
            "model whose folds were validated with -m."
        )
    return sources.evaluation


def _write(path: Path, content: bytes) -> None:
    with written_whole(path) as file:
        file.write(content)
