"""The parts of a portrait that all animals share: body, mane, ears, head, light, eyes, nose, mouth, whiskers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from guidebench.data.worlds.animals.head import Head, Place
from guidebench.data.worlds.animals.traits import EYES, PROPORTIONS, Animal, Backdrop, luma
from guidebench.data.worlds.drawing import Array, Canvas, Color, ellipse, gradient
from guidebench.data.worlds.world import IMAGE_SIZE

INK: Color = (38, 32, 36)
CREAM: Color = (250, 244, 234)
PINK: Color = (226, 146, 148)


@dataclass(frozen=True)
class _Form:
    """Measures of a kind, in units of half the head's width.

    Args:
        outline: corners of the right half of the head, from top to chin.
        fringe: length of the fur that stands out at the cheeks.
        ear_at: foot of the right ear.
        ear: length and half width of the ears.
        ear_turn: direction of the right ear from upright, radians.
        eye_at: middle of the right eye.
        eye: half axes of the eyes.
        eye_turn: slant of the right eye, radians; negative lifts its outer corner.
    """

    outline: tuple[Place, ...]
    fringe: float
    ear_at: Place
    ear: Place
    ear_turn: float
    eye_at: Place
    eye: Place
    eye_turn: float = 0.0


_FORMS: Mapping[str, _Form] = {
    "cat": _Form(
        ((0, -0.76), (0.55, -0.7), (0.92, -0.25), (1.0, 0.2), (0.72, 0.6), (0.3, 0.82), (0, 0.86)),
        *(0.07, (0.56, -0.5), (0.86, 0.36), 0.3, (0.42, -0.06), (0.22, 0.19), -0.2),
    ),
    "dog": _Form(
        ((0, -0.84), (0.5, -0.76), (0.8, -0.3), (0.78, 0.2), (0.6, 0.66), (0.36, 0.98), (0, 1.06)),
        *(0.02, (0.5, -0.56), (0.74, 0.3), 0.32, (0.38, -0.12), (0.16, 0.16)),
    ),
    "tiger": _Form(
        ((0, -0.8), (0.55, -0.74), (0.9, -0.28), (1.04, 0.25), (0.9, 0.66), (0.42, 0.92), (0, 0.96)),
        *(0.12, (0.66, -0.58), (0.42, 0.3), 0.62, (0.4, -0.1), (0.19, 0.16), -0.3),
    ),
    "lion": _Form(
        ((0, -0.82), (0.5, -0.76), (0.82, -0.3), (0.84, 0.2), (0.66, 0.72), (0.38, 1.04), (0, 1.1)),
        *(0.0, (0.66, -0.62), (0.44, 0.32), 0.68, (0.4, -0.1), (0.21, 0.17), -0.28),
    ),
    "bear": _Form(
        ((0, -0.86), (0.6, -0.76), (0.98, -0.25), (1.04, 0.3), (0.78, 0.74), (0.36, 0.92), (0, 0.95)),
        *(0.04, (0.72, -0.6), (0.44, 0.32), 0.75, (0.38, -0.12), (0.13, 0.13)),
    ),
    "squirrel": _Form(
        ((0, -0.74), (0.45, -0.66), (0.78, -0.25), (0.92, 0.25), (0.7, 0.66), (0.3, 0.84), (0, 0.88)),
        *(0.03, (0.46, -0.48), (0.7, 0.23), 0.12, (0.45, -0.1), (0.19, 0.2)),
    ),
    "fox": _Form(
        ((0, -0.7), (0.5, -0.66), (0.82, -0.25), (1.1, 0.26), (0.62, 0.6), (0.24, 1.0), (0, 1.12)),
        *(0.06, (0.54, -0.46), (0.98, 0.36), 0.26, (0.4, -0.08), (0.19, 0.16), -0.35),
    ),
    "badger": _Form(
        ((0, -0.8), (0.45, -0.73), (0.8, -0.28), (0.86, 0.2), (0.6, 0.62), (0.3, 1.0), (0, 1.12)),
        *(0.0, (0.66, -0.5), (0.3, 0.22), 0.85, (0.4, -0.06), (0.13, 0.13)),
    ),
    "raccoon": _Form(
        ((0, -0.76), (0.55, -0.7), (0.9, -0.25), (1.14, 0.26), (0.72, 0.62), (0.28, 0.94), (0, 1.02)),
        *(0.12, (0.62, -0.56), (0.52, 0.3), 0.42, (0.4, -0.06), (0.14, 0.14)),
    ),
}


_POINTED: tuple[Place, ...] = ((-1, -0.1), (-0.8, 0.35), (-0.12, 0.98), (0.12, 0.98), (0.8, 0.35), (1, -0.1))
"""Corners of a pointed ear: across in half widths, up in lengths."""


class Portrait:
    """One animal's canvas, head, measures and colours, and the parts that all kinds share."""

    def __init__(self, animal: Animal) -> None:
        self.animal = animal
        self.rng = np.random.default_rng(animal.detail)
        self.canvas = Canvas(_background(animal.backdrop, self.rng))
        self.head = Head(self.canvas, animal)
        self.form = _FORMS[animal.kind]
        self.factor = dict(zip(PROPORTIONS, animal.proportions, strict=True))
        self.coat = animal.coat
        self.luma = luma(animal.coat)
        self.pale = mix(animal.coat, CREAM, 0.72)
        self.shade = mix(animal.coat, INK, 0.3)
        self.deep = mix(animal.coat, INK, 0.75)

    def body(self) -> None:
        """Neck and shoulders, the mane of a lion, the tail of a squirrel."""
        animal, head = self.animal, self.head
        middle = head.project([(0.0, 1.0)], 0.0)[0, 0]
        broad = (1.15 if animal.kind == "badger" else 0.95) * animal.size
        if animal.kind == "squirrel":
            self._tail(float(self.rng.choice((-1.0, 1.0))))
        coat = gradient(self.canvas.points, mix(self.coat, INK, 0.16), -16.0, np.pi / 2)
        self.canvas.fill(ellipse(self.canvas.points, (middle, 68.0), (broad, 26.0)), coat, soft=1.5)
        bib = {"fox": CREAM, "raccoon": self.pale, "squirrel": CREAM, "tiger": CREAM}.get(animal.kind)
        if bib is not None:
            spread = (0.45 * animal.size, 16.0)
            self.canvas.fill(ellipse(self.canvas.points, (middle, 66.0), spread), bib, 0.9, soft=3.0)
        if animal.mane is not None:
            self._mane(
                mix(self.coat, (70, 42, 30), 0.8)
                if animal.mane == "dark"
                else mix(self.coat, (222, 160, 88), 0.7)
            )

    def _tail(self, side: float) -> None:
        path = [(0.7, 1.9), (1.15, 1.4), (1.28, 0.8), (1.22, 0.2), (1.38, -0.22)]
        for color, part, soft in ((self.shade, 1.0, 2.0), (self.coat, 0.62, 5.0)):
            widths = [part * width for width in (0.5, 0.72, 0.78, 0.66, 0.4)]
            self.head.line(color, [(side * x, y) for x, y in path], widths, depth=-0.3, soft=soft)

    def _mane(self, color: Color) -> None:
        degrees = np.radians(np.arange(360.0))
        start = self.rng.uniform(0.0, 2 * np.pi, 3)
        locks = 0.16 - 0.08 * (
            np.abs(np.sin(7.0 * degrees + start[0])) + np.abs(np.sin(11.0 * degrees + start[1]))
        )
        wide = 1.3 * self.factor["width"]
        top, bottom = ((0, -1.2), (0.72, -1.1)), ((1.06, 1.06), (0.52, 1.48), (0, 1.6))
        distance = self.head.outline((*top, (wide, -0.45), (wide + 0.06, 0.35), *bottom), locks)
        angle = np.arctan2(self.head.local[..., 1], self.head.local[..., 0])
        radius = np.linalg.norm(self.head.local, axis=-1)
        strands = 0.05 * np.sin(18.0 * angle + start[0]) + 0.03 * np.sin(29.0 * angle + start[2])
        tone = 0.78 + 0.26 * np.clip(radius - 0.7, 0.0, 0.8) + strands * np.clip(radius - 0.6, 0.0, 1.0)
        self.canvas.fill(distance, np.asarray(color) * (tone * self._lit())[..., None])

    def ears(self) -> None:
        """Both ears, behind the head; floppy ones come later."""
        outer, inner = self._ear_colors()
        length, half = (
            self.form.ear[0] * self.factor["ear length"],
            self.form.ear[1] * self.factor["ear width"],
        )
        for side in (-1.0, 1.0):
            color = self._lit_ear(outer, side)
            if self.animal.ears == "round":
                turn, middle = side * self.form.ear_turn, self._on_ear(side, 0.0, 0.35 * length)
                self.head.spot(color, middle, (half, 0.78 * length), turn, depth=-0.15)
                self.head.spot(inner, middle, (0.58 * half, 0.5 * length), turn, depth=-0.1, soft=2.0)
            elif self.animal.ears == "pointed":
                for paint, part, soft in ((color, 1.0, 1.0), (inner, 0.62, 1.8)):
                    corners = [
                        self._on_ear(side, across * half * part, up * length * part)
                        for across, up in _POINTED
                    ]
                    self.head.patch(paint, corners, depth=-0.15, soft=soft)

    def floppy_ears(self) -> None:
        """Both ears where they hang down, before the head."""
        if self.animal.ears != "floppy":
            return
        length, half = 1.15 * self.factor["ear length"], 0.27 * self.factor["ear width"]
        outer = ((0.45, -0.78), (0.8, -0.66), (0.86 + half, -0.1), (0.8 + half, length - 0.6))
        inner = ((0.72 + 0.2 * half, length - 0.52), (0.66, 0.0))
        color = mix(self.coat, INK, 0.28)
        for side in (-1.0, 1.0):
            corners = [(side * x, y) for x, y in (*outer, *inner)]
            self.head.patch(self._lit_ear(color, side), corners, depth=0.05)

    def _ear_colors(self) -> tuple[Color, Color]:
        """Outside and inside."""
        match self.animal.kind:
            case "tiger":
                return self.coat, CREAM
            case "bear":
                return self.coat, self.shade
            case "fox":
                return self.deep, self.pale
            case "badger":
                return INK, CREAM
            case "raccoon":
                return CREAM, self.deep
            case _:
                return self.coat, mix(self.coat, PINK, 0.6)

    def _lit_ear(self, color: Color, side: float) -> Color:
        return mix(
            color,
            CREAM if side * np.cos(self.animal.light) > 0 else INK,
            0.12 * abs(np.cos(self.animal.light)),
        )

    def _on_ear(self, side: float, across: float, up: float) -> Place:
        """The place across and up along an ear from its foot."""
        cos, sin = np.cos(self.form.ear_turn), np.sin(self.form.ear_turn)
        x, y = self.form.ear_at
        return side * (x + across * cos + up * sin), y + across * sin - up * cos

    def face(self) -> None:
        """The head in the colour of the coat; what follows stays on it until the light is set."""
        degrees = np.radians(np.arange(360.0))
        start = self.rng.uniform(0.0, 2 * np.pi)
        at_cheeks = np.exp(-(((np.abs(degrees - np.pi / 2) - 0.95) / 0.5) ** 2))
        fringe = self.form.fringe * at_cheeks * (1.0 - np.abs(np.sin(10.0 * degrees + start)))
        stretch = (self.factor["width"], self.factor["height"])
        outline = [(x * stretch[0], y * stretch[1]) for x, y in self.form.outline]
        self.head.inside = self.head.outline(outline, fringe)
        self.canvas.fill(self.head.inside + 0.5, self.shade, 0.35, soft=6.0)
        self.canvas.fill(self.head.inside, self.coat)

    def light(self) -> None:
        """Shade the face as a ball lit from a side, darker at its rim; later paint may leave the head."""
        rim = np.clip(1.0 + self.head.inside / (0.3 * self.animal.size), 0.0, 1.0)
        lit = self._lit() * (1.0 - 0.16 * rim**2)
        coverage = np.clip(0.5 - self.head.inside, 0.0, 1.0)
        self.canvas.pixels *= (1.0 + coverage * (lit - 1.0))[..., None]
        self.head.inside = np.full_like(self.head.inside, -np.inf)

    def _lit(self) -> Array:
        towards = np.array([np.cos(self.animal.light), np.sin(self.animal.light)])
        lit: Array = 1.03 + 0.12 * np.clip(self.head.local @ towards, -1.2, 1.2)
        return lit

    def eyes(self) -> None:
        """Both eyes: rim, iris, pupil, glint."""
        animal, head, form = self.animal, self.head, self.form
        x, y = form.eye_at[0] * self.factor["eye distance"], form.eye_at[1]
        across, high = form.eye[0] * self.factor["eyes"], form.eye[1] * self.factor["eyes"]
        head.spots(self.deep, (x, y), (across + 0.045, high + 0.045), form.eye_turn, soft=1.3)
        head.spots(EYES[animal.eyes], (x, y), (across, high), form.eye_turn)
        if animal.eyes != "black":
            pupil = (0.3 * high, 0.9 * high) if animal.kind in ("cat", "fox") else (0.5 * high, 0.55 * high)
            head.spots(INK, (x, y), pupil)
        for side in (-1.0, 1.0):
            at = (side * x + 0.35 * high * np.cos(animal.light), y - 0.4 * high)
            head.spot((255, 255, 255), at, (0.05, 0.05), opacity=0.95)

    def nose(self, y: float, half: float, color: Color) -> None:
        """A rounded triangle with a glint, its middle at a height on the face."""
        half *= self.factor["muzzle"]
        tall = 0.8 * half
        corners = (
            (-half, y - 0.5 * tall),
            (0, y - 0.72 * tall),
            (half, y - 0.5 * tall),
            (0.45 * half, y + 0.4 * tall),
        )
        self.head.patch(color, (*corners, (0, y + 0.75 * tall), (-0.45 * half, y + 0.4 * tall)))
        self.head.spot(CREAM, (-0.2 * half, y - 0.35 * tall), (0.3 * half, 0.14 * tall), opacity=0.45)

    def mouth(self, y: float, half: float) -> None:
        """A short line down from the nose that parts to both sides."""
        half *= self.factor["muzzle"]
        self.head.line(INK, ((0, y - 0.14), (0, y)), 0.045, opacity=0.8)
        lip = ((0, y), (0.4 * half, y + 0.07), (0.8 * half, y + 0.06), (half, y))
        self.head.lines(INK, lip, 0.045, opacity=0.8)

    def whiskers(self, y: float, reach: float) -> None:
        """Three thin hairs on each side, lighter or darker than what is behind."""
        behind = np.mean(self.animal.backdrop.color)
        color: Color = (90, 84, 88) if behind > 130 else (245, 243, 240)
        for lift in (-0.14, 0.0, 0.13):
            path = ((0.34, y + 0.4 * lift), (0.7, y + lift), (reach, y + 1.3 * lift + 0.05))
            self.head.lines(color, path, (0.035, 0.03, 0.01), depth=0.35, opacity=0.55)

    def wobble(self, amount: float = 0.03) -> float:
        """A small irregularity."""
        return float(self.rng.uniform(-amount, amount))


# --------------------------------------------------------------------------------------- background


def _background(backdrop: Backdrop, rng: np.random.Generator) -> Array:
    centres = np.arange(IMAGE_SIZE) + 0.5
    points: Array = np.stack(np.meshgrid(centres, centres), axis=-1)
    color, change = backdrop.color, backdrop.change
    if backdrop.style == "graded":
        return gradient(points, color, change, backdrop.angle)
    if backdrop.style == "glow":
        middle = np.array([32.0 + 10.0 * np.cos(backdrop.angle), 28.0 + 10.0 * np.sin(backdrop.angle)])
        near = np.exp(-((points - middle) ** 2).sum(axis=-1) / 700.0)
        glow: Array = np.asarray(color) + (change * (2.0 * near - 0.6))[..., None]
        return glow
    canvas = Canvas(gradient(points, color, 0.5 * change, backdrop.angle))
    lighter = _shift(color, change)
    if backdrop.style == "floor":
        side = (points[..., 0] - 32.0) * 0.12 * np.cos(backdrop.angle)
        canvas.fill(
            44.0 + 5.0 * np.sin(backdrop.angle) + side - points[..., 1],
            _shift(color, -1.3 * change),
            soft=4.0,
        )
    else:
        for _ in range(6):
            at, radius = rng.uniform(0.0, IMAGE_SIZE, 2), rng.uniform(5.0, 10.0)
            canvas.fill(np.linalg.norm(points - at, axis=-1) - radius, lighter, 0.55, soft=4.0)
    return canvas.pixels


# ------------------------------------------------------------------------------------------ colours


def mix(color: Color, other: Color, part: float) -> Color:
    """A colour with a part (0 to 1) of another."""
    mixed: Color = tuple((np.asarray(color) * (1.0 - part) + np.asarray(other) * part).tolist())
    return mixed


def _shift(color: Color, change: float) -> Color:
    shifted: Color = tuple((np.asarray(color) + change).tolist())
    return shifted
