"""Drawing of animals: the markings and the muzzle of every kind, on the parts that all share."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.animals.portrait import CREAM, INK, PINK, Portrait, mix
from guidebench.data.worlds.animals.traits import Animal


def render(animal: Animal) -> NDArray[np.uint8]:
    """Draw a portrait, anti-aliased: RGB, `uint8` of shape (64, 64, 3)."""
    portrait = Portrait(animal)
    portrait.body()
    portrait.ears()
    portrait.face()
    markings, muzzle = _KINDS[animal.kind]
    markings(portrait)
    portrait.light()
    portrait.floppy_ears()
    portrait.eyes()
    muzzle(portrait)
    return portrait.canvas.image()


# ---------------------------------------------------------------------------- markings, under the light


def _cat(p: Portrait) -> None:
    pads = p.pale
    if p.animal.blaze:
        p.head.middle(CREAM, ((0, -0.45), (0.12, -0.1), (0.4, 0.3), (0.5, 0.9)), soft=1.5)
        pads = CREAM
    if p.animal.striped:
        stripe = mix(p.coat, (60, 34, 22), 0.62)
        p.head.line(stripe, ((0, -0.8), (p.wobble(), -0.4)), (0.16, 0.07))
        p.head.lines(stripe, ((0.26, -0.8), (0.24 + p.wobble(), -0.36)), (0.15, 0.06))
        for y in (0.08, 0.32):
            p.head.lines(
                stripe, ((1.1, y - 0.1), (0.85, y + p.wobble()), (0.66, y + 0.05)), (0.17, 0.12, 0.04)
            )
    p.head.spots(pads, (0.2, 0.44), (0.27, 0.21), soft=2.0, opacity=0.85)


def _dog(p: Portrait) -> None:
    dark = p.luma < 90
    if p.animal.blaze:
        p.head.middle(CREAM, ((0, -0.95), (0.14, -0.4), (0.16, 0.0), (0.45, 0.4), (0.45, 1.1)), soft=1.5)
    if p.animal.patch:
        patch = (150, 96, 58) if dark else p.deep
        p.head.spot(patch, (0.42 * p.animal.patch, -0.14), (0.34, 0.38), soft=2.0)
    p.head.spot(CREAM if p.animal.blaze else p.pale, (0, 0.58), (0.44, 0.42), soft=2.5, opacity=0.9)
    if dark:
        p.head.spots((190, 124, 74), (0.34, -0.42), (0.12, 0.08), soft=1.5)


def _tiger(p: Portrait) -> None:
    p.head.spots(CREAM, (0.36, -0.34), (0.22, 0.15), -0.2, soft=2.0)
    p.head.spots(CREAM, (0.84, 0.5), (0.28, 0.34), 0.3, soft=2.5)
    for y, half in ((-0.74, 0.34), (-0.58, 0.27), (-0.42, 0.2)):
        p.head.line(INK, ((-half, y - 0.06), (0, y + 0.05 + p.wobble()), (half, y - 0.06)), (0.03, 0.1, 0.03))
    for y, inner in ((-0.34, 0.72), (-0.04, 0.7), (0.26, 0.64), (0.54, 0.62)):
        path = ((1.15, y - 0.06), (0.9, y + p.wobble()), (inner + p.wobble(), y + 0.08))
        p.head.lines(INK, path, (0.16, 0.12, 0.03))
    p.head.spots(CREAM, (0.2, 0.48), (0.28, 0.24), soft=1.5)
    p.head.spot(CREAM, (0, 0.76), (0.3, 0.2), soft=1.5)


def _lion(p: Portrait) -> None:
    p.head.spots(p.pale, (0.4, -0.02), (0.26, 0.2), soft=2.5, opacity=0.75)
    p.head.middle(mix(p.coat, (150, 96, 56), 0.3), ((0, -0.34), (0.13, -0.3), (0.22, 0.3)), soft=2.5)
    p.head.spots(CREAM, (0.22, 0.52), (0.3, 0.24), soft=1.8, opacity=0.9)
    p.head.spot(CREAM, (0, 0.86), (0.3, 0.22), soft=1.8)


def _bear(p: Portrait) -> None:
    tan = (206, 160, 116) if p.luma < 180 else (250, 247, 242)
    p.head.spot(mix(p.coat, tan, 0.8), (0, 0.46), (0.5, 0.4), soft=2.0)
    around = mix(p.coat, tan, 0.4) if p.luma < 80 else p.shade
    p.head.spots(around, (0.36, -0.12), (0.21, 0.21), soft=4.0, opacity=0.7)


def _squirrel(p: Portrait) -> None:
    p.head.spots(CREAM, (0.45, -0.1), (0.3, 0.3), soft=1.8)
    p.head.spots(CREAM, (0.44, 0.5), (0.36, 0.3), soft=2.5, opacity=0.9)
    p.head.spot(p.pale, (0, 0.6), (0.3, 0.26), soft=2.0)
    p.head.middle(p.shade, ((0, -0.85), (0.14, -0.8), (0.11, 0.1)), soft=3.0, opacity=0.7)


def _fox(p: Portrait) -> None:
    white = CREAM if p.animal.fur != "white" else (252, 252, 252)
    cheek = (
        (0.14, 0.32),
        (0.42, 0.16),
        (0.8, 0.1),
        (1.2, 0.3),
        (0.8, 0.8),
        (0.2, 1.3),
        (-0.06, 1.3),
        (0.0, 0.86),
    )
    p.head.patches(white, cheek, soft=1.3)
    p.head.lines(p.deep, ((0.3, 0.06), (0.17, 0.5)), (0.04, 0.1), soft=1.5, opacity=0.45)


def _badger(p: Portrait) -> None:
    p.head.middle(CREAM, ((0, -1.2), (1.3, -1.1), (1.3, 0.4), (0.5, 1.3)))
    band = ((0.36, -1.0), (0.74, -0.7), (0.66, -0.1), (0.42, 0.4), (0.2, 0.62), (0.2, 0.3), (0.24, -0.2))
    p.head.patches(INK, band, soft=1.3)
    p.head.patches(p.coat, ((0.95, -0.3), (1.2, 0.0), (0.95, 0.75), (0.72, 0.68), (0.82, 0.2)), soft=1.6)
    p.head.spots((120, 108, 104), (0.4, -0.06), (0.2, 0.19), soft=1.5)


def _raccoon(p: Portrait) -> None:
    brow = ((0.1, -0.2), (0.3, -0.42), (0.62, -0.36), (0.98, 0.0), (0.9, 0.16), (0.4, 0.0))
    p.head.patches(CREAM, brow, soft=1.5)
    p.head.middle(CREAM, ((0, 0.24), (0.4, 0.3), (1.2, 0.4), (0.7, 0.9), (0.2, 1.2)), soft=1.5)
    mask = (
        (0.14, -0.14),
        (0.42, -0.28),
        (0.78, -0.06),
        (1.1, 0.34),
        (0.72, 0.42),
        (0.42, 0.22),
        (0.18, 0.16),
    )
    p.head.patches(INK, mask, soft=1.4)
    p.head.middle(p.deep, ((0, -0.85), (0.1, -0.8), (0.12, 0.3)), soft=2.0, opacity=0.8)
    p.head.spots((112, 102, 104), (0.4, -0.06), (0.21, 0.2), soft=1.5)


# ------------------------------------------------------------------------------ nose and mouth, on top


def _cat_muzzle(p: Portrait) -> None:
    p.nose(0.3, 0.15, PINK if p.luma > 80 else (120, 84, 88))
    p.mouth(0.52, 0.28)
    p.whiskers(0.42, 1.25)


def _dog_muzzle(p: Portrait) -> None:
    if p.animal.tongue:
        p.head.middle((232, 110, 124), ((0, 0.7), (0.17, 0.72), (0.2, 1.02), (0, 1.16)))
        p.head.line((196, 80, 98), ((0, 0.76), (0, 1.0)), 0.05, opacity=0.7)
    p.nose(0.42, 0.25, INK)
    p.mouth(0.72, 0.36)


def _tiger_muzzle(p: Portrait) -> None:
    p.nose(0.3, 0.21, (214, 120, 112))
    p.mouth(0.58, 0.34)
    p.whiskers(0.46, 1.1)


def _lion_muzzle(p: Portrait) -> None:
    p.nose(0.34, 0.25, (104, 66, 58))
    p.mouth(0.64, 0.36)


def _bear_muzzle(p: Portrait) -> None:
    p.nose(0.32, 0.24, INK)
    p.mouth(0.62, 0.26)


def _squirrel_muzzle(p: Portrait) -> None:
    p.nose(0.34, 0.12, (150, 92, 84))
    p.head.middle((255, 255, 250), ((0, 0.58), (0.1, 0.58), (0.1, 0.74), (0, 0.76)))
    p.mouth(0.56, 0.2)


def _fox_muzzle(p: Portrait) -> None:
    p.nose(0.7, 0.18, INK)
    p.mouth(0.93, 0.2)


def _badger_muzzle(p: Portrait) -> None:
    p.nose(0.66, 0.22, INK)
    p.mouth(0.92, 0.22)


def _raccoon_muzzle(p: Portrait) -> None:
    p.nose(0.46, 0.18, INK)
    p.mouth(0.7, 0.24)
    p.whiskers(0.56, 1.2)


_Part = Callable[[Portrait], None]

_KINDS: Mapping[str, tuple[_Part, _Part]] = {
    "cat": (_cat, _cat_muzzle),
    "dog": (_dog, _dog_muzzle),
    "tiger": (_tiger, _tiger_muzzle),
    "lion": (_lion, _lion_muzzle),
    "bear": (_bear, _bear_muzzle),
    "squirrel": (_squirrel, _squirrel_muzzle),
    "fox": (_fox, _fox_muzzle),
    "badger": (_badger, _badger_muzzle),
    "raccoon": (_raccoon, _raccoon_muzzle),
}
"""Markings and muzzle of every kind."""
