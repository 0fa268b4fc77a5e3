"""Whether a picture of a face has eyes, a mouth and hair, learned from drawings with and without each part."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from guidebench.data.worlds.faces import drawing as faces_drawing
from guidebench.data.worlds.faces.world import FACES
from guidebench.studies.zoo.estimates import Booleans, Floats
from guidebench.studies.zoo.pictures import Images

PARTS: dict[str, tuple[tuple[str, ...], slice, slice]] = {
    "eyes": (("draw_eyes",), slice(22, 42), slice(14, 50)),
    "mouth": (("draw_mouth",), slice(38, 58), slice(20, 44)),
    "hair": (("draw_hair", "draw_hair_behind"), slice(2, 30), slice(8, 56)),
}
"""Steps of the drawing that make a part, and the rows and columns where it is."""

_DRAWINGS = 300
_FAR = 10**6  # numbers of the drawings, apart from the pictures of the splits
_RIDGE = 3.0
_LENIENT = 0.3
"""How far on the side of the faces without the part a picture still counts as having it: few drawn faces fail then."""


def drawn(n: int, without: str | None = None, start: int = _FAR) -> Images:
    """n faces, all of them without one of `PARTS` if it is named: the same faces then."""
    with _omitted(PARTS[without][0] if without else ()):
        return np.stack([FACES.render(FACES.picture("validation", start + index)) for index in range(n)])


def present(images: Images, part: str) -> Booleans:
    """Whether each picture, uint8 (n, 64, 64, 3), has the part: a linear reading of where it should be, (n,)."""
    weight, bias = _reader(part)
    found: Booleans = _seen(images, part) @ weight + bias > -_LENIENT
    return found


@cache
def _reader(part: str) -> tuple[Floats, float]:
    """Ridge regression of +1 (as drawn) and -1 (drawn without the part)."""
    features = np.concatenate([_seen(drawn(_DRAWINGS), part), _seen(drawn(_DRAWINGS, part), part)])
    targets = np.repeat([1.0, -1.0], _DRAWINGS)
    centre = features.mean(axis=0)
    spread = features - centre
    weight = spread.T @ np.linalg.solve(spread @ spread.T + _RIDGE * np.eye(len(spread)), targets)
    return weight, -float(centre @ weight)


def _seen(images: Images, part: str) -> Floats:
    """Colours of the region in units of the cheeks', and how much they differ from these and from their neighbours."""
    scaled = images.astype(np.float64)
    cheeks = np.concatenate([scaled[:, 38:44, 20:26], scaled[:, 38:44, 38:44]], axis=2).reshape(-1, 72, 3)
    skin = np.median(cheeks, axis=1)[:, None, None]
    _, rows, columns = PARTS[part]
    region = scaled[:, rows, columns] / skin.mean(axis=-1, keepdims=True)
    n, height, width, _ = region.shape
    squares = region.reshape(n, height // 2, 2, width // 2, 2, 3)
    mean = squares.mean(axis=(2, 4)) - skin / skin.mean(axis=-1, keepdims=True)
    return np.concatenate([x.reshape(n, -1) for x in (mean, np.abs(mean), squares.std(axis=(2, 4)))], axis=1)


@contextmanager
def _omitted(steps: tuple[str, ...]) -> Iterator[None]:
    """Faces are drawn without these steps."""
    portrait = faces_drawing.Portrait
    saved = {step: getattr(portrait, step) for step in steps}
    try:
        for step in steps:
            setattr(portrait, step, lambda self: None)
        yield
    finally:
        for step, method in saved.items():
            setattr(portrait, step, method)
