"""Stand-ins for pictures, where only time and memory are of interest."""

import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from guidebench.data.pictures import LabelledPicture, PictureSet, imagenet_names
from guidebench.problems import Picture

_CELLS = 8


class NoisePictures(PictureSet):
    """Smooth noise with ImageNet's labels in turn: nothing to download, nothing to see.

    Args:
        n: how many.
        size: side in pixels.
    """

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, size

    @property
    def name(self) -> str:
        return f"{self.n} pictures of smooth noise ({self.size} px)"

    def pictures(self) -> Sequence[Picture]:
        drawn = hashlib.sha256(self._draw(0).tobytes()).hexdigest()[:12]  # changes with whoever draws
        return [Picture(f"noise/{i}/{self.size}px {drawn}", partial(self._draw, i)) for i in range(self.n)]

    def labelled(self) -> list[LabelledPicture]:
        names = imagenet_names()
        labels = [i % len(names) for i in range(self.n)]
        return [
            LabelledPicture(picture, label, names[label])
            for picture, label in zip(self.pictures(), labels, strict=True)
        ]

    def _draw(self, index: int) -> NDArray[np.uint8]:
        coarse = np.random.default_rng(index).integers(0, 256, (_CELLS, _CELLS, 3), dtype=np.uint8)
        return np.asarray(Image.fromarray(coarse).resize((self.size, self.size), Image.Resampling.BICUBIC))
