"""The *scenes* world: pictures of coloured shapes whose every attribute is known.

A :class:`Scene` is the ground truth (objects with shape, colour, size and position on a named
background) and :func:`render` draws it. Captions are in `captions`; reading objects back
from pixels and judging prompts in `judge`.

The (colour, shape) pairs of :data:`HELD_OUT` occur in no scene unless asked for; `world` makes a
world of the scenes, with its splits.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.drawing import polygon
from guidebench.data.worlds.world import IMAGE_SIZE

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 44),
    "orange": (246, 142, 32),
    "yellow": (244, 214, 52),
    "green": (44, 160, 68),
    "cyan": (40, 196, 214),
    "blue": (44, 84, 214),
    "purple": (136, 58, 186),
    "pink": (246, 120, 178),
}
"""Object colours, sRGB."""

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (240, 240, 238),
    "gray": (150, 152, 155),
    "black": (36, 37, 42),
    "beige": (224, 209, 182),
    "mint": (196, 220, 206),
    "slate": (86, 98, 114),
}
"""Named low-saturation backgrounds, sRGB at the centre of the picture."""

SHAPES: tuple[str, ...] = ("circle", "square", "triangle", "star", "ring", "cross", "heart")
SIZES: dict[str, tuple[float, float]] = {"small": (6.5, 8.5), "large": (10.5, 13.5)}
"""Range of an object's radius in pixels for each size."""

RELATIONS: tuple[str, ...] = ("left", "right", "above", "below")

HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    {
        ("cyan", "circle"),
        ("pink", "square"),
        ("purple", "triangle"),
        ("green", "star"),
        ("yellow", "ring"),
        ("orange", "cross"),
        ("blue", "heart"),
    }
)
"""(colour, shape) pairs that no training scene contains."""

_GAP = 2.0
_SUPPORT = 1.2  # bounding radius of every shape in units of its nominal radius


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene.

    Attributes:
        shape: One of :data:`SHAPES`.
        color: A key of :data:`COLORS`.
        size: ``"small"`` or ``"large"``.
        x: Horizontal centre in pixels from the left edge.
        y: Vertical centre in pixels from the top edge.
        radius: Nominal radius in pixels, inside the range of ``size`` in :data:`SIZES`.
        angle: Rotation in radians.
    """

    shape: str
    color: str
    size: str
    x: float
    y: float
    radius: float
    angle: float = 0.0


@dataclass(frozen=True)
class Background:
    """A named background with a linear gradient.

    Attributes:
        name: A key of :data:`BACKGROUNDS`.
        gradient: Brightness change (in sRGB levels) from the centre to a corner; 0 is plain.
        angle: Direction of the gradient in radians.
    """

    name: str
    gradient: float = 0.0
    angle: float = 0.0


@dataclass(frozen=True)
class Scene:
    """The ground truth of one picture: its objects and its background."""

    objects: tuple[SceneObject, ...]
    background: Background


# ---------------------------------------------------------------------------------------- sampling


def sample(rng: np.random.Generator, allow_held_out: bool = False, kind: str | None = None) -> Scene:
    """Draw a random scene.

    Args:
        rng: Source of all randomness.
        allow_held_out: Whether the pairs of :data:`HELD_OUT` may occur.
        kind: ``"single"`` (one object), ``"pair"`` (two different ones), ``"count"`` (two to four
            equal ones) or ``"mixed"`` (three or four, not all equal); None draws one with
            probabilities 0.45, 0.35, 0.10 and 0.10.

    Returns:
        A scene of one to four objects that do not touch.

    Raises:
        ValueError: If ``kind`` is not one of the names above.
    """
    kinds = ("single", "pair", "count", "mixed")
    if kind is None:
        kind = str(rng.choice(kinds, p=(0.45, 0.35, 0.10, 0.10)))
    if kind not in kinds:
        raise ValueError(f"kind must be one of {kinds}, not {kind!r}")
    if kind == "single":
        looks = [_sample_look(rng, allow_held_out)]
    elif kind == "pair":
        looks = _distinct_looks(rng, 2, allow_held_out)
    elif kind == "count":
        looks = [_sample_look(rng, allow_held_out)] * int(rng.integers(2, 5))
    else:
        count = int(rng.integers(3, 5))
        groups = _distinct_looks(rng, int(rng.integers(2, count + 1)), allow_held_out)
        looks = groups + [groups[0]] * (count - len(groups))
    if len(looks) > 2:
        looks = [(shape, color, "small") for shape, color, _ in looks]
    return Scene(_place(rng, looks), _sample_background(rng))


def _sample_look(rng: np.random.Generator, allow_held_out: bool) -> tuple[str, str, str]:
    while True:
        shape = SHAPES[rng.integers(len(SHAPES))]
        color = tuple(COLORS)[rng.integers(len(COLORS))]
        if allow_held_out or (color, shape) not in HELD_OUT:
            return shape, color, tuple(SIZES)[rng.integers(len(SIZES))]


def _distinct_looks(rng: np.random.Generator, count: int, allow_held_out: bool) -> list[tuple[str, str, str]]:
    looks: list[tuple[str, str, str]] = []
    while len(looks) < count:
        look = _sample_look(rng, allow_held_out)
        if look[:2] not in [other[:2] for other in looks]:
            looks.append(look)
    return looks


def _sample_background(rng: np.random.Generator) -> Background:
    name = tuple(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
    gradient = float(rng.uniform(6.0, 22.0)) if rng.random() < 0.7 else 0.0
    return Background(name, gradient, float(rng.uniform(0.0, 2.0 * np.pi)))


def _place(rng: np.random.Generator, looks: list[tuple[str, str, str]]) -> tuple[SceneObject, ...]:
    """Put objects at random places without overlap, largest extent first rejected as a whole."""
    while True:
        objects: list[SceneObject] = []
        for shape, color, size in looks:
            radius = float(rng.uniform(*SIZES[size]))
            margin = _SUPPORT * radius + 1.0
            for _ in range(20):
                x, y = rng.uniform(margin, IMAGE_SIZE - margin, size=2)
                if all(np.hypot(x - o.x, y - o.y) > _SUPPORT * (radius + o.radius) + _GAP for o in objects):
                    angle = float(rng.uniform(-0.17, 0.17))
                    objects.append(SceneObject(shape, color, size, float(x), float(y), radius, angle))
                    break
        if len(objects) == len(looks):
            return tuple(objects)


# --------------------------------------------------------------------------------------- rendering


def render(scene: Scene) -> NDArray[np.uint8]:
    """Draw a scene, anti-aliased.

    Args:
        scene: What to draw.

    Returns:
        An RGB image, ``uint8`` of shape ``(64, 64, 3)``.
    """
    grid = np.arange(IMAGE_SIZE, dtype=np.float64) + 0.5
    centred = (grid - IMAGE_SIZE / 2) / (IMAGE_SIZE / 2)
    angle = scene.background.angle
    ramp = np.cos(angle) * centred[None, :] + np.sin(angle) * centred[:, None]
    base = np.array(BACKGROUNDS[scene.background.name], dtype=np.float64)
    image = base + (scene.background.gradient * ramp)[..., None]
    for item in scene.objects:
        reach = _SUPPORT * item.radius + 5.0
        x0, x1 = max(0, int(item.x - reach)), min(IMAGE_SIZE, int(item.x + reach) + 2)
        y0, y1 = max(0, int(item.y - reach)), min(IMAGE_SIZE, int(item.y + reach) + 2)
        dx, dy = np.meshgrid(grid[x0:x1] - item.x, grid[y0:y1] - item.y)
        patch = image[y0:y1, x0:x1]
        shadow = 0.16 * np.clip(0.5 - signed_distance(item, dx - 1.0, dy - 2.0) / 4.0, 0.0, 1.0)
        patch *= 1.0 - shadow[..., None]
        coverage = np.clip(0.5 - signed_distance(item, dx, dy), 0.0, 1.0)[..., None]
        light = 1.0 - 0.09 * (dx + 1.6 * dy)[..., None] / (1.9 * item.radius)
        color = np.array(COLORS[item.color], dtype=np.float64) * light
        patch += coverage * (color - patch)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def signed_distance(
    item: SceneObject, dx: NDArray[np.float64], dy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distance to an object's outline, negative inside.

    Args:
        item: The object.
        dx: Horizontal offsets from its centre in pixels.
        dy: Vertical offsets, pointing down, of the same shape.

    Returns:
        Distances in pixels, of the same shape.
    """
    cos, sin = np.cos(item.angle) / item.radius, np.sin(item.angle) / item.radius
    return item.radius * _unit_distance(item.shape, cos * dx + sin * dy, cos * dy - sin * dx)


def _unit_distance(shape: str, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed distance of a shape of radius 1, with ``v`` pointing down."""
    if shape == "circle":
        return np.hypot(u, v) - 1.0
    if shape == "ring":
        return np.abs(np.hypot(u, v) - 0.8) - 0.26
    if shape == "square":
        return _box(u, v, 0.82, 0.82) - 0.06
    if shape == "cross":
        return np.minimum(_box(u, v, 0.97, 0.30), _box(u, v, 0.30, 0.97)) - 0.06
    return polygon(np.stack([u, v], axis=-1), _outline(shape)) - 0.05


def _box(
    u: NDArray[np.float64], v: NDArray[np.float64], half_width: float, half_height: float
) -> NDArray[np.float64]:
    a, b = np.abs(u) - half_width, np.abs(v) - half_height
    return np.hypot(np.maximum(a, 0.0), np.maximum(b, 0.0)) + np.minimum(np.maximum(a, b), 0.0)


@functools.cache
def _outline(shape: str) -> NDArray[np.float64]:
    """Corners of a polygonal shape of radius 1, shape ``(n, 2)``."""
    if shape == "triangle":
        angles = np.pi * (-0.5 + np.arange(3) * 2 / 3)
        return 1.14 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + [0.0, 0.22]
    if shape == "star":
        angles = np.pi * (-0.5 + np.arange(10) / 5)
        radii = np.where(np.arange(10) % 2 == 0, 1.15, 0.5)
        return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if shape == "heart":
        t = np.linspace(0.0, 2.0 * np.pi, 28, endpoint=False)
        u = np.sin(t) ** 3
        v = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 16
        return 1.04 * np.stack([u, v - 0.05], axis=1)
    raise ValueError(f"no outline for shape {shape!r}")


# --------------------------------------------------------------------------------------- relations


class Located(Protocol):
    """Anything with a place in the picture."""

    @property
    def x(self) -> float:
        """Horizontal centre in pixels."""

    @property
    def y(self) -> float:
        """Vertical centre in pixels."""


def stands(relation: str, first: Located, second: Located) -> bool:
    """Whether one object is clearly left of, right of, above or below another.

    Args:
        relation: One of :data:`RELATIONS`.
        first: The object that stands so.
        second: The object it is compared with.

    Returns:
        True if the centres are at least 6 pixels apart that way, and at least 0.9 times as far that
        way as the other way.
    """
    dx, dy = second.x - first.x, second.y - first.y
    along, across = (dx, dy) if relation in ("left", "right") else (dy, dx)
    if relation in ("right", "below"):
        along = -along
    return along >= 6.0 and along >= 0.9 * abs(across)
