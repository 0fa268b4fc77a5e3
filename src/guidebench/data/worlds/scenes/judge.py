"""Reading scenes back: objects from the pixels of a picture, requirements from a prompt.

:func:`parse` recovers the objects of a picture without any network, :class:`Requirement` says what a
prompt asks for, and :func:`satisfies` judges a generated picture with both, independently of every
trained model.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from guidebench.data.worlds.scenes.captions import (
    COUNT_WORDS,
    RELATION_WORDS,
    SINGULAR,
    SIZE_WORDS,
    VOCABULARY,
    Group,
)
from guidebench.data.worlds.scenes.scene import (
    BACKGROUNDS,
    COLORS,
    SHAPES,
    SIZES,
    SceneObject,
    signed_distance,
    stands,
)
from guidebench.data.worlds.world import IMAGE_SIZE

_LARGE_FROM = 0.5 * (SIZES["small"][1] + SIZES["large"][0])


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
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
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
            inside = signed_distance(SceneObject(shape, "red", "small", 0, 0, 1.0, angle), u, v) < 0
            scale = np.sqrt(inside.sum() * (fine[1] - fine[0]) ** 2 / np.pi)
            cu, cv = u[inside].mean(), v[inside].mean()
            item = SceneObject(shape, "red", "small", 0, 0, 1.0, angle)
            distance = signed_distance(item, a * scale + cu, b * scale + cv)
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


_NOUN_PHRASE = (
    rf"(?:(?P<count>{'|'.join(COUNT_WORDS)})\s+)?"
    rf"(?:(?P<size>{'|'.join(SIZE_WORDS)})\s+)?"
    rf"(?:(?P<color>{'|'.join(COLORS)})\s+)?"
    rf"(?P<noun>{'|'.join(sorted(SINGULAR, key=len, reverse=True))})\b"
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
                groups.append(Group(count, match["color"], SINGULAR[noun], size))
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
        return all(
            stands(relation, a, b)
            for i, relation, j in self.relations
            for a, b in itertools.product(members[i], members[j])
        )


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
