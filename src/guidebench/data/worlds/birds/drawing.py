"""Drawing birds: lengths in the bird's own frame are about pixels, x points to where it faces, y down."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.birds.places import draw_place
from guidebench.data.worlds.birds.species import COLORS, SPECIES, Bird
from guidebench.data.worlds.drawing import Array, Canvas, ellipse, polygon, rotate, stroke
from guidebench.data.worlds.world import IMAGE_SIZE

Point = tuple[float, float]


@dataclass(frozen=True)
class _Build:
    """Proportions. Points are relative to the middle of the body.

    Args:
        body: half axes of the body.
        lean: rotation of the body in radians; negative lifts the breast.
        neck: path from the body to the head; its last point is the middle of the head.
        girth: width of the neck along that path.
        skull: radius of the head.
        belly: middle of the lower colour.
        belly_radii: its half axes.
        feet: where they stand.
        rump: where the tail begins.
        trail: direction of the tail in radians, 0 backwards, positive down.
        shoulder: where the wing begins.
        tip: end of the folded wing.
        breadth: width of the wing.
    """

    body: Point
    lean: float
    neck: tuple[Point, ...]
    girth: tuple[float, ...]
    skull: float
    belly: Point
    belly_radii: Point
    feet: Point
    rump: Point
    trail: float
    shoulder: Point
    tip: Point
    breadth: float


_BUILDS: dict[str, _Build] = {
    "songbird": _Build(
        (12.5, 9.2), -0.4, ((5, -4), (10, -10.5)), (14, 12), 6.9, (5, 5.5), (12, 7), (2, 15.5), (-10, 4.5), 0.25,
        (2, -2.5), (-12, 5.5), 9.5,
    ),
    "slender": _Build(
        (13.5, 7.6), -0.2, ((6, -3), (12, -8)), (12, 10), 6.2, (5, 4), (13, 5.4), (2, 12.5), (-12, 2.5), 0.1,
        (3, -2.5), (-17, 3.5), 8,
    ),
    "upright": _Build(
        (9.8, 12.8), 0.12, ((1, -5), (2.5, -13.5)), (16, 14), 8, (5, 3), (6.8, 12), (1, 17), (-6, 9.5), 0.85,
        (-2, -5), (-6, 10), 9.5,
    ),
    "wader": _Build(
        (12.5, 7.8), -0.12, ((8, -2), (13, -9), (11, -17.5)), (9, 6, 6), 5, (4, 4.5), (11, 5), (0, 22), (-11, 1),
        0.2, (3, -2), (-14, 3), 9,
    ),
    "duck": _Build(
        (15, 8.6), -0.08, ((9, -3), (12.5, -9), (13, -13.5)), (11, 8.5, 9), 6.4, (3, 4.5), (14, 6), (1, 12.5),
        (-13.5, -1), -0.35, (4, -2), (-13, 0.5), 9.5,
    ),
    "parrot": _Build(
        (13.5, 8.8), -1.0, ((3, -6), (7, -13.5)), (15, 13.5), 7.4, (6, 1.5), (7, 12.5), (2, 14), (-6, 10), 0.95,
        (-0.5, -4.5), (-7.5, 12), 9.5,
    ),
}  # fmt: skip

_SPAN = 19.0  # length of a raised wing


def render(bird: Bird) -> NDArray[np.uint8]:
    """Draw a bird in its place: RGB, `uint8` of shape (64, 64, 3)."""
    figure = _Figure(bird)
    canvas = Canvas((0.0, 0.0, 0.0))
    draw_place(canvas, bird.place, figure.stand, figure.grounded, np.random.default_rng(bird.scenery))
    figure.draw(canvas.window(*figure.box))
    return canvas.image()


class _Figure:
    """A bird with all its joints in place.

    Attributes:
        stand: where the feet are on the canvas, (x, y).
        box: rows and columns of the canvas that hold the bird.
    """

    def __init__(self, bird: Bird) -> None:
        self.bird, self.parts = bird, SPECIES[bird.species]
        self.build = build = _BUILDS[self.parts.build]
        self.grounded = bird.place != "sky"
        base = np.array(build.neck[0])
        self.neck = base + rotate(np.array(build.neck) - base, 0.45 * bird.nod)
        self.head = self.neck[-1]
        self.rise = -1.1 + bird.beat
        reach = _BEAK_REACH[self.parts.beak[0]] + build.skull * 0.8
        length = _TAIL_LENGTH[self.parts.tail[0]]
        extremes = [
            *(self.head + build.skull * np.array([(1, -1), (-1, -1), (1, 1)])),
            self.head + rotate(np.array([reach, 1.0]), bird.nod),
            *(self.head + build.skull * rotate(np.array(_CREST_REACH[self.parts.crest[0]]), bird.nod)),
            np.add(build.feet, (3.0, 0.5)) if self.grounded else np.zeros(2),
            *(build.rump + length * _backwards(build.trail + turn) for turn in (-0.3, 0.3)),
            np.array(build.tip),
            *rotate(np.array([(build.body[0], 0), (0, build.body[1]), (-build.body[0], 0)]), build.lean),
        ]
        if bird.wings == "raised":
            extremes += [
                np.array(build.shoulder) + (_SPAN + 2.0) * _backwards(self.rise + turn)
                for turn in (0.2, 0.0, -0.5)
            ]
        corners = rotate(np.array(extremes), bird.tilt) * (1.0 if bird.facing == "right" else -1.0, 1.0)
        low, high = corners.min(0), corners.max(0)
        size = high - low
        self.scale = min(bird.extent / np.sqrt(size.prod()), 58.0 / size.max())
        room = IMAGE_SIZE - np.array([5.0, 6.5 if self.grounded else 5.0]) - self.scale * size
        self.origin = 2.5 + room * (bird.x, bird.y) - self.scale * low
        feet = rotate(np.array(build.feet), bird.tilt) * (1.0 if bird.facing == "right" else -1.0, 1.0)
        self.stand = self.origin + self.scale * feet
        first = np.maximum(self.origin + self.scale * low - 4, 0).astype(int)
        last = np.ceil(self.origin + self.scale * high + 4).astype(int)
        self.box = slice(first[1], last[1]), slice(first[0], last[0])

    def draw(self, canvas: Canvas) -> None:
        """Paint the bird, far parts first."""
        bird, parts, build = self.bird, self.parts, self.build
        local = (canvas.points - self.origin) / self.scale
        local = rotate(local * (1.0 if bird.facing == "right" else -1.0, 1.0), -bird.tilt)
        facing = rotate(local - self.head, -bird.nod) / build.skull  # the frame of the head, radius 1

        def paint(distance: Array, color: Array, opacity: float = 1.0, soft: float = 1.0) -> None:
            canvas.fill(distance * self.scale, color, opacity, soft)

        def outlined(distance: Array, color: Array) -> None:
            paint(distance - 0.5, color * 0.45, 0.55, 1.6)
            light = np.clip(-distance / 3.0, 0.0, 1.0) - 0.75
            paint(distance, color + (26.0 * light)[..., None])

        if bird.wings == "raised":
            outlined(self._raised(local, -0.5), self._color(parts.wing) * 0.8)
        outlined(_tail(local - build.rump, parts.tail[0], build.trail), self._color(parts.tail[1]))
        if self.grounded:
            self._legs(local, paint)
        if parts.crest[0] != "none":
            outlined(_crest(facing, parts.crest[0]) * build.skull, self._color(parts.crest[1]))
        beak = self._color(parts.beak[1], plumage=False)
        outlined(_beak(local - self.head, bird.nod, parts.beak[0], build.skull), beak)
        body = ellipse(local, (0, 0), build.body, build.lean)
        neck = stroke(local, self.neck, build.girth)
        skull = (_length(facing) - 1.0) * build.skull
        outlined(_melt(body, _melt(neck, skull, 1.5), 3.0), self._plumage(local, facing))
        self._eye(facing, paint)
        wing = self._raised(local, 0.0) if bird.wings == "raised" else self._folded(local)
        outlined(wing, self._wing(local))

    def _color(self, name: str, plumage: bool = True) -> Array:
        return np.clip(np.array(COLORS[name]) + (self.bird.tint if plumage else 0.0), 8.0, 252.0)

    def _plumage(self, local: Array, facing: Array) -> Array:
        """Colours of body and head per pixel, in levels."""
        parts, build = self.parts, self.build
        color = np.broadcast_to(self._color(parts.back), (*local.shape[:2], 3)).copy()

        def dye(distance: Array, name: str, soft: float = 1.2) -> None:
            share = np.clip(0.5 - distance / soft, 0.0, 1.0)[..., None]
            color[...] += share * (self._color(name) - color)

        belly = ellipse(
            local, build.belly, build.belly_radii, build.lean if build.body[0] > build.body[1] else 0.1
        )
        dye(belly, parts.belly, 1.8)
        if parts.marking[0] == "spots":
            for x, y in ((3, -2), (8, -1), (5.5, 2.5), (2.5, 6), (8, 6), (4.5, 9.5)):
                dye(_length(local - (x, y)) - 1.4, parts.marking[1])
        start = 1 if len(self.neck) > 2 else 0
        nape = self.neck[start] if start else 0.5 * (self.neck[0] + self.neck[1])
        width = self.build.girth[-1] + 1.0
        dye(stroke(local, [nape, self.head], [width, 2.0 * build.skull + 1.5]), parts.head)
        name, dyed = parts.marking
        if name == "bib":
            down = self.head + build.skull * rotate(np.array([0.55, 1.05]), 0.4 * self.bird.nod)
            dye(ellipse(local, down, (0.75 * build.skull, 0.85 * build.skull), 0.6), dyed)
        elif name == "collar":
            along = self.head - nape
            middle = self.head - along / np.linalg.norm(along) * 1.05 * build.skull
            side = np.array([along[1], -along[0]]) / np.linalg.norm(along) * 1.6 * build.skull
            dye(stroke(local, [middle - side, middle + side], 3.4), dyed)
        elif name in _FACE:
            dye(_FACE[name](facing) * build.skull, dyed)
        # light from above
        return color + np.clip(-12.0 - 1.4 * (local[..., 1] - 2.0), -20.0, 14.0)[..., None]

    def _eye(self, facing: Array, paint: Callable[..., None]) -> None:
        skull = self.build.skull
        offset = _length(facing - (0.34, -0.2)) * skull
        large = 1.35 if self.parts.marking[0] == "spots" else 1.0
        paint(offset - 1.95 * large, np.array((250.0, 244.0, 226.0)), 0.9)
        paint(offset - 1.35 * large, np.array((24.0, 22.0, 28.0)))
        glint = _length(facing - (0.42, -0.3)) * skull
        paint(glint - 0.5, np.array((255.0, 255.0, 255.0)), 0.9)

    def _legs(self, local: Array, paint: Callable[..., None]) -> None:
        x, y = self.build.feet
        color = (
            self._color("orange" if self.parts.beak[1] in ("orange", "yellow", "red") else "gray", False)
            * 0.8
        )
        thickness = 1.7
        for shift, shade in ((2.2, 0.75), (-1.4, 1.0)):
            top = (x + shift - 1.0, min(y - 5.0, 5.0))
            paint(stroke(local, [top, (x + shift, y - 0.6), (x + shift + 3.0, y)], thickness), color * shade)

    def _folded(self, local: Array) -> Array:
        build = self.build
        along = np.subtract(build.tip, build.shoulder)
        path = rotate(np.outer((0.0, 0.4, 1.0), along), 0.5 * self.bird.beat)
        return stroke(local, path + build.shoulder, (0.8 * build.breadth, build.breadth, 2.0))

    def _raised(self, local: Array, turn: float) -> Array:
        """Three long feathers spread from the shoulder."""
        shoulder = np.array(self.build.shoulder)
        feathers = []
        for spread, length in ((0.0, 1.0), (0.36, 0.88), (0.72, 0.7)):
            along = _SPAN * length * _backwards(self.rise + turn + spread)
            feathers.append(stroke(local, np.array([shoulder, shoulder + along]), (7.6, 4.0)))
        return _melt(_melt(feathers[0], feathers[1], 1.2), feathers[2], 1.2)

    def _wing(self, local: Array) -> Array:
        """Colours of the near wing per pixel, in levels."""
        shoulder = np.array(self.build.shoulder)
        if self.bird.wings == "raised":
            along = _backwards(self.rise + 0.3)
            length = _SPAN
        else:
            along = np.array(self.build.tip) - shoulder
            length = float(np.linalg.norm(along))
            along = along / length
        run = (local - shoulder) @ along / length
        color = self._color(self.parts.wing) + (10.0 - 34.0 * np.clip(run, 0.0, 1.0))[..., None]
        if self.parts.marking[0] == "bar":
            share = np.clip(0.5 - (np.abs(run - 0.32) * length - 1.9), 0.0, 1.0)[..., None]
            color += share * (self._color(self.parts.marking[1]) - color)
        return color


def _backwards(angle: float) -> Array:
    """Unit vector away from where the bird faces, turned down by radians."""
    return np.array([-np.cos(angle), np.sin(angle)])


def _length(vectors: Array) -> Array:
    return np.hypot(vectors[..., 0], vectors[..., 1])


def _melt(first: Array, second: Array, width: float) -> Array:
    """Union of two shapes by signed distance, with the notch between them filled over `width` pixels."""
    near = np.clip(0.5 + 0.5 * (second - first) / width, 0.0, 1.0)
    return second + near * (first - second) - width * near * (1.0 - near)


# Markings of the face in the frame of the head: signed distance to them, radius of the head 1.
_FACE: dict[str, Callable[[Array], Array]] = {
    "mask": lambda facing: stroke(facing, [(1.1, 0.1), (0.3, -0.1), (-0.5, -0.05)], (0.95, 0.85, 0.4)),
    "cap": lambda facing: facing[..., 1] + 0.32 + 0.1 * facing[..., 0],
    "cheek": lambda facing: ellipse(facing, (-0.05, 0.32), (0.72, 0.55), 0.1),
}

_BEAK_REACH = {"short": 5.5, "long": 13.5, "hooked": 5.0, "deep": 9.0, "flat": 8.0}


def _beak(offset: Array, nod: float, shape: str, skull: float) -> Array:
    """Signed distance to a beak; `offset` is from the middle of the head."""
    local = rotate(offset, -nod) - (0.8 * skull, 0.12 * skull)
    reach = _BEAK_REACH[shape]
    if shape == "short":
        return polygon(local, [(-1, -2.4), (reach, 0.4), (-1, 2.8)]) - 0.3
    if shape == "long":
        return stroke(local, [(-1, 0), (0.5 * reach, 0.4), (reach, 2.2)], (3.6, 2.6, 1.2))
    if shape == "hooked":
        return stroke(local, [(-1.5, -0.6), (0.5 * reach, -0.2), (0.8 * reach, 4.2)], (5.6, 4.6, 1.0))
    if shape == "deep":
        return stroke(local, [(-2, 0.4), (0.55 * reach, 0.2), (reach - 1, 2.6)], (9.0, 6.4, 1.6))
    return stroke(local, [(-1, 0), (0.5 * reach, 1.4), (reach - 1.5, 1.2)], (4.6, 3.2, 3.4))


_CREST_REACH: dict[str, list[Point]] = {
    "none": [(0.0, -1.0)],
    "peak": [(-0.75, -2.15)],
    "tufts": [(0.1, -1.6), (-0.65, -1.6)],
    "fan": [(0.62, -2.4), (-0.84, -2.35), (-2.0, -1.4)],
    "plume": [(-2.5, -0.1), (0.0, -1.15)],
}


def _crest(facing: Array, shape: str) -> Array:
    """Signed distance to a crest in the frame of the head, radius of the head 1."""
    if shape == "peak":
        return polygon(facing, [(0.75, -0.5), (-0.75, -2.05), (-0.95, -0.1)]) - 0.06
    if shape == "tufts":
        ears = [
            polygon(facing, [(x + 0.35, -0.6), (x - 0.25, -1.5), (x - 0.3, -0.6)]) - 0.06
            for x in (0.35, -0.4)
        ]
        return np.minimum(*ears)
    if shape == "fan":
        feathers = [
            stroke(facing, [(0.0, -0.3), (2.05 * np.sin(a), -2.05 * np.cos(a))], (0.7, 0.78))
            for a in (-0.95, -0.35, 0.25)
        ]
        return _melt(_melt(feathers[0], feathers[1], 0.15), feathers[2], 0.15)
    return stroke(facing, [(0.2, -0.7), (-1.1, -0.8), (-2.4, -0.1)], (0.6, 0.85, 0.25))


_TAIL_LENGTH = {"short": 9.0, "long": 17.0, "forked": 15.0}


def _tail(offset: Array, shape: str, trail: float) -> Array:
    """Signed distance to a tail; `offset` is from its root."""
    root, length = -4.0, _TAIL_LENGTH[shape]
    if shape == "forked":
        blades = [
            stroke(
                offset, np.array([root * _backwards(trail), length * _backwards(trail + turn)]), (5.0, 2.0)
            )
            for turn in (-0.28, 0.28)
        ]
        return _melt(blades[0], blades[1], 0.6)
    width = 6.4 if shape == "short" else 4.8
    return stroke(
        offset, np.array([root * _backwards(trail), (length - width / 2) * _backwards(trail)]), (6.5, width)
    )
