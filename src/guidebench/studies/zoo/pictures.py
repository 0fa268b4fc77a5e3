"""Held-out pictures of a world, with captions and facts."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.world import Caption, World

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Pictures:
    """n pictures.

    Args:
        images: uint8 (n, 64, 64, 3).
        captions: one true caption of each.
        shown: every fact that is true of each.
    """

    images: Images
    captions: tuple[Caption, ...]
    shown: tuple[frozenset[str], ...]


def held_out(world: World[Any], n: int, start: int = 0, portraits: bool = False) -> Pictures:
    """Pictures `start` to `start + n` of the test split; with `portraits`, of all classes in turn."""
    images, captions, shown = [], [], []
    for index in range(start, start + n):
        rng = world.rng("test", index)
        label = world.classes[index % len(world.classes)] if portraits else None
        picture = world.sample(rng) if label is None else world.portrait(label, rng)
        images.append(world.render(picture))
        captions.append(world.describe(picture, rng))
        shown.append(world.shown(picture))
    return Pictures(np.stack(images), tuple(captions), tuple(shown))


def in_turn(parts: list[Pictures]) -> Pictures:
    """The first pictures of all parts, then the second of all, and so on; parts of equal length."""
    n = len(parts[0].images)
    order = [(i, part) for i in range(n) for part in parts]
    return Pictures(
        np.stack([part.images[i] for i, part in order]),
        tuple(part.captions[i] for i, part in order),
        tuple(part.shown[i] for i, part in order),
    )


def averaged(pictures: Pictures, size: int) -> Pictures:
    """The pictures at a side that divides theirs: means over squares, rounded."""
    n, side = pictures.images.shape[:2]
    squares = pictures.images.reshape(n, size, side // size, size, side // size, 3)
    return replace(pictures, images=np.rint(squares.mean(axis=(2, 4))).astype(np.uint8))
