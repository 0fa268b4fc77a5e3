"""Photographs that install with scikit-image and scikit-learn: a few real pictures where no hub can be reached."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from guidebench.data.image_files import content_digest, read_square
from guidebench.data.pictures import LabelledPicture, PictureSet, imagenet_names
from guidebench.errors import DataError
from guidebench.problems import Picture


class _Photograph(NamedTuple):
    """A file of a package, and ImageNet's name for what it shows; None where ImageNet has none."""

    package: str
    file: str
    shows: str | None


_PHOTOGRAPHS = (
    _Photograph("skimage", "data/astronaut.png", None),
    _Photograph("skimage", "data/camera.png", "tripod"),
    _Photograph("skimage", "data/chelsea.png", "tabby"),
    _Photograph("skimage", "data/coffee.png", "espresso"),
    _Photograph("skimage", "data/motorcycle_left.png", None),
    _Photograph("skimage", "data/rocket.jpg", "missile"),
    _Photograph("sklearn", "datasets/images/china.jpg", "palace"),
    _Photograph("sklearn", "datasets/images/flower.jpg", None),
)


class Photographs(PictureSet):
    """Eight photographs (the cameraman in grey), five of which show a class of ImageNet.

    Each is cropped to its central square and resized (bicubic, antialiased).

    Args:
        size: side in pixels, at most 300, the smallest photograph's.
    """

    def __init__(self, size: int) -> None:
        if not 1 <= size <= 300:
            raise DataError(f"size={size}: allowed are 1 to 300 pixels, the side of the smallest photograph.")
        self.size = size

    @property
    def name(self) -> str:
        return f"{len(_PHOTOGRAPHS)} photographs of scikit-image and scikit-learn ({self.size} px)"

    def pictures(self) -> Sequence[Picture]:
        return [self._picture(photograph) for photograph in _PHOTOGRAPHS]

    def labelled(self) -> list[LabelledPicture]:
        names = imagenet_names()
        return [
            LabelledPicture(self._picture(photograph), names.index(photograph.shows), photograph.shows)
            for photograph in _PHOTOGRAPHS
            if photograph.shows is not None
        ]

    def _picture(self, photograph: _Photograph) -> Picture:
        found = find_spec(photograph.package)
        folders = found.submodule_search_locations if found else None
        file = Path(folders[0]) / photograph.file if folders else None
        if file is None or not file.is_file():
            raise DataError(
                f"the photograph {photograph.package}/{photograph.file} is not here; install it: "
                "pip install 'guidebench[real]'"
            )
        name = f"{photograph.package}/{file.stem} {self.size}px {content_digest(file)}"
        return Picture(name, partial(read_square, file, self.size))
