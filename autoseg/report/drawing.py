"""Figures without a window system, as PNG."""

import io
import logging
from typing import TYPE_CHECKING

from autoseg.colours import Colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches, white in light and dark pages alike."""
    # Figure and canvas without pyplot: no window system, no global state.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)  # it tells everyone that it builds its cache
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return file.getvalue()


def fraction(colour: Colour) -> tuple[float, float, float]:
    """The colour as matplotlib has it, 0 to 1."""
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
