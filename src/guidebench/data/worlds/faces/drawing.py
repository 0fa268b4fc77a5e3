"""Drawing a portrait, from the background to the glasses."""

import copy

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.drawing import Array, Canvas, ellipse, gradient, rotate, stroke
from guidebench.data.worlds.faces.people import IDENTITY, Face
from guidebench.data.worlds.world import IMAGE_SIZE

BACKGROUND_COLORS: dict[str, tuple[float, float, float]] = {
    "blue": (142, 182, 226),
    "green": (158, 204, 162),
    "pink": (240, 182, 198),
    "yellow": (246, 224, 142),
    "purple": (190, 168, 222),
    "gray": (160, 163, 170),
    "white": (240, 240, 238),
}
_SKIN_TONES = ((114, 73, 53), (150, 100, 70), (204, 150, 108), (240, 194, 160), (254, 224, 204))
_HAIR_TONES = ((34, 28, 34), (84, 56, 40), (138, 98, 62), (214, 172, 96), (246, 218, 146))
_RED_HAIR_TONES = ((84, 30, 20), (130, 50, 28), (176, 74, 38), (204, 98, 52), (224, 132, 80))
_EYE_TONES = ((62, 120, 196), (70, 140, 110), (108, 78, 44), (58, 36, 26))
_INK = np.array([44.0, 30.0, 34.0])
ZOOM = 1.08
"""Pixels per unit of the lengths of a portrait."""
_TILT_MARGIN = 4  # rows by which a tilt can move a feature


def render(face: Face) -> NDArray[np.uint8]:
    """Draw a portrait: RGB, `uint8` of shape (64, 64, 3), anti-aliased."""
    portrait = Portrait(face)
    portrait.draw_hair_behind()
    portrait.draw_body()
    portrait.draw_head()
    if "old" in face.attributes:
        portrait.draw_wrinkles()
    portrait.draw_nose()
    portrait.draw_mouth()
    if "mustache" in face.attributes:
        portrait.draw_mustache()
    portrait.draw_eyes()
    portrait.draw_hair()
    portrait.draw_brows()
    if "glasses" in face.attributes:
        portrait.draw_glasses()
    return portrait.canvas.image()


class Portrait:
    """A portrait in the making: colours, places in pixels from the middle of the head (y down), and the canvas.

    `body` and `head` are the canvas seen from the upright body and from the tilted head. `front` has the coordinates
    of the head's curved front: a turn moves it sideways and narrows the far side.
    """

    def __init__(self, face: Face) -> None:
        self.attributes, self.smile, self.setting = face.attributes, face.smile, face.setting
        self._measure(dict(zip(IDENTITY, face.identity, strict=True)))
        self._color(dict(zip(IDENTITY, face.identity, strict=True)))
        setting = face.setting
        self.canvas = Canvas((0.0, 0.0, 0.0))
        points = self.canvas.points
        centre = np.array([IMAGE_SIZE / 2, 32.0]) + setting.shift
        self.middle = centre[1]
        background = np.asarray(BACKGROUND_COLORS[setting.background]) + setting.background_jitter
        self.canvas.pixels = gradient(points, tuple(background), setting.gradient, setting.gradient_angle)
        distance = np.linalg.norm(points - centre, axis=-1) / (IMAGE_SIZE / 2)
        self.canvas.pixels += (9.0 - 13.0 * distance)[..., None]  # a glow behind the head
        self.body = _seen_from(self.canvas, (points - centre) / ZOOM)
        self.head = _seen_from(self.canvas, rotate(self.body.points, -setting.tilt))
        x, y = np.moveaxis(self.head.points, -1, 0)
        x = x - 2.2 * setting.yaw
        self.front = _seen_from(
            self.canvas, np.stack([x * (1 + 0.07 * setting.yaw * np.tanh(x / 3)), y], axis=-1)
        )

    def _measure(self, identity: dict[str, float]) -> None:
        """Lengths and places, in pixels."""
        self.width = 16.2 + 2.0 * identity["head_width"]
        self.top = 20.5 + 1.2 * identity["head_height"]
        self.chin = 19.5 + 1.8 * identity["head_height"]
        self.jaw = 2.3 + 0.5 * identity["jaw"]
        self.ear = 1.0 + 0.28 * identity["ears"]
        self.eye_x = 7.9 + 1.0 * identity["eye_spacing"]
        self.eye_y = 0.3 + 1.3 * identity["eye_height"]
        self.eye = 1.0 + 0.17 * identity["eye_size"]
        self.brow_y = self.eye_y - 6.0 - 0.5 * identity["eye_size"]
        self.brow_tilt = 1.1 * identity["brow_tilt"]
        self.nose_y = 7.6 + 1.2 * identity["nose_length"]
        self.nose = 3.1 + 1.0 * identity["nose_width"]
        self.mouth_y = 13.4 + 0.8 * identity["mouth_height"]
        self.mouth = 6.1 + 1.7 * identity["mouth_width"] + 1.4 * self.smile
        self.lips = 1.75 + 0.75 * identity["lip_fullness"]
        self.volume = 2.0 + 1.0 * identity["hair_volume"]
        self.hairline = 12.6 + 2.0 * identity["hairline"]
        self.parting = 5.0 * identity["parting"]

    def _color(self, identity: dict[str, float]) -> None:
        """Colours before light and shade, sRGB levels."""
        self.skin = _mix(_SKIN_TONES, identity["skin"])
        red = np.clip(0.5 + 1.4 * (identity["hair_warmth"] - 0.25), 0.0, 1.0)
        tones = np.array(_HAIR_TONES) + red * (np.array(_RED_HAIR_TONES) - np.array(_HAIR_TONES))
        self.hair = _mix(tones, identity["hair_light"])
        on_skin = float(np.interp(identity["skin"], [-0.6, -0.2], [0.0, 1.0]))  # facial hair must stand out
        self.brow = (0.22 + 0.23 * on_skin) * self.hair * [1.08, 0.88, 0.84] + 0.12 * _INK
        if "old" in self.attributes:
            self.hair = self.hair + 0.85 * (
                np.array([184.0, 186.0, 194.0]) + 0.12 * (self.hair - 128) - self.hair
            )
            self.brow = (0.85 - 0.25 * on_skin) * self.hair + 0.1 * _INK
            self.skin = self.skin + 0.12 * (self.skin.mean() - self.skin)
        self.iris = _mix(_EYE_TONES, identity["eye_color"])
        light = np.array([*self.setting.light, 1.1])
        self.light = light / np.linalg.norm(light)

    # ------------------------------------------------------------------------------------ light and shade

    def lit(self, color: Array, points: Array, width: float, height: float) -> Array:
        """A colour under the light on an ellipsoid about the middle of the head, (..., 3)."""
        u, v = points[..., 0] / width, points[..., 1] / height
        towards = np.sqrt(np.maximum(1.0 - u * u - v * v, 0.04))
        lambert = u * self.light[0] + v * self.light[1] + towards * self.light[2]
        contrast = 0.25 + 0.4 * self.setting.contrast
        brightness = 1.06 - contrast * np.clip(0.9 - lambert, 0.0, 1.2)
        return color * brightness[..., None] ** np.array([0.85, 1.05, 1.1])  # shade is warmer than light

    def part(self, canvas: Canvas, top: float, bottom: float) -> Canvas:
        """Rows of a canvas between two heights of the face, with room for the tilt."""
        first = int(self.middle + ZOOM * top) - _TILT_MARGIN
        last = int(self.middle + ZOOM * bottom) + _TILT_MARGIN
        return canvas.window(slice(max(0, first), last + 1), slice(None))

    # ---------------------------------------------------------------------------------------------- parts

    def draw_hair_behind(self) -> None:
        """Long hair behind the neck."""
        if "long hair" not in self.attributes:
            return
        points = self.head.points
        self.head.fill(self._mane(points), self._hair_color(points) * 0.72)

    def draw_body(self) -> None:
        """Neck and shoulders."""
        neck = self.part(self.body, 10, 40)
        shade = self.lit(0.86 * self.skin, neck.points * [1.0, 0.3], 12.0, 24.0)
        shade *= 1.0 - 0.42 * np.clip(
            (self.chin + 5.0 - neck.points[..., 1:]) / 6.0, 0.0, 1.0
        )  # under the chin
        neck.fill(stroke(neck.points, [(0, 12), (0, 33)], 0.86 * self.width), shade)
        x, y = neck.points[..., 0], neck.points[..., 1]
        cloth = np.asarray(self.setting.clothes) + (2.2 * (self.light[0] * x + 1.5 * (30 - y)))[..., None]
        shoulders = ellipse(neck.points, (0, 42), (29, 18))
        collar = ellipse(neck.points, (0, 23), (0.48 * self.width, 6.4))
        neck.fill(np.maximum(shoulders, -collar), cloth)
        neck.fill(np.maximum(np.abs(collar) - 0.7, 25.0 - y), np.asarray(self.setting.clothes) * 0.8, 0.7)

    def draw_head(self) -> None:
        """Ears, the skin of the head, cheeks."""
        ears = self.part(self.head, -6, 10)
        beside = np.abs(ears.points[..., 0] + 0.8 * self.setting.yaw) - self.width
        points = np.stack([beside, ears.points[..., 1]], axis=-1)
        skin = self.lit(0.93 * self.skin, ears.points, 22.0, 26.0)
        ears.fill(ellipse(points, (0.2, 2.2), (2.9 * self.ear, 4.6 * self.ear), -0.15), skin)
        ears.fill(ellipse(points, (0.8, 2.4), (1.2 * self.ear, 2.6 * self.ear), -0.15), 0.72 * skin, 0.7, 1.6)
        points = self.head.points
        skin = self.lit(self.skin, points, 1.06 * self.width, 24.0)
        outline = self._head_outline(points)
        self.head.fill(outline, skin)
        cheeks = self.part(self.front, 0, 16)
        spot = ellipse(_mirrored(cheeks.points), (0.62 * self.width, 7.6 - 0.8 * self.smile), (4.2, 3.0))
        blush = self.skin * [1.0, 0.74, 0.74] + [6.0, 0.0, 4.0]
        inside = np.minimum(-self._head_outline(cheeks.points), 0) * 2
        cheeks.fill(spot - inside, blush, 0.3 + 0.2 * self.smile, 4.5)

    def draw_eyes(self) -> None:
        """Sockets, whites, irises, lids."""
        eyes = self.part(self.front, self.eye_y - 7, self.eye_y + 6)
        side = np.where(eyes.points[..., 0] < 0, -1.0, 1.0)
        points = np.stack(
            [eyes.points[..., 0] - side * self.eye_x, eyes.points[..., 1] - self.eye_y], axis=-1
        )
        outward = points * np.stack([side, np.ones_like(side)], axis=-1)
        eyes.fill(ellipse(points, (0, -0.6), (5.4, 4.6)), 0.74 * self.skin, 0.3, 5.0)
        narrow = 1.0 - 0.14 * self.smile
        opening = ellipse(outward, (0, 0), (4.1 * self.eye, 2.9 * self.eye * narrow), -0.06)
        eyes.fill(opening - 0.7, 0.6 * self.skin, 0.6)
        eyes.fill(opening, np.array([248.0, 246.0, 243.0]) - 18 * np.clip(-points[..., 1:], 0, 2))
        iris = ellipse(points, (0, -0.1), (2.15 + 0.9 * (self.eye - 1), 2.25 + 0.9 * (self.eye - 1)))
        eyes.fill(np.maximum(iris, opening), self.iris + 14 * points[..., 1:])
        eyes.fill(np.maximum(iris + 1.2, opening), 0.3 * _INK)
        eyes.fill(ellipse(points, (1.0 * self.light[0] + 0.2, -1.0), (0.75, 0.75)), (255, 255, 255), 0.95)
        lid = np.maximum(np.abs(opening) - 0.65, points[..., 1] + 0.7)
        eyes.fill(lid, _INK, 0.9)

    def draw_brows(self) -> None:
        """Thin brows, or bushy ones."""
        brows = self.part(self.front, self.brow_y - 5, self.brow_y + 5)
        bushy = "bushy eyebrows" in self.attributes
        inner, arch, outer = self.eye_x - 4.0, self.eye_x + 1.2, self.eye_x + 4.8
        y = self.brow_y - 0.5 * self.smile
        path = [
            (inner, y + self.brow_tilt),
            (arch, y - 1.0 - 0.3 * self.brow_tilt),
            (outer + 0.4 * bushy, y + 0.9),
        ]
        distance = stroke(_mirrored(brows.points), path, (3.0, 3.6, 2.2) if bushy else (1.3, 1.4, 0.8))
        brows.fill(distance, self.brow, 1.0 if bushy else 0.8, 1.3)

    def draw_nose(self) -> None:
        """Bridge, tip and nostrils; the tip stands out and moves most with a turn."""
        nose = self.part(self.front, self.eye_y, self.nose_y + 4)
        depth = np.clip((nose.points[..., 1] - self.eye_y) / (self.nose_y - self.eye_y), 0.0, 1.2)
        points = nose.points - np.stack([1.3 * self.setting.yaw * depth, np.zeros_like(depth)], axis=-1)
        away = -np.sign(self.light[0]) * min(1.0, 3 * abs(self.light[0]))
        y, half = self.nose_y, self.nose
        side = stroke(points, [(0.9 * away, self.eye_y + 1), (0.55 * half * away, y - 1.5)], (1.2, 2.0))
        nose.fill(side, 0.68 * self.skin, 0.4 * abs(away), 2.4)
        bridge = stroke(points, [(-0.3 * away, self.eye_y + 1), (-0.4 * away, y - 1.2)], (1.0, 2.2))
        nose.fill(bridge, np.minimum(1.14 * self.skin + 6, 255), 0.5, 2.4)
        ball = ellipse(points, (0, y - 0.6), (0.72 * half, 1.9))
        nose.fill(ball, np.minimum(1.05 * self.skin, 255), 0.5, 2.5)
        curve = [
            (-half, y - 0.9),
            (-0.6 * half, y + 0.7),
            (0, y + 1.1),
            (0.6 * half, y + 0.7),
            (half, y - 0.9),
        ]
        nose.fill(stroke(points, curve, (0.9, 1.5, 1.3, 1.5, 0.9)), 0.52 * self.skin, 0.75, 1.4)

    def draw_mouth(self) -> None:
        """Lips, and teeth where the face smiles."""
        mouth = self.part(self.front, self.mouth_y - 5, self.mouth_y + 7)
        x, y = mouth.points[..., 0], mouth.points[..., 1] - self.mouth_y
        t = np.clip(x / self.mouth, -1.0, 1.0)
        round_ = np.sqrt(1.0 - t * t)
        beyond = np.abs(x) - self.mouth
        open_ = 2.7 * self.smile
        line = self.smile * (0.9 - 3.0 * t * t) - 0.7 * (1 - self.smile) * t * t  # where the lips meet
        bow = 0.35 * np.exp(-((x / 1.3) ** 2))
        upper = line - (self.lips * 0.85 - bow + 0.2) * round_
        lower = line + (open_ + 1.15 * self.lips + 0.1) * round_**1.3
        lips = np.maximum(np.maximum(upper - y, y - lower), beyond)
        chin = ellipse(mouth.points, (0, self.mouth_y + open_ + 1.3 * self.lips + 1.6), (4.0, 1.3))
        mouth.fill(chin, 0.72 * self.skin, 0.35, 3.0)
        if "lipstick" in self.attributes:
            color = np.array([206.0, 22.0, 52.0]) + self.setting.accent * np.array([14.0, 14.0, 62.0])
            lips, opacity = lips - 0.35, 1.0
        else:
            color, opacity = self.skin * [0.8, 0.56, 0.57] + [16.0, 2.0, 8.0], 0.9
        mouth.fill(lips, color - 10 * (y < line)[..., None], opacity, 1.1)
        if "lipstick" in self.attributes:
            gloss = ellipse(
                mouth.points, (-1.2, self.mouth_y + 0.9 * self.smile + open_ + 0.6 * self.lips), (1.7, 0.6)
            )
            mouth.fill(gloss, (255.0, 214.0, 220.0), 0.55, 1.5)
        gap = np.maximum(np.maximum(line - y, y - line - open_ * round_), beyond + 0.8)
        mouth.fill(
            np.abs(y - line - 0.1) - 0.5 + 0.4 * np.maximum(beyond + 1.5, 0),
            0.35 * color,
            0.8 * (1 - 0.6 * self.smile),
        )
        if self.smile > 0.3:
            mouth.fill(gap, (250.0, 247.0, 242.0), float(np.clip((self.smile - 0.3) * 3, 0, 1)))
        corners = ellipse(
            _mirrored(mouth.points), (self.mouth + 0.6, self.mouth_y - 0.6 - 1.5 * self.smile), (0.9, 1.2)
        )
        mouth.fill(corners, 0.6 * self.skin, 0.15 + 0.3 * self.smile, 1.6)

    def draw_mustache(self) -> None:
        """A mustache between nose and mouth, with tips that follow a smile."""
        mustache = self.part(self.front, self.nose_y, self.mouth_y + 5)
        y = 0.45 * (self.nose_y + 1.2) + 0.55 * (self.mouth_y - 0.4 * self.lips)
        tip = y + 1.6 - 1.6 * self.smile
        path = [(0.4, y - 0.2), (3.4, y - 0.2), (6.6, y + 0.6 - 0.5 * self.smile), (9.2, tip)]
        distance = stroke(_mirrored(mustache.points), path, (2.6, 3.8, 3.0, 1.0))
        strands = 1.0 + 0.1 * np.sin(2.4 * mustache.points[..., :1])
        mustache.fill(distance + 0.6, (1.1 * self.brow) * strands, 1.0, 1.4)

    def draw_wrinkles(self) -> None:
        """Lines of the forehead, around eyes and mouth, and bags under the eyes."""
        dark = 0.56 * self.skin
        forehead = self.part(self.front, -16, self.brow_y + 1)
        for up, half in ((3.4, 7.0), (6.0, 5.6)):
            y = self.brow_y - up
            path = [(-half, y + 0.5), (-0.5 * half, y - 0.3), (0, y), (0.5 * half, y - 0.3), (half, y + 0.5)]
            forehead.fill(stroke(forehead.points, path, (0.6, 1.1, 1.1, 1.1, 0.6)), dark, 0.6, 1.4)
        face = self.part(self.front, self.eye_y - 2, self.chin)
        points = _mirrored(face.points)
        fold = [
            (self.nose + 1.0, self.nose_y - 0.6),
            (self.nose + 3.2, self.nose_y + 2.2),
            (self.mouth + 2.0, self.mouth_y + 1.0),
        ]
        face.fill(stroke(points, fold, (0.7, 1.4, 0.8)), dark, 0.7, 1.5)
        x, y = self.eye_x, self.eye_y
        bag = [(x - 3.2, y + 3.6), (x, y + 4.9), (x + 3.4, y + 3.4)]
        face.fill(stroke(points, bag, (0.7, 1.3, 0.7)), dark, 0.6, 1.5)
        for rise in (-0.6, 1.4):
            foot = [(x + 5.2, y + 0.4 + 0.4 * rise), (x + 7.2, y + 0.4 + 1.3 * rise)]
            face.fill(stroke(points, foot, (1.0, 0.6)), dark, 0.6, 1.2)

    def draw_hair(self) -> None:
        """Hair in front of the head: a cap with a parting, and strands beside the face where it is long."""
        points = self.head.points
        x, y = points[..., 0] - 1.2 * self.setting.yaw, points[..., 1]
        long = "long hair" in self.attributes
        height = np.clip((3.0 - y) / (3.0 + self.hairline), 0.0, 1.3)
        swept = x - self.parting * height
        half = (0.86 if long else 0.93) * self.width
        opening = np.stack([swept, y], axis=-1)
        below = np.maximum(y - 3.0, 0.0)
        opening[..., 1] -= below  # straight down from the temples
        face = ellipse(opening, (0, 3.0), (half, 3.0 + self.hairline)) - (0.012 * below**2 if long else 0.0)
        outer = self._mane(points) if long else np.maximum(self._cap(points), y - 3.5)
        hair = np.maximum(outer, -face)
        color = self._hair_color(points)
        self.head.fill(hair - 0.8, 0.55 * self.skin, 0.22, 4.0)
        self.head.fill(hair, color)

    def draw_glasses(self) -> None:
        """Dark frames around both eyes."""
        glasses = self.part(self.front, self.eye_y - 8, self.eye_y + 9)
        points = _mirrored(glasses.points)
        half_x, half_y, corner = 0.5 * self.eye_x + 2.1, 4.9, 3.4
        offset = np.abs(points - [self.eye_x + 0.3, self.eye_y + 0.4]) - [half_x - corner, half_y - corner]
        lens = (
            np.linalg.norm(np.maximum(offset, 0.0), axis=-1) + np.minimum(offset.max(axis=-1), 0.0) - corner
        )
        glasses.fill(lens, (226.0, 238.0, 246.0), 0.2)
        frame = np.array([30.0, 28.0, 36.0]) + self.setting.accent * np.array([70.0, 14.0, 16.0])
        glasses.fill(np.abs(lens) - 0.8, frame)
        bridge = stroke(points, [(0, self.eye_y - 0.6), (self.eye_x - half_x, self.eye_y - 0.2)], 1.5)
        temple = stroke(
            points, [(self.eye_x + half_x, self.eye_y - 0.8), (self.width + 0.5, self.eye_y - 0.4)], 1.4
        )
        glasses.fill(np.minimum(bridge, temple), frame)

    # ------------------------------------------------------------------------------------------- outlines

    def _head_outline(self, points: Array) -> Array:
        """Distance to the head: an ellipse above, a superellipse that the jaw squares below, to first order."""
        x, y = np.abs(points[..., 0]) / self.width, points[..., 1]
        v = np.where(y < 0, -y / self.top, y / self.chin)
        power = np.where(y < 0, 2.2, self.jaw)
        value = np.maximum(x, 1e-6) ** power + np.maximum(v, 1e-6) ** power
        norm = value ** (1 / power)
        slope = np.hypot(x, v) / np.hypot(x * self.width, v * np.where(y < 0, self.top, self.chin)).clip(1e-6)
        return (norm - 1.0) / np.maximum(slope, 1e-6)

    def _cap(self, points: Array) -> Array:
        """Distance to the outline of short hair."""
        radii = (self.width + 0.6 + 0.6 * self.volume, self.top + 1.0 + self.volume)
        return ellipse(points, (0, 0.0), radii)

    def _mane(self, points: Array) -> Array:
        """Distance to the outline of long hair, down to the shoulders."""
        half = self.width + 2.4 + 0.8 * self.volume
        top = self.top + 1.2 + self.volume
        below = np.clip(points[..., 1] - 0.0, 0.0, None)
        wave = 0.7 * np.sin(0.35 * below)
        upper = ellipse(points - np.stack([np.zeros_like(below), below], axis=-1), (0, 0.0), (half, top))
        sides = upper - wave - 0.05 * below
        return np.maximum(sides, points[..., 1] - 27.0)

    def _hair_color(self, points: Array) -> Array:
        """Strands that run from the parting, under the light, with a gloss."""
        x, y = points[..., 0] - self.parting, points[..., 1] + self.top
        angle = np.arctan2(x, y + 6.0)
        strands = 1.0 + 0.05 * np.sin(19.0 * angle) + 0.025 * np.sin(33.0 * angle + 1.0)
        radius = np.hypot(points[..., 0] / self.width, points[..., 1] / self.top)
        gloss = np.exp(-(((radius - 0.93) / 0.09) ** 2)) * np.clip(0.5 - points[..., 1] / 16, 0.0, 1.0)
        color = self.lit(self.hair, points, self.width + 6.0, self.top + 10.0)
        return color * strands[..., None] + (26.0 * gloss)[..., None]


def _seen_from(canvas: Canvas, points: Array) -> Canvas:
    """The same canvas with other coordinates, (64, 64, 2): what is painted on one shows on the other."""
    other = copy.copy(canvas)
    other.points = points
    return other


def _mix(tones: Array | tuple[tuple[int, int, int], ...], value: float) -> Array:
    """The colour at a place in [-1, 1] along a row of tones."""
    array = np.asarray(tones, float)
    at = np.linspace(-1.0, 1.0, len(array))
    return np.array([np.interp(value, at, channel) for channel in array.T])


def _mirrored(points: Array) -> Array:
    """Both halves of the face at once."""
    return points * np.where(points[..., :1] < 0, [-1.0, 1.0], 1.0)
