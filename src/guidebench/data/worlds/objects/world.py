"""The *objects* world: one coloured solid on soft ground, seen by a random camera that is known.

Every solid has a front: two eyes towards +x, a white spot towards +y, a dark one towards -y, nothing on the back. So
"front view", "side view", "back view" and "overhead view" can be seen, and a three-dimensional reconstruction can be
checked from any side: `solids` draws a solid for any camera.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.drawing import Canvas, Color, gradient
from guidebench.data.worlds.objects.solids import (
    BACK_ABOVE,
    FRONT_BELOW,
    OVERHEAD_ABOVE,
    SOLIDS,
    VIEWS,
    Camera,
    direction,
    ground_shadow,
    solid_view,
)
from guidebench.data.worlds.world import Caption, World

COLORS: dict[str, Color] = {
    "red": (214, 40, 44),
    "orange": (246, 138, 30),
    "yellow": (246, 216, 56),
    "green": (44, 160, 68),
    "cyan": (44, 198, 214),
    "blue": (44, 84, 214),
    "purple": (136, 58, 186),
    "pink": (246, 124, 180),
}
"""Paints, sRGB."""

BACKGROUNDS: dict[str, Color] = {
    "white": (238, 238, 236),
    "gray": (156, 158, 162),
    "beige": (226, 210, 184),
    "mint": (190, 220, 204),
    "lavender": (206, 200, 230),
    "slate": (84, 96, 114),
}
"""sRGB at the centre of the picture."""

ELEVATIONS: tuple[float, float] = (math.radians(5.0), math.radians(80.0))
DISTANCES: tuple[float, float] = (2.0, 2.5)
AZIMUTH_MARGIN = math.radians(4.0)
ELEVATION_MARGIN = math.radians(4.0)
"""No random camera stands nearer than this to the border between two views."""

_FROM = {"front": "the front", "side": "the side", "back": "behind", "overhead": "above"}
_OPENINGS = ("a picture of", "an image of", "a photo of", "a render of")


@dataclass(frozen=True)
class ObjectPicture:
    """The ground truth of one picture.

    Args:
        solid: a key of `SOLIDS`.
        color: a key of `COLORS`.
        camera: where it is seen from.
        background: a key of `BACKGROUNDS`.
        light: azimuth and elevation of the light in radians, as of a camera that stands there.
        tint: what is added to the paint, sRGB levels.
        backdrop_tint: what is added to the background, sRGB levels.
        change: brightness from the centre to an edge of the background, sRGB levels.
        angle: direction in which it brightens, radians.
        glow: brightness that the middle gains, sRGB levels.
    """

    solid: str
    color: str
    camera: Camera
    background: str
    light: tuple[float, float] = (0.5, 1.0)
    tint: Color = (0.0, 0.0, 0.0)
    backdrop_tint: Color = (0.0, 0.0, 0.0)
    change: float = 0.0
    angle: float = 0.0
    glow: float = 0.0


class Objects(World[ObjectPicture]):
    """Solids in eight colours, from all around."""

    name = "objects"
    classes = tuple(f"{color} {solid}" for color in COLORS for solid in SOLIDS)
    facts = tuple(
        sorted(
            (
                *COLORS,
                *SOLIDS,
                *classes,
                *(f"{v} view" for v in VIEWS),
                *(f"{b} background" for b in BACKGROUNDS),
            )
        )
    )
    vocabulary = tuple(
        sorted(
            {
                *COLORS,
                *SOLIDS,
                *VIEWS,
                *BACKGROUNDS,
                "the",
                "one",
                "object",
                "on",
                "background",
                "view",
                "seen",
                "from",
            }
            | {word for phrase in (*_FROM.values(), *_OPENINGS) for word in phrase.split()}
        )
    )

    def sample(self, rng: np.random.Generator) -> ObjectPicture:
        solid, color = tuple(SOLIDS)[rng.integers(len(SOLIDS))], tuple(COLORS)[rng.integers(len(COLORS))]
        camera = _sample_camera(rng)
        return ObjectPicture(
            solid,
            color,
            camera,
            background=tuple(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))],
            light=(camera.azimuth + rng.uniform(-1.2, 1.2), rng.uniform(0.75, 1.2)),
            tint=_triple(rng, 7.0),
            backdrop_tint=_triple(rng, 5.0),
            change=rng.uniform(2.0, 18.0),
            angle=rng.uniform(0.0, 2 * math.pi),
            glow=rng.uniform(0.0, 14.0),
        )

    def render(self, picture: ObjectPicture) -> NDArray[np.uint8]:
        light = direction(*picture.light)
        base = np.add(BACKGROUNDS[picture.background], picture.backdrop_tint)
        canvas = Canvas((0.0, 0.0, 0.0))
        radius = np.linalg.norm(canvas.points / (canvas.points.shape[0] / 2) - 1, axis=-1, keepdims=True)
        ground = gradient(canvas.points, tuple(base), picture.change, picture.angle)
        ground += picture.glow * (0.5 - radius**2)
        ground *= 1 - ground_shadow(picture.solid, picture.camera, light)[..., None]
        paint = tuple(np.clip(np.add(COLORS[picture.color], picture.tint), 0, 255))
        rgb, mask = solid_view(picture.solid, paint, picture.camera, light)
        canvas.pixels = ground + mask[..., None] * (rgb - ground)
        return canvas.image()

    def shown(self, picture: ObjectPicture) -> frozenset[str]:
        view, background = f"{picture.camera.view} view", f"{picture.background} background"
        both = f"{picture.color} {picture.solid}"
        return frozenset((picture.solid, picture.color, both, view, background))

    def describe(self, picture: ObjectPicture, rng: np.random.Generator) -> Caption:
        words: list[str] = []
        meanings: dict[int, frozenset[str]] = {}

        def say(text: str, *facts: str) -> None:
            words.extend(text.split())
            if facts:
                meanings[len(words) - 1] = frozenset(facts)

        drop = rng.random()
        color = "" if drop < 0.1 else picture.color
        noun = "object" if 0.1 <= drop < 0.15 else picture.solid
        first = color or noun
        article = rng.choice(("the", "one")) if rng.random() < 0.1 else "an" if first[0] in "aeiou" else "a"
        view = picture.camera.view
        place = rng.choice(("last", "first", "seen", "from", "none"), p=(0.4, 0.12, 0.12, 0.08, 0.28))
        if place == "first":
            say(f"{view} view", f"{view} view")
            say("of")
        elif rng.random() < 0.25:
            say(_OPENINGS[rng.integers(len(_OPENINGS))])
        say(
            f"{article} {color} {noun}",
            *(fact for fact in (color, noun, f"{color} {noun}") if fact in self.facts),
        )
        background_last = rng.random() < 0.5
        say_background = rng.random() < 0.3
        for part in ("view", "background") if background_last else ("background", "view"):
            if part == "background" and say_background:
                say(f"on a {picture.background} background", f"{picture.background} background")
            elif part == "view" and place == "last":
                say(f"{view} view", f"{view} view")
            elif part == "view" and place in ("seen", "from"):
                say("seen from" if place == "seen" else "from")
                say(_FROM[view], f"{view} view")
        return Caption(tuple(words), frozenset().union(*meanings.values()), meanings)


OBJECTS = Objects()


def _sample_camera(rng: np.random.Generator) -> Camera:
    """Uniform azimuth; one camera in five is overhead; all other elevations are equally likely."""
    low, high = ELEVATIONS
    if rng.random() < 0.2:
        elevation = rng.uniform(OVERHEAD_ABOVE + ELEVATION_MARGIN, high)
        azimuth = rng.uniform(-math.pi, math.pi)
    else:
        elevation = rng.uniform(low, OVERHEAD_ABOVE - ELEVATION_MARGIN)
        borders = np.array([FRONT_BELOW, BACK_ABOVE])
        while np.abs(abs(azimuth := rng.uniform(-math.pi, math.pi)) - borders).min() < AZIMUTH_MARGIN:
            pass
    return Camera(azimuth, elevation, rng.uniform(*DISTANCES), _triple(rng, 0.02))


def _triple(rng: np.random.Generator, spread: float) -> tuple[float, float, float]:
    """Three normal numbers, cut at twice their standard deviation."""
    x, y, z = np.clip(rng.normal(0.0, spread, 3), -2 * spread, 2 * spread).tolist()
    return x, y, z
