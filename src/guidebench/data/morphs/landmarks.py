"""Where the features of a rendered face lie: what a landmark detector would have to find."""

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.drawing import rotate
from guidebench.data.worlds.faces.drawing import ZOOM, Portrait
from guidebench.data.worlds.faces.people import Face, Setting
from guidebench.data.worlds.world import IMAGE_SIZE

FloatArray = NDArray[np.float64]

_OUTLINE = 16
_PLACES = ("middle", "outer", "inner", "top", "bottom")

LANDMARKS: tuple[str, ...] = (
    *(f"{side} eye {place}" for side in ("left", "right") for place in _PLACES),
    *(f"{side} brow {place}" for side in ("left", "right") for place in ("inner", "middle", "outer")),
    *("nose tip", "nose left", "nose right"),
    *("mouth left", "mouth right", "mouth top", "mouth bottom"),
    *(f"outline {i}" for i in range(_OUTLINE)),
)
"""Names of the landmarks, in their order; left and right are those of the picture."""


def landmarks(face: Face) -> tuple[tuple[float, float], ...]:
    """The places of :data:`LANDMARKS` as shares of the picture's width and height, from its upper left corner."""
    portrait = Portrait(face)
    front = _on_the_head(
        np.array([*_eyes(portrait), *_brows(portrait), *_nose(portrait), *_mouth(portrait)]), face
    )
    head = np.concatenate([front, _outline(portrait)])
    centre = np.array([IMAGE_SIZE / 2, IMAGE_SIZE / 2]) + face.setting.shift
    places = (ZOOM * rotate(head, face.setting.tilt) + centre) / IMAGE_SIZE
    return tuple((float(x), float(y)) for x, y in places)


def _on_the_head(front: FloatArray, face: Face) -> FloatArray:
    """Places (n, 2) of the curved front of the head, on the head as it is seen: the inverse of what drawing does."""
    setting: Setting = face.setting
    x = front[:, 0]
    for _ in range(30):
        x = front[:, 0] / (1 + 0.07 * setting.yaw * np.tanh(x / 3))
    return np.stack([x + 2.2 * setting.yaw, front[:, 1]], axis=1)


def _eyes(p: Portrait) -> list[tuple[float, float]]:
    half, high = 4.1 * p.eye, 2.9 * p.eye * (1.0 - 0.14 * p.smile)
    offsets = ((0.0, 0.0), (half, 0.0), (-half, 0.0), (0.0, -high), (0.0, high))
    return [(side * (p.eye_x + x), p.eye_y + y) for side in (-1, 1) for x, y in offsets]


def _brows(p: Portrait) -> list[tuple[float, float]]:
    y = p.brow_y - 0.5 * p.smile
    path = ((-4.0, p.brow_tilt), (1.2, -1.0 - 0.3 * p.brow_tilt), (4.8, 0.9))
    return [(side * (p.eye_x + x), y + dy) for side in (-1, 1) for x, dy in path]


def _nose(p: Portrait) -> list[tuple[float, float]]:
    moved = 1.3 * p.setting.yaw  # the tip stands out
    return [(moved + x, p.nose_y + y) for x, y in ((0.0, 0.0), (-p.nose, -0.9), (p.nose, -0.9))]


def _mouth(p: Portrait) -> list[tuple[float, float]]:
    corner = p.mouth_y - 2.1 * p.smile - 0.7 * (1 - p.smile)
    top = p.mouth_y + 0.9 * p.smile - (0.85 * p.lips - 0.15)
    bottom = p.mouth_y + 3.6 * p.smile + 1.15 * p.lips + 0.1
    return [(-p.mouth, corner), (p.mouth, corner), (0.0, top), (0.0, bottom)]


def _outline(p: Portrait) -> FloatArray:
    """Places on the outline of the head, clockwise from its top."""
    angles = 2 * np.pi * np.arange(_OUTLINE) / _OUTLINE
    x, y = np.sin(angles), -np.cos(angles)
    power = 2 / np.where(y < 0, 2.2, p.jaw)
    height = np.where(y < 0, p.top, p.chin)
    return np.stack(
        [p.width * np.sign(x) * np.abs(x) ** power, height * np.sign(y) * np.abs(y) ** power], axis=1
    )
