"""Overlay pictures: three planes through the largest disagreement, each as image, prediction, reference and difference."""

from autoseg.colours import CONFUSED, INVENTED, MISSED, structure_colour
from autoseg.data.labels import LabelScheme
from autoseg.evaluation.evaluate import Evaluation
from autoseg.report.drawing import fraction, new_figure, png
from autoseg.report.scene import Scene, largest_disagreement, planes, views

DIFFERENCES = {"only predicted": INVENTED, "missed": MISSED, "other label": CONFUSED}
"""What the colours of the difference mean."""


def draw_overlay(scene: Scene, *, scheme: LabelScheme, title: str) -> bytes:
    """The case as PNG; below it stands what each colour means."""
    from matplotlib.patches import Patch

    centre, shown = largest_disagreement(scene), planes(scene)
    heights = [scene.reference.shape[0 if plane.axis else 1] * plane.row_mm for plane in shown]
    width = max(scene.reference.shape[1 if plane.axis == 2 else 2] * plane.column_mm for plane in shown)
    figure = new_figure(9, 1.1 + 2.2 * sum(heights) / width)
    panels = figure.subplots(len(shown), 4, squeeze=False, height_ratios=heights)
    for plane, row in zip(shown, panels, strict=True):
        for axes, (name, picture) in zip(row, views(scene, plane, centre[plane.axis]), strict=True):
            axes.imshow(picture, aspect=plane.row_mm / plane.column_mm, interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if plane is shown[0]:
                axes.set_title(name, fontsize=10)
        row[0].set_ylabel(plane.name if scene.is_flat else f"{plane.name} {centre[plane.axis]}", fontsize=9)
    names = {label.name: structure_colour(index) for index, label in enumerate(scheme.foreground)} | DIFFERENCES
    patches = [Patch(color=fraction(colour), label=name) for name, colour in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(6, len(patches)), fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    return png(figure)


def chosen_cases(evaluation: Evaluation) -> dict[str, str]:
    """The ids of the worst, the median and the best case by mean Dice; fewer where there are fewer cases."""
    ranked = sorted((case.mean_dice, case.id) for case in evaluation.cases if case.mean_dice is not None)
    if not ranked:
        return {}
    places = {"worst": 0, "median": (len(ranked) - 1) // 2, "best": len(ranked) - 1}
    found: dict[str, str] = {}
    for name, place in places.items():
        if ranked[place][1] not in found.values():
            found[name] = ranked[place][1]
    return found
