"""The *scenes* world: captioned pictures of coloured shapes, rendered and read back without a network.

A :class:`Scene` is the ground truth (objects with shape, colour, size and position on a named
background). :func:`render` draws it, :func:`caption` describes it in one of several phrasings,
:func:`parse` recovers the objects of a picture from its pixels alone, and :class:`Requirement` says
what a prompt asks for, so that :func:`satisfies` judges a generated picture independently of every
trained model.

Splits are made by seed: scene ``i`` of a split is a pure function of ``(split, i)``. The (colour,
shape) pairs of :data:`HELD_OUT` never occur in a training scene.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

IMAGE_SIZE = 64
"""Height and width of a picture in pixels."""

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

SIZE_WORDS: dict[str, str] = {"small": "small", "tiny": "small", "large": "large", "big": "large"}
COUNT_WORDS: dict[str, int] = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}
RELATION_WORDS: dict[str, str] = {
    "to the left of": "left",
    "to the right of": "right",
    "left of": "left",
    "right of": "right",
    "above": "above",
    "below": "below",
    "under": "below",
}
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

SPLITS: dict[str, int] = {"train": 0, "validation": 1, "test": 2}

PLURALS: dict[str, str] = {
    shape: shape + ("es" if shape == "cross" else "s") for shape in (*SHAPES, "shape")
}
_SINGULAR: dict[str, str | None] = {shape: shape for shape in SHAPES} | {
    plural: shape for shape, plural in PLURALS.items() if shape != "shape"
}
_SINGULAR |= {"shape": None, "shapes": None}

VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {*COLORS, *BACKGROUNDS, *_SINGULAR, *SIZE_WORDS, *COUNT_WORDS}
        | {word for phrase in RELATION_WORDS for word in phrase.split()}
        | {"and", "background", "image", "of", "on", "picture", "there", "is", "are", "with"}
    )
)
"""Every word that a caption or a valid prompt may contain, sorted."""

_LARGE_FROM = 0.5 * (SIZES["small"][1] + SIZES["large"][0])
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


@dataclass(frozen=True)
class Group:
    """Identical objects that one noun phrase names; ``None`` means "not said".

    Attributes:
        count: Number of objects, 1 to 4.
        color: A key of :data:`COLORS`, or None.
        shape: One of :data:`SHAPES`, or None.
        size: ``"small"``, ``"large"`` or None.
    """

    count: int
    color: str | None = None
    shape: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class DetectedObject:
    """One object found in a picture by :func:`parse`.

    Attributes:
        shape: One of :data:`SHAPES`, or ``"unknown"`` where no shape fits.
        color: A key of :data:`COLORS`.
        size: ``"small"`` or ``"large"``.
        x: Horizontal centroid in pixels.
        y: Vertical centroid in pixels.
        radius: Nominal radius in pixels, from the area.
        shape_score: Overlap (intersection over union) with the best shape, 0 to 1.
    """

    shape: str
    color: str
    size: str
    x: float
    y: float
    radius: float
    shape_score: float


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


def scene(split: str, index: int, kind: str | None = None) -> Scene:
    """Return scene ``index`` of a split: the same one on every machine.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``. Held-out pairs occur in none of them.
        index: Non-negative number of the scene.
        kind: As in :func:`sample`.

    Returns:
        The scene.

    Raises:
        ValueError: If ``split`` is unknown.
    """
    return sample(split_rng(split, index), kind=kind)


def split_rng(split: str, index: int) -> np.random.Generator:
    """Return the random stream that belongs to scene ``index`` of ``split``.

    Args:
        split: A key of :data:`SPLITS`.
        index: Non-negative number of the scene.

    Returns:
        A new generator; streams of different splits and indices are independent.

    Raises:
        ValueError: If ``split`` is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {tuple(SPLITS)}, not {split!r}")
    return np.random.default_rng([2026, SPLITS[split], index])


def _sample_look(rng: np.random.Generator, allow_held_out: bool) -> tuple[str, str, str]:
    while True:
        shape = SHAPES[rng.integers(len(SHAPES))]
        color = tuple(COLORS)[rng.integers(len(COLORS))]
        if allow_held_out or (color, shape) not in HELD_OUT:
            return shape, color, tuple(SIZES)[rng.integers(len(SIZES))]


def _distinct_looks(
    rng: np.random.Generator, count: int, allow_held_out: bool
) -> list[tuple[str, str, str]]:
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
                if all(
                    np.hypot(x - o.x, y - o.y) > _SUPPORT * (radius + o.radius) + _GAP for o in objects
                ):
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
        shadow = 0.16 * np.clip(0.5 - _distance(item, dx - 1.0, dy - 2.0) / 4.0, 0.0, 1.0)
        patch *= 1.0 - shadow[..., None]
        coverage = np.clip(0.5 - _distance(item, dx, dy), 0.0, 1.0)[..., None]
        light = 1.0 - 0.09 * (dx + 1.6 * dy)[..., None] / (1.9 * item.radius)
        color = np.array(COLORS[item.color], dtype=np.float64) * light
        patch += coverage * (color - patch)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _distance(
    item: SceneObject, dx: NDArray[np.float64], dy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Signed distance in pixels (negative inside) at offsets from an object's centre."""
    cos, sin = np.cos(item.angle) / item.radius, np.sin(item.angle) / item.radius
    return item.radius * _unit_distance(item.shape, cos * dx + sin * dy, cos * dy - sin * dx)


def _unit_distance(
    shape: str, u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Signed distance of a shape of radius 1, with ``v`` pointing down."""
    if shape == "circle":
        return np.hypot(u, v) - 1.0
    if shape == "ring":
        return np.abs(np.hypot(u, v) - 0.8) - 0.26
    if shape == "square":
        return _box(u, v, 0.82, 0.82) - 0.06
    if shape == "cross":
        return np.minimum(_box(u, v, 0.97, 0.30), _box(u, v, 0.30, 0.97)) - 0.06
    return _polygon(_outline(shape), u, v) - 0.05


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


def _polygon(
    corners: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Signed distance to a polygon: nearest edge, sign by crossing number."""
    points = np.stack([u.ravel(), v.ravel()], axis=1)[:, None]
    start, edge = corners[None], np.roll(corners, -1, axis=0)[None] - corners[None]
    offset = points - start
    along = np.clip((offset * edge).sum(-1) / (edge**2).sum(-1), 0.0, 1.0)
    nearest = offset - along[..., None] * edge
    distance = np.sqrt((nearest**2).sum(-1).min(axis=1))
    end_v = start[..., 1] + edge[..., 1]
    crosses = (start[..., 1] > points[..., 1]) != (end_v > points[..., 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        at_u = start[..., 0] + offset[..., 1] * edge[..., 0] / edge[..., 1]
    inside = (crosses & (points[..., 0] < at_u)).sum(axis=1) % 2 == 1
    return np.where(inside, -distance, distance).reshape(u.shape)


# ---------------------------------------------------------------------------------------- captions


@dataclass(frozen=True)
class Description:
    """A caption with what its words refer to.

    Attributes:
        words: The words of the caption.
        owners: For each word the index into ``groups`` of the noun phrase it belongs to, or -1.
        groups: What each noun phrase says.
        relations: ``(i, relation, j)``: group i is ``relation`` (of) group j.
    """

    words: tuple[str, ...]
    owners: tuple[int, ...]
    groups: tuple[Group, ...]
    relations: tuple[tuple[int, str, int], ...]


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """Describe a scene in words of :data:`VOCABULARY`.

    Args:
        scene: What to describe.
        rng: Picks the phrasing, the order and which details are named.

    Returns:
        A lower-case caption without punctuation, true of the scene.
    """
    return " ".join(describe(scene, rng).words)


def describe(scene: Scene, rng: np.random.Generator) -> Description:
    """Like :func:`caption`, and says which words name which objects.

    Args:
        scene: What to describe.
        rng: Picks the phrasing, the order and which details are named.

    Returns:
        The words with their noun phrases and relations.
    """
    members: dict[tuple[str, str, str], list[SceneObject]] = {}
    for item in scene.objects:
        members.setdefault((item.shape, item.color, item.size), []).append(item)
    looks = list(members)
    rng.shuffle(looks)
    name_sizes = rng.random() < 0.3
    groups: list[Group] = []
    for shape, color, size in looks:
        drop = rng.random() if len(looks) <= 2 else 1.0
        groups.append(
            Group(
                len(members[shape, color, size]),
                None if drop < 0.03 else color,
                None if 0.03 <= drop < 0.06 else shape,
                size if name_sizes else None,
            )
        )
    phrases = [_noun_phrase(group, rng) for group in groups]
    words: list[str] = []
    owners: list[int] = []

    def say(text: Iterable[str], owner: int = -1) -> None:
        for word in text:
            words.append(word)
            owners.append(owner)

    opening = rng.random()
    if opening < 0.1:
        say(("a", "picture", "of"))
    elif opening < 0.2:
        say(("an", "image", "of"))
    elif opening < 0.3:
        say(("there", "is" if groups[0].count == 1 else "are"))
    say(phrases[0], 0)
    relations: list[tuple[int, str, int]] = []
    if len(groups) == 2:
        held = [r for r in RELATIONS if _holds(r, members[looks[0]], members[looks[1]])]
        if held and rng.random() < 0.6:
            relation = held[0]
            phrasings = [phrase for phrase, name in RELATION_WORDS.items() if name == relation]
            say(phrasings[rng.integers(len(phrasings))].split())
            relations.append((0, relation, 1))
        else:
            say(("with",) if rng.random() < 0.15 else ("and",))
        say(phrases[1], 1)
    else:
        for index, phrase in enumerate(phrases[1:], start=1):
            if index == len(phrases) - 1 or rng.random() < 0.3:
                say(("and",))
            say(phrase, index)
    if rng.random() < 0.35:
        say(("on", "a", scene.background.name, "background"))
    return Description(tuple(words), tuple(owners), tuple(groups), tuple(relations))


def _noun_phrase(group: Group, rng: np.random.Generator) -> list[str]:
    words: list[str] = []
    if group.size is not None:
        synonyms = [word for word, size in SIZE_WORDS.items() if size == group.size]
        words.append(synonyms[0] if rng.random() < 0.7 else synonyms[1])
    if group.color is not None:
        words.append(group.color)
    noun = group.shape or "shape"
    words.append(noun if group.count == 1 else PLURALS[noun])
    if group.count > 1:
        return [("two", "three", "four")[group.count - 2], *words]
    if rng.random() < 0.05:
        return ["one", *words]
    return ["an" if words[0][0] in "aeiou" else "a", *words]


def _holds(
    relation: str,
    first: Iterable[SceneObject | DetectedObject],
    second: Iterable[SceneObject | DetectedObject],
) -> bool:
    """Whether every object of ``first`` is clearly ``relation`` of every object of ``second``."""
    return all(stands(relation, a, b) for a, b in itertools.product(first, second))


def stands(
    relation: str, first: SceneObject | DetectedObject, second: SceneObject | DetectedObject
) -> bool:
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


# ----------------------------------------------------------------------------------------- parsing


def parse(image: NDArray[np.uint8]) -> list[DetectedObject]:
    """Find the objects of a picture from its pixels, without any network.

    The background is fitted by a plane in CIELAB; what differs from it is split into connected
    components (and these by colour where two objects touch); a component's colour is the nearest of
    :data:`COLORS` at its core, its shape the template with the largest overlap.

    Args:
        image: RGB picture, ``uint8`` of shape ``(64, 64, 3)``.

    Returns:
        The objects from left to right. Specks under 24 pixels are not objects.

    Raises:
        ValueError: If ``image`` has another shape or dtype.
    """
    if image.shape != (IMAGE_SIZE, IMAGE_SIZE, 3) or image.dtype != np.uint8:
        raise ValueError(
            f"expected a uint8 image of shape {(IMAGE_SIZE, IMAGE_SIZE, 3)}, "
            f"got {image.dtype} of shape {image.shape}"
        )
    lab = _to_lab(image)
    contrast = _contrast(lab, _fit_background(lab))
    labels, count = ndimage.label(contrast > 16.0)
    found: list[DetectedObject] = []
    for index in range(1, count + 1):
        component = labels == index
        if component.sum() < 24:
            continue
        for mask in _split_by_color(component, lab, contrast):
            item = _identify(mask, lab, contrast)
            if item is not None:
                found.append(item)
    return sorted(found, key=lambda item: item.x)


def background_name(image: NDArray[np.uint8]) -> str:
    """Return the key of :data:`BACKGROUNDS` nearest to a picture's background.

    Args:
        image: RGB picture, ``uint8`` of shape ``(64, 64, 3)``.

    Returns:
        The name.
    """
    mean = _fit_background(_to_lab(image)).mean(axis=(0, 1))
    names = list(BACKGROUNDS)
    palette = _to_lab(np.array([BACKGROUNDS[name] for name in names], dtype=np.uint8))
    return names[int(np.argmin(((palette - mean) ** 2).sum(axis=1)))]


def _to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Convert sRGB levels to CIELAB (D65), any leading shape."""
    value = rgb.astype(np.float64) / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16.0 / 116.0)
    return np.stack(
        [116.0 * f[..., 1] - 16.0, 500.0 * (f[..., 0] - f[..., 1]), 200.0 * (f[..., 1] - f[..., 2])],
        axis=-1,
    )


def _fit_background(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit a plane per channel to the background, dropping what lies far from it in each round."""
    axis = np.linspace(-1.0, 1.0, IMAGE_SIZE)
    u, v = (grid.ravel() for grid in np.meshgrid(axis, axis))
    design = np.stack([np.ones_like(u), u, v], axis=1)
    pixels = lab.reshape(-1, 3)
    border = np.maximum(np.abs(u), np.abs(v)) > 0.9
    low_chroma = np.hypot(pixels[:, 1], pixels[:, 2]) < 24.0
    centre = np.median(pixels[low_chroma if low_chroma.mean() > 0.2 else border], axis=0)
    fit = np.broadcast_to(centre, pixels.shape)
    for limit in (16.0, 10.0, 7.0):
        keep = np.sqrt(((pixels - fit) ** 2).sum(axis=1)) < limit
        if keep.sum() < 200:
            break
        coefficients, *_ = np.linalg.lstsq(design[keep], pixels[keep], rcond=None)
        fit = design @ coefficients
    return fit.reshape(lab.shape)


def _contrast(lab: NDArray[np.float64], background: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the background with lightness counted less, so that shadows stay below it."""
    difference = (lab - background) * np.array([0.4, 1.0, 1.0])
    return np.sqrt((difference**2).sum(axis=-1))


@functools.cache
def _palette() -> NDArray[np.float64]:
    return _to_lab(np.array(list(COLORS.values()), dtype=np.uint8))


def _nearest_colors(lab: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index of the nearest colour for each row of an ``(n, 3)`` array; lightness counts half."""
    difference = (lab[:, None] - _palette()[None]) * np.array([0.5, 1.0, 1.0])
    return (difference**2).sum(axis=-1).argmin(axis=1)


def _split_by_color(
    component: NDArray[np.bool_], lab: NDArray[np.float64], contrast: NDArray[np.float64]
) -> list[NDArray[np.bool_]]:
    """Split a component where it clearly consists of touching objects of different colours."""
    strong = component & (contrast > 0.6 * np.percentile(contrast[component], 80))
    core = ndimage.binary_erosion(strong)
    if core.sum() < 12:
        return [component]
    nearest = _nearest_colors(lab[core])
    counts = np.bincount(nearest, minlength=len(COLORS))
    chosen = np.flatnonzero(counts >= max(24, 0.18 * core.sum()))
    if len(chosen) < 2:
        return [component]
    seeds = np.zeros(component.shape, dtype=np.int64)
    seeds[core] = np.where(np.isin(nearest, chosen), nearest + 1, 0)
    where = ndimage.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    owner = seeds[tuple(where)]
    parts: list[NDArray[np.bool_]] = []
    for color in chosen:
        labels, count = ndimage.label(component & (owner == color + 1))
        parts += [labels == i for i in range(1, count + 1) if (labels == i).sum() >= 24]
    return parts


_LATTICE = 28
_SPAN = 1.75  # half-width of the template lattice in units of sqrt(area / pi)


@functools.cache
def _templates() -> tuple[NDArray[np.float64], tuple[str, ...], tuple[float, ...]]:
    """Coverage of every shape and rotation on a lattice normalised by centroid and area.

    Returns:
        Templates of shape ``(t, lattice * lattice)``, the shape of each, and for each the ratio of
        its nominal radius to ``sqrt(area / pi)``.
    """
    fine = np.linspace(-1.5, 1.5, 301)
    u, v = np.meshgrid(fine, fine)
    axis = np.linspace(-_SPAN, _SPAN, _LATTICE)
    a, b = np.meshgrid(axis, axis)
    rows, shapes, ratios = [], [], []
    for shape in SHAPES:
        for angle in np.deg2rad([-14, -7, 0, 7, 14]):
            inside = _distance(SceneObject(shape, "red", "small", 0, 0, 1.0, angle), u, v) < 0
            scale = np.sqrt(inside.sum() * (fine[1] - fine[0]) ** 2 / np.pi)
            cu, cv = u[inside].mean(), v[inside].mean()
            item = SceneObject(shape, "red", "small", 0, 0, 1.0, angle)
            distance = _distance(item, a * scale + cu, b * scale + cv)
            soft = 0.13 * scale
            rows.append(np.clip(0.5 - distance / soft, 0.0, 1.0).ravel())
            shapes.append(shape)
            ratios.append(float(1.0 / scale))
    return np.stack(rows), tuple(shapes), tuple(ratios)


def _identify(
    mask: NDArray[np.bool_], lab: NDArray[np.float64], contrast: NDArray[np.float64]
) -> DetectedObject | None:
    level = float(np.percentile(contrast[mask], 75))
    nearby = ndimage.binary_dilation(mask, iterations=2)
    coverage = np.where(nearby, np.clip(contrast / level, 0.0, 1.0), 0.0)
    # Steepen around one half: undoes the blur of a decoder, keeps sub-pixel edges.
    coverage = np.clip((coverage - 0.5) * 1.6 + 0.5, 0.0, 1.0)
    area = float(coverage.sum())
    if area < 24.0:
        return None
    rows, columns = np.mgrid[0:IMAGE_SIZE, 0:IMAGE_SIZE]
    x, y = float((coverage * columns).sum() / area), float((coverage * rows).sum() / area)
    scale = np.sqrt(area / np.pi)
    axis = np.linspace(-_SPAN, _SPAN, _LATTICE) * scale
    grid_x, grid_y = np.meshgrid(x + axis, y + axis)
    seen = ndimage.map_coordinates(coverage, [grid_y, grid_x], order=1, cval=0.0).ravel()
    templates, shapes, ratios = _templates()
    overlap = np.minimum(seen, templates).sum(1) / np.maximum(seen, templates).sum(1)
    best = int(overlap.argmax())
    radius = float(scale * ratios[best])
    core = ndimage.binary_erosion(mask & (contrast > 0.7 * level))
    if core.sum() < 6:
        core = mask & (contrast > 0.7 * level)
    color = tuple(COLORS)[int(_nearest_colors(np.median(lab[core], axis=0)[None])[0])]
    return DetectedObject(
        shape=shapes[best] if overlap[best] >= 0.62 else "unknown",
        color=color,
        size="large" if radius >= _LARGE_FROM else "small",
        x=x + 0.5,
        y=y + 0.5,
        radius=radius,
        shape_score=float(overlap[best]),
    )


# ------------------------------------------------------------------------------------ requirements


_NOUN_PHRASE = (
    rf"(?:(?P<count>{'|'.join(COUNT_WORDS)})\s+)?"
    rf"(?:(?P<size>{'|'.join(SIZE_WORDS)})\s+)?"
    rf"(?:(?P<color>{'|'.join(COLORS)})\s+)?"
    rf"(?P<noun>{'|'.join(sorted(_SINGULAR, key=len, reverse=True))})\b"
)
_PATTERN = re.compile(
    rf"\bon\s+an?\s+(?P<background>{'|'.join(BACKGROUNDS)})\s+background\b"
    rf"|\b(?P<relation>{'|'.join(RELATION_WORDS)})\b"
    rf"|\b{_NOUN_PHRASE}"
)


@dataclass(frozen=True)
class Requirement:
    """What a prompt asks of a picture: these objects and no others, and how they stand.

    Attributes:
        groups: The named objects.
        relations: ``(i, relation, j)``: every object of group i is ``relation`` (of) those of j.
        background: Name of the background, or None when the prompt names none.
    """

    groups: tuple[Group, ...]
    relations: tuple[tuple[int, str, int], ...] = ()
    background: str | None = None

    @classmethod
    def from_prompt(cls, prompt: str) -> Requirement:
        """Read a prompt such as ``"a red circle left of two blue squares"``.

        Args:
            prompt: Words of :data:`VOCABULARY` in any case; punctuation is ignored.

        Returns:
            The requirement.

        Raises:
            ValueError: If a word is not in the vocabulary, no object is named, or a relation
                stands without an object on either side.
        """
        text = re.sub(r"[^a-z\s]", " ", prompt.lower())
        unknown = sorted(set(text.split()) - set(VOCABULARY))
        if unknown:
            raise ValueError(f"prompt {prompt!r} has words outside the scenes vocabulary: {unknown}")
        text = " ".join(text.split())
        groups: list[Group] = []
        relations: list[tuple[int, str, int]] = []
        pending: str | None = None
        background: str | None = None
        for match in _PATTERN.finditer(text):
            if match["background"]:
                background = match["background"]
            elif match["relation"]:
                if not groups or pending:
                    raise ValueError(f"prompt {prompt!r}: a relation stands between two objects")
                pending = RELATION_WORDS[match["relation"]]
            else:
                noun = match["noun"]
                count = COUNT_WORDS[match["count"]] if match["count"] else 1
                size = SIZE_WORDS[match["size"]] if match["size"] else None
                groups.append(Group(count, match["color"], _SINGULAR[noun], size))
                if pending:
                    relations.append((len(groups) - 2, pending, len(groups) - 1))
                    pending = None
        if not groups or pending:
            raise ValueError(f"prompt {prompt!r} names no object, or a relation without its second object")
        return cls(tuple(groups), tuple(relations), background)

    def is_met_by(self, objects: list[DetectedObject]) -> bool:
        """Whether found objects are exactly the required ones, in the required relations.

        Args:
            objects: Objects as :func:`parse` returns them.

        Returns:
            True if some one-to-one assignment of objects to noun phrases meets everything.
        """
        slots = [index for index, group in enumerate(self.groups) for _ in range(group.count)]
        if len(objects) != len(slots):
            return False
        return any(self._assignment_holds(slots, order) for order in itertools.permutations(objects))

    def _assignment_holds(self, slots: list[int], order: tuple[DetectedObject, ...]) -> bool:
        for slot, item in zip(slots, order, strict=True):
            group = self.groups[slot]
            if group.color not in (None, item.color) or group.size not in (None, item.size):
                return False
            if item.shape == "unknown" or group.shape not in (None, item.shape):
                return False
        members = [
            [item for slot, item in zip(slots, order, strict=True) if slot == index]
            for index in range(len(self.groups))
        ]
        return all(_holds(relation, members[i], members[j]) for i, relation, j in self.relations)


def satisfies(image: NDArray[np.uint8], requirement: Requirement) -> bool:
    """Judge whether a picture shows exactly what a prompt asks for.

    Args:
        image: RGB picture, ``uint8`` of shape ``(64, 64, 3)``.
        requirement: From :meth:`Requirement.from_prompt`.

    Returns:
        True if the objects (no fewer, no more), their relations and a named background are right.

    Raises:
        ValueError: If ``image`` has another shape or dtype.
    """
    objects = parse(image)
    if len(objects) > 6 or not requirement.is_met_by(objects):
        return False
    return requirement.background is None or background_name(image) == requirement.background
