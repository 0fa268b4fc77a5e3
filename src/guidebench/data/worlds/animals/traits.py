"""The ground truth of one portrait of the *animals* world, and the names of what it may show."""

from dataclasses import dataclass

import numpy as np

from guidebench.data.worlds.drawing import Color

KINDS: tuple[str, ...] = ("cat", "dog", "tiger", "lion", "bear", "squirrel", "fox", "badger", "raccoon")

FURS: dict[str, Color] = {
    "black": (50, 47, 52),
    "brown": (138, 94, 62),
    "golden": (224, 178, 108),
    "gray": (140, 142, 150),
    "orange": (226, 132, 58),
    "white": (240, 236, 230),
}
"""Colours of the coat, sRGB; a coat is one of them, lighter or darker."""

EYES: dict[str, Color] = {
    "black": (34, 28, 30),
    "blue": (92, 164, 228),
    "brown": (150, 88, 40),
    "green": (126, 190, 86),
    "yellow": (240, 196, 62),
}
EARS: tuple[str, ...] = ("floppy", "pointed", "round")
FACINGS: tuple[str, ...] = ("forward", "left", "right")
"""Where the nose points, as seen in the picture."""

BACKGROUNDS: dict[str, Color] = {
    "black": (46, 47, 56),
    "blue": (122, 168, 218),
    "gray": (160, 162, 168),
    "green": (140, 190, 142),
    "pink": (238, 176, 190),
    "purple": (166, 142, 206),
    "white": (240, 240, 238),
    "yellow": (242, 216, 132),
}

PROPORTIONS: tuple[str, ...] = (
    "width",
    "height",
    "ear length",
    "ear width",
    "eyes",
    "eye distance",
    "muzzle",
)
"""Measures of a head that differ between animals of one kind."""

TILTED_FROM = 0.15
"""A head is tilted from this roll on, radians."""


@dataclass(frozen=True)
class Backdrop:
    """What is behind the animal.

    Args:
        name: a key of `BACKGROUNDS`.
        color: of its middle, sRGB.
        style: "graded", "glow" (lighter behind the head), "discs" (large, out of focus) or "floor" (a lower part).
        change: sRGB levels between its lightest and its middle.
        angle: direction of the change, radians.
    """

    name: str
    color: Color
    style: str
    change: float
    angle: float


@dataclass(frozen=True)
class Animal:
    """One portrait.

    Args:
        kind: one of `KINDS`.
        fur: a key of `FURS`.
        coat: colour of the fur, sRGB.
        eyes: a key of `EYES`.
        ears: one of `EARS`.
        striped: whether the face is striped.
        blaze: whether a white stripe runs down the face.
        patch: a dark patch on the left (-1) or right (1) eye; 0 is none.
        tongue: whether the tongue is out.
        mane: "light", "dark" or None.
        facing: one of `FACINGS`.
        yaw: turn of the head in radians, positive to the right of the picture.
        roll: tilt of the head in radians, positive is clockwise.
        x: centre of the head, pixels from the left.
        y: centre of the head, pixels from the top.
        size: half the width of the head in pixels.
        proportions: factors near 1, in the order of `PROPORTIONS`.
        light: direction the light comes from, radians (y points down).
        backdrop: what is behind.
        detail: seed of small irregularities: stripes, tufts, discs.
    """

    kind: str
    fur: str
    coat: Color
    eyes: str
    ears: str
    striped: bool
    blaze: bool
    patch: float
    tongue: bool
    mane: str | None
    facing: str
    yaw: float
    roll: float
    x: float
    y: float
    size: float
    proportions: tuple[float, ...]
    light: float
    backdrop: Backdrop
    detail: int

    @property
    def tilted(self) -> bool:
        """Whether the head is clearly tilted to a side."""
        return abs(self.roll) > TILTED_FROM


def luma(color: Color) -> float:
    """Brightness of an sRGB colour as the eye weighs it (ITU-R BT.601), 0 to 255."""
    return float(np.dot(color, (0.299, 0.587, 0.114)))
