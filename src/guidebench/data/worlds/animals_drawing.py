"""Drawing of animals: every kind has its outline, markings and muzzle, and all share the layout of the face."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.animals_head import Head, Place
from guidebench.data.worlds.animals_traits import EYES, PROPORTIONS, Animal, Backdrop
from guidebench.data.worlds.drawing import Array, Canvas, Color, ellipse, gradient
from guidebench.data.worlds.world import IMAGE_SIZE

_INK: Color = (38, 32, 36)
_CREAM: Color = (250, 244, 234)
_PINK: Color = (226, 146, 148)


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
        *(0.05, (0.56, -0.5), (0.86, 0.36), 0.3, (0.42, -0.06), (0.22, 0.19), -0.2),
    ),
    "dog": _Form(
        ((0, -0.84), (0.5, -0.76), (0.8, -0.3), (0.78, 0.2), (0.6, 0.66), (0.36, 0.98), (0, 1.06)),
        *(0.02, (0.5, -0.56), (0.74, 0.3), 0.32, (0.38, -0.12), (0.16, 0.16)),
    ),
    "tiger": _Form(
        ((0, -0.8), (0.55, -0.74), (0.9, -0.28), (1.04, 0.25), (0.9, 0.66), (0.42, 0.92), (0, 0.96)),
        *(0.09, (0.66, -0.58), (0.42, 0.3), 0.62, (0.4, -0.12), (0.17, 0.13), -0.3),
    ),
    "lion": _Form(
        ((0, -0.82), (0.5, -0.76), (0.82, -0.3), (0.84, 0.2), (0.66, 0.72), (0.38, 1.04), (0, 1.1)),
        *(0.0, (0.66, -0.62), (0.44, 0.32), 0.68, (0.4, -0.12), (0.18, 0.13), -0.28),
    ),
    "bear": _Form(
        ((0, -0.86), (0.6, -0.76), (0.98, -0.25), (1.04, 0.3), (0.78, 0.74), (0.36, 0.92), (0, 0.95)),
        *(0.04, (0.72, -0.6), (0.44, 0.32), 0.75, (0.36, -0.12), (0.11, 0.11)),
    ),
    "squirrel": _Form(
        ((0, -0.74), (0.45, -0.66), (0.78, -0.25), (0.92, 0.25), (0.7, 0.66), (0.3, 0.84), (0, 0.88)),
        *(0.03, (0.44, -0.5), (0.84, 0.23), 0.14, (0.52, -0.1), (0.2, 0.2)),
    ),
    "fox": _Form(
        ((0, -0.7), (0.5, -0.66), (0.82, -0.25), (1.1, 0.26), (0.62, 0.6), (0.24, 1.0), (0, 1.12)),
        *(0.06, (0.54, -0.46), (0.98, 0.36), 0.26, (0.4, -0.08), (0.17, 0.13), -0.4),
    ),
    "badger": _Form(
        ((0, -0.8), (0.45, -0.73), (0.8, -0.28), (0.86, 0.2), (0.6, 0.62), (0.3, 1.0), (0, 1.12)),
        *(0.03, (0.66, -0.5), (0.3, 0.22), 0.85, (0.4, -0.06), (0.11, 0.11)),
    ),
    "raccoon": _Form(
        ((0, -0.76), (0.55, -0.7), (0.9, -0.25), (1.14, 0.26), (0.72, 0.62), (0.28, 0.94), (0, 1.02)),
        *(0.09, (0.62, -0.56), (0.52, 0.3), 0.42, (0.4, -0.06), (0.14, 0.14)),
    ),
}


def render(animal: Animal) -> NDArray[np.uint8]:
    """Draw a portrait, anti-aliased: RGB, `uint8` of shape (64, 64, 3)."""
    portrait = _Portrait(animal)
    portrait.body()
    portrait.ears()
    portrait.face()
    _FACES[animal.kind](portrait)
    portrait.light()
    portrait.eyes()
    _MUZZLES[animal.kind](portrait)
    return portrait.canvas.image()


class _Portrait:
    """One animal's canvas, head, measures and colours, and the parts that all kinds share."""

    def __init__(self, animal: Animal) -> None:
        self.animal = animal
        self.rng = np.random.default_rng(animal.detail)
        self.canvas = Canvas(_background(animal.backdrop, self.rng))
        self.head = Head(self.canvas, animal)
        self.form = _FORMS[animal.kind]
        self.factor = dict(zip(PROPORTIONS, animal.proportions, strict=True))
        self.coat = animal.coat
        self.pale = _mix(animal.coat, _CREAM, 0.72)
        self.shade = _mix(animal.coat, _INK, 0.3)
        self.deep = _mix(animal.coat, _INK, 0.75)

    def body(self) -> None:
        """Neck and shoulders, and the mane of a lion."""
        animal, head = self.animal, self.head
        middle = head.project([(0.0, 1.0)], 0.0)[0, 0]
        broad = (1.15 if animal.kind == "badger" else 0.95) * animal.size
        coat = gradient(self.canvas.points, _mix(self.coat, _INK, 0.16), -16.0, np.pi / 2)
        self.canvas.fill(ellipse(self.canvas.points, (middle, 68.0), (broad, 26.0)), coat, soft=1.5)
        bib = {"fox": _CREAM, "raccoon": self.pale, "squirrel": _CREAM, "tiger": _CREAM}.get(animal.kind)
        if bib is not None:
            spread = (0.45 * animal.size, 16.0)
            self.canvas.fill(ellipse(self.canvas.points, (middle, 66.0), spread), bib, 0.9, soft=3.0)
        if animal.mane is not None:
            self._mane(_mix(self.coat, (70, 42, 30), 0.8) if animal.mane == "dark" else (222, 160, 88))

    def _mane(self, color: Color) -> None:
        degrees = np.radians(np.arange(360.0))
        start = self.rng.uniform(0.0, 2 * np.pi, 3)
        lock = 0.06 * np.abs(np.sin(9.0 * degrees + start[0])) + 0.03 * np.sin(5.0 * degrees + start[1])
        wide = 1.38 * self.factor["width"]
        corners = (
            (0, -1.22),
            (0.75, -1.12),
            (wide, -0.45),
            (wide + 0.06, 0.35),
            (1.1, 1.1),
            (0.55, 1.5),
            (0, 1.62),
        )
        distance = self.head.outline(corners, lock)
        angle = np.arctan2(self.head.local[..., 1], self.head.local[..., 0])
        strands = 0.06 * np.sin(22.0 * angle + start[2]) + 0.04 * np.sin(35.0 * angle + start[0])
        radius = np.linalg.norm(self.head.local, axis=-1)
        tone = 0.86 + 0.2 * np.clip(radius - 0.75, 0.0, 0.8) + strands * np.clip(radius - 0.7, 0.0, 1.0)
        self.canvas.fill(distance, np.asarray(color) * (tone * self._lit())[..., None])

    def ears(self) -> None:
        """Both ears, behind the head."""
        animal, head, form = self.animal, self.head, self.form
        length, half = form.ear[0] * self.factor["ear length"], form.ear[1] * self.factor["ear width"]
        outer, inner = _EAR_COLORS.get(
            animal.kind, lambda portrait: (portrait.coat, _mix(portrait.coat, _PINK, 0.6))
        )(self)
        for side in (-1.0, 1.0):
            lit = 1.0 + 0.1 * side * np.cos(animal.light)
            color = _scale(outer, lit)
            place = _ear_frame(form.ear_at, side, form.ear_turn)
            if animal.ears == "round":
                middle = place(0.0, 0.35 * length)
                head.spot(color, middle, (half, 0.78 * length), side * form.ear_turn, depth=-0.15)
                middle = place(0.0, 0.34 * length)
                head.spot(
                    inner, middle, (0.58 * half, 0.5 * length), side * form.ear_turn, depth=-0.1, soft=2.0
                )
            elif animal.ears == "pointed":
                for paint, part, soft in ((color, 1.0, 1.0), (inner, 0.62, 1.8)):
                    corners = [
                        place(along * half * part, up * length * part)
                        for along, up in (
                            (-1, -0.1),
                            (-0.8, 0.35),
                            (-0.12, 0.98),
                            (0.12, 0.98),
                            (0.8, 0.35),
                            (1, -0.1),
                        )
                    ]
                    head.patch(paint, corners, depth=-0.15, soft=soft)

    def _floppy_ears(self) -> None:
        length, half = 1.15 * self.factor["ear length"], 0.27 * self.factor["ear width"]
        color = _mix(self.coat, _INK, 0.28)
        for side in (-1.0, 1.0):
            corners = [
                (side * x, y)
                for x, y in (
                    (0.45, -0.78),
                    (0.8, -0.66),
                    (0.86 + half, -0.1),
                    (0.8 + half, length - 0.6),
                    (0.72 + 0.2 * half, length - 0.52),
                    (0.66, 0.0),
                )
            ]
            self.head.patch(_scale(color, 1.0 + 0.1 * side * np.cos(self.animal.light)), corners, depth=0.05)

    def face(self) -> None:
        """The head in the colour of the coat; what follows stays on it until the light is set."""
        degrees = np.radians(np.arange(360.0))
        start = self.rng.uniform(0.0, 2 * np.pi)
        at_cheeks = np.exp(-(((np.abs(degrees - np.pi / 2) - 0.95) / 0.5) ** 2))
        fringe = self.form.fringe * at_cheeks * np.abs(np.sin(10.0 * degrees + start))
        stretch = (self.factor["width"], self.factor["height"])
        outline = [(x * stretch[0], y * stretch[1]) for x, y in self.form.outline]
        self.head.inside = self.head.outline(outline, fringe)
        self.canvas.fill(self.head.inside + 0.5, self.shade, 0.35, soft=6.0)
        self.canvas.fill(self.head.inside, self.coat)

    def light(self) -> None:
        """Shade the face as a ball lit from a side, darker at its rim."""
        rim = np.clip(1.0 + self.head.inside / (0.3 * self.animal.size), 0.0, 1.0)
        lit = self._lit() * (1.0 - 0.16 * rim**2)
        coverage = np.clip(0.5 - self.head.inside, 0.0, 1.0)
        self.canvas.pixels *= (1.0 + coverage * (lit - 1.0))[..., None]
        if self.animal.ears == "floppy":
            self.head.inside = np.full_like(self.head.inside, -np.inf)
            self._floppy_ears()

    def _lit(self) -> Array:
        towards = np.array([np.cos(self.animal.light), np.sin(self.animal.light)])
        lit: Array = 1.03 + 0.12 * np.clip(self.head.local @ towards, -1.2, 1.2)
        return lit

    def eyes(self) -> None:
        """Both eyes: rim, iris, pupil, glint."""
        animal, head, form = self.animal, self.head, self.form
        x, y = form.eye_at[0] * self.factor["eye distance"], form.eye_at[1]
        across, high = form.eye[0] * self.factor["eyes"], form.eye[1] * self.factor["eyes"]
        head.spots(_INK, (x, y), (across + 0.05, high + 0.05), form.eye_turn)
        head.spots(EYES[animal.eyes], (x, y), (across, high), form.eye_turn)
        if animal.eyes != "black":
            narrow = 0.34 if animal.kind in ("cat", "fox") else 0.5
            head.spots(_INK, (x, y), (narrow * high, (0.9 if narrow < 0.4 else 0.5) * high))
        glint = 0.35 * high
        for side in (-1.0, 1.0):
            at = (side * x + glint * np.cos(animal.light), y - glint)
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
        self.head.spot(_CREAM, (-0.2 * half, y - 0.35 * tall), (0.3 * half, 0.14 * tall), opacity=0.45)

    def mouth(self, y: float, half: float, color: Color) -> None:
        """A short line down from the nose that parts to both sides."""
        half *= self.factor["muzzle"]
        self.head.line(color, ((0, y - 0.14), (0, y)), 0.045, opacity=0.8)
        self.head.lines(
            color, ((0, y), (0.4 * half, y + 0.07), (0.8 * half, y + 0.06), (half, y)), 0.045, opacity=0.8
        )

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


# ---------------------------------------------------------------------------- markings, under the light


def _cat(p: _Portrait) -> None:
    if p.animal.blaze:
        p.head.patch(
            _CREAM,
            ((0, -0.45), (0.12, -0.1), (0.4, 0.3), (0.5, 0.9), (-0.5, 0.9), (-0.4, 0.3), (-0.12, -0.1)),
            soft=1.5,
        )
    if p.animal.striped:
        stripe = _mix(p.coat, (60, 34, 22), 0.62)
        p.head.line(stripe, ((0, -0.8), (p.wobble(), -0.4)), (0.16, 0.07))
        p.head.lines(stripe, ((0.26, -0.8), (0.24 + p.wobble(), -0.36)), (0.15, 0.06))
        for y in (0.08, 0.32):
            p.head.lines(
                stripe, ((1.1, y - 0.1), (0.85, y + p.wobble()), (0.66, y + 0.05)), (0.17, 0.12, 0.04)
            )
    p.head.spots(p.pale if not p.animal.blaze else _CREAM, (0.2, 0.44), (0.27, 0.21), soft=2.0, opacity=0.85)


def _dog(p: _Portrait) -> None:
    if p.animal.blaze:
        p.head.patch(
            _CREAM,
            (
                (0, -0.95),
                (0.14, -0.4),
                (0.16, 0.0),
                (0.45, 0.4),
                (0.45, 1.1),
                (-0.45, 1.1),
                (-0.45, 0.4),
                (-0.16, 0.0),
                (-0.14, -0.4),
            ),
            soft=1.5,
        )
    if p.animal.patch:
        p.head.spot(
            p.deep if np.mean(p.coat) > 90 else (150, 96, 58),
            (0.42 * p.animal.patch, -0.14),
            (0.34, 0.38),
            soft=2.0,
        )
    p.head.spot(_CREAM if p.animal.blaze else p.pale, (0, 0.58), (0.44, 0.42), soft=2.5, opacity=0.9)
    if np.mean(p.coat) < 110:
        p.head.spots((190, 124, 74), (0.34, -0.4), (0.12, 0.08), soft=1.5)


def _tiger(p: _Portrait) -> None:
    p.head.spots(_CREAM, (0.36, -0.34), (0.22, 0.15), -0.2, soft=2.0)
    p.head.spots(_CREAM, (0.84, 0.5), (0.28, 0.34), 0.3, soft=2.5)
    for index, y in enumerate((-0.74, -0.58, -0.42)):
        p.head.line(
            _INK,
            ((-0.34 + 0.07 * index, y - 0.06), (0, y + 0.05 + p.wobble()), (0.34 - 0.07 * index, y - 0.06)),
            (0.03, 0.1, 0.03),
        )
    for y, inner in ((-0.34, 0.7), (-0.04, 0.68), (0.26, 0.62), (0.54, 0.6)):
        p.head.lines(
            _INK,
            ((1.15, y - 0.06), (0.9, y + p.wobble()), (inner + p.wobble(), y + 0.08)),
            (0.16, 0.12, 0.03),
        )
    p.head.spots(_CREAM, (0.2, 0.48), (0.28, 0.24), soft=1.5)
    p.head.spot(_CREAM, (0, 0.76), (0.3, 0.2), soft=1.5)


def _lion(p: _Portrait) -> None:
    p.head.spots(p.pale, (0.36, 0.06), (0.2, 0.12), soft=2.5, opacity=0.7)
    p.head.patch(
        _mix(p.coat, (150, 96, 56), 0.3), ((-0.13, -0.3), (0.13, -0.3), (0.22, 0.3), (-0.22, 0.3)), soft=2.5
    )
    p.head.spots(_CREAM, (0.22, 0.52), (0.3, 0.24), soft=1.8, opacity=0.9)
    p.head.spot(_CREAM, (0, 0.86), (0.3, 0.22), soft=1.8)


def _bear(p: _Portrait) -> None:
    tan = (206, 160, 116) if np.mean(p.coat) < 180 else (250, 247, 242)
    p.head.spot(_mix(p.coat, tan, 0.8), (0, 0.46), (0.5, 0.4), soft=2.0)
    p.head.spots(p.shade, (0.36, -0.12), (0.22, 0.22), soft=4.0, opacity=0.6)


def _squirrel(p: _Portrait) -> None:
    p.head.spots(_CREAM, (0.52, -0.1), (0.31, 0.31), soft=1.8)
    p.head.spots(_CREAM, (0.44, 0.5), (0.36, 0.3), soft=2.5, opacity=0.9)
    p.head.spot(p.pale, (0, 0.6), (0.3, 0.26), soft=2.0)
    p.head.patch(p.shade, ((-0.14, -0.8), (0.14, -0.8), (0.13, 0.1), (-0.13, 0.1)), soft=3.0, opacity=0.7)


def _fox(p: _Portrait) -> None:
    white = _CREAM if p.animal.fur != "white" else (252, 252, 252)
    p.head.patches(
        white,
        ((0.14, 0.32), (0.42, 0.16), (0.8, 0.1), (1.2, 0.3), (0.8, 0.8), (0.2, 1.2), (0.06, 0.8)),
        soft=1.3,
    )
    p.head.lines(p.deep, ((0.3, 0.06), (0.17, 0.5)), (0.04, 0.1), soft=1.5, opacity=0.55)


def _badger(p: _Portrait) -> None:
    p.head.patch(_CREAM, ((-1.3, -1.1), (1.3, -1.1), (1.3, 0.4), (0.5, 1.3), (-0.5, 1.3), (-1.3, 0.4)))
    band = ((0.36, -1.0), (0.74, -0.7), (0.66, -0.1), (0.42, 0.4), (0.2, 0.62), (0.2, 0.3), (0.24, -0.2))
    p.head.patches(_INK, band, soft=1.3)
    p.head.patches(p.coat, ((0.95, -0.3), (1.2, 0.0), (0.95, 0.75), (0.72, 0.68), (0.82, 0.2)), soft=1.6)


def _raccoon(p: _Portrait) -> None:
    p.head.patches(
        _CREAM, ((0.1, -0.2), (0.3, -0.42), (0.62, -0.36), (0.98, 0.0), (0.9, 0.16), (0.4, 0.0)), soft=1.5
    )
    p.head.patches(_CREAM, ((0.0, 0.3), (0.4, 0.3), (1.2, 0.4), (0.7, 0.9), (0.2, 1.1), (0.0, 1.1)), soft=1.5)
    p.head.patches(
        _INK,
        ((0.14, -0.14), (0.42, -0.28), (0.78, -0.06), (1.1, 0.34), (0.72, 0.42), (0.42, 0.22), (0.18, 0.16)),
        soft=1.4,
    )
    p.head.patch(p.deep, ((-0.1, -0.8), (0.1, -0.8), (0.12, 0.3), (-0.12, 0.3)), soft=2.0, opacity=0.8)


_FACES: Mapping[str, Callable[[_Portrait], None]] = {
    "cat": _cat,
    "dog": _dog,
    "tiger": _tiger,
    "lion": _lion,
    "bear": _bear,
    "squirrel": _squirrel,
    "fox": _fox,
    "badger": _badger,
    "raccoon": _raccoon,
}


# ---------------------------------------------------------------------------- nose and mouth, on top


def _cat_muzzle(p: _Portrait) -> None:
    p.nose(0.3, 0.15, _PINK if np.mean(p.coat) > 80 else (120, 84, 88))
    p.mouth(0.52, 0.28, _INK)
    p.whiskers(0.42, 1.25)


def _dog_muzzle(p: _Portrait) -> None:
    if p.animal.tongue:
        p.head.patch((232, 110, 124), ((-0.17, 0.72), (0.17, 0.72), (0.2, 1.02), (0.0, 1.16), (-0.2, 1.02)))
        p.head.line((196, 80, 98), ((0, 0.76), (0, 1.0)), 0.05, opacity=0.7)
    p.nose(0.42, 0.25, _INK)
    p.mouth(0.72, 0.36, _INK)


def _tiger_muzzle(p: _Portrait) -> None:
    p.nose(0.3, 0.21, (214, 120, 112))
    p.mouth(0.58, 0.34, _INK)
    p.whiskers(0.46, 1.1)


def _lion_muzzle(p: _Portrait) -> None:
    p.nose(0.34, 0.25, (104, 66, 58))
    p.mouth(0.64, 0.36, _INK)


def _bear_muzzle(p: _Portrait) -> None:
    p.nose(0.32, 0.24, _INK)
    p.mouth(0.62, 0.26, _INK)


def _squirrel_muzzle(p: _Portrait) -> None:
    p.nose(0.34, 0.12, (150, 92, 84))
    p.mouth(0.56, 0.2, (92, 60, 54))
    p.whiskers(0.46, 1.15)


def _fox_muzzle(p: _Portrait) -> None:
    p.nose(0.72, 0.17, _INK)
    p.mouth(0.94, 0.2, _INK)


def _badger_muzzle(p: _Portrait) -> None:
    p.nose(0.66, 0.22, _INK)
    p.mouth(0.92, 0.22, _INK)


def _raccoon_muzzle(p: _Portrait) -> None:
    p.nose(0.46, 0.18, _INK)
    p.mouth(0.7, 0.24, _INK)
    p.whiskers(0.56, 1.2)


_MUZZLES: Mapping[str, Callable[[_Portrait], None]] = {
    "cat": _cat_muzzle,
    "dog": _dog_muzzle,
    "tiger": _tiger_muzzle,
    "lion": _lion_muzzle,
    "bear": _bear_muzzle,
    "squirrel": _squirrel_muzzle,
    "fox": _fox_muzzle,
    "badger": _badger_muzzle,
    "raccoon": _raccoon_muzzle,
}

_EAR_COLORS: Mapping[str, Callable[[_Portrait], tuple[Color, Color]]] = {
    "tiger": lambda p: (p.coat, _CREAM),
    "bear": lambda p: (p.coat, p.shade),
    "fox": lambda p: (p.deep, p.pale),
    "badger": lambda p: (_INK, _CREAM),
    "raccoon": lambda p: (_CREAM, p.deep),
}
"""Outside and inside of the ears, where they are not coat and pink."""


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


def _mix(color: Color, other: Color, part: float) -> Color:
    mixed: Color = tuple((np.asarray(color) * (1.0 - part) + np.asarray(other) * part).tolist())
    return mixed


def _scale(color: Color, factor: float) -> Color:
    scaled: Color = tuple((np.asarray(color) * factor).tolist())
    return scaled


def _shift(color: Color, change: float) -> Color:
    shifted: Color = tuple((np.asarray(color) + change).tolist())
    return shifted


def _ear_frame(foot: Place, side: float, turn: float) -> Callable[[float, float], Place]:
    """From (across, up) along an ear to a place on the head."""
    cos, sin = np.cos(turn), np.sin(turn)

    def place(across: float, up: float) -> Place:
        return side * (foot[0] + across * cos + up * sin), foot[1] + across * sin - up * cos

    return place
