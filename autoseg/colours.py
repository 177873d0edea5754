"""The colours of all that is drawn, in pictures, pages and viewer: safe for the colour-blind, and known only here."""

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

STRUCTURES: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermillion
    (204, 121, 167),  # reddish purple
)
"""Colours of labels and regions, in their order. Source: Okabe and Ito, Color Universal Design, 2008."""

INVENTED: Colour = (213, 94, 0)
"""Voxels that only the prediction has."""
MISSED: Colour = (0, 114, 178)
"""Voxels that only the reference has."""
CONFUSED: Colour = (240, 228, 66)
"""Voxels that both have, with different labels."""

BEST: Colour = (0, 114, 178)
"""What no other beats in a comparison."""
BEATEN: Colour = (119, 119, 119)
"""What another one beats."""


def structure_colour(index: int) -> Colour:
    """The colour of the structure with this index (0: the first after the background); after seven they repeat."""
    return STRUCTURES[index % len(STRUCTURES)]


def hexadecimal(colour: Colour) -> str:
    """The colour as #rrggbb."""
    red, green, blue = colour
    return f"#{red:02x}{green:02x}{blue:02x}"


def contrast(first: Colour, second: Colour) -> float:
    """How well one can be read on the other, 1 to 21; text needs 4.5. Source: WCAG 2.2, contrast ratio."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    """Relative luminance, 0 to 1."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
