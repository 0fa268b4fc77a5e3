"""Sets of real images with their classes: of the embedded worlds, and of a folder."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guidebench.data.image_files import SUFFIXES, content_digest, image_files, read_square, usable
from guidebench.data.worlds import WORLDS
from guidebench.data.worlds.world import IMAGE_SIZE, SPLITS
from guidebench.errors import DataError
from guidebench.problems import Picture


class LabelledPicture(NamedTuple):
    """An image with the index and the name of its class."""

    picture: Picture
    label: int
    name: str


class PictureSet(ABC):
    """Real images of one size: what metrics compare with, and what restoration starts from."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Says which images: where from, how many, what size."""

    @abstractmethod
    def pictures(self) -> Sequence[Picture]:
        """The images, always the same in the same order.

        Raises:
            DataError: there are none, or they cannot be found.
        """

    @abstractmethod
    def labelled(self) -> list[LabelledPicture]:
        """The images with their classes.

        Raises:
            DataError: as for `pictures`, or they have no classes.
        """


class WorldPictures(PictureSet):
    """Pictures of embedded worlds, in turn from each.

    Args:
        worlds: their names; classes are numbered through in this order.
        split: "train", "validation" or "test".
        n: how many.
        size: side in pixels, 64 or a divisor of it (averages over squares).
    """

    def __init__(
        self, worlds: Sequence[str], split: str = "test", n: int = 1000, size: int = IMAGE_SIZE
    ) -> None:
        unknown = [world for world in worlds if world not in WORLDS]
        if unknown or not worlds:
            raise DataError(f"worlds={list(worlds)}: allowed are {', '.join(WORLDS)}, at least one.")
        if split not in SPLITS:
            raise DataError(f"split={split!r}: allowed are {', '.join(SPLITS)}.")
        if n < 1 or size < 1 or IMAGE_SIZE % size:
            raise DataError(
                f"n={n}, size={size}: allowed are n of 1 or more and a size that divides {IMAGE_SIZE}."
            )
        self.worlds, self.split, self.n, self.size = list(worlds), split, n, size

    @property
    def name(self) -> str:
        return f"{self.n} pictures of {' and '.join(self.worlds)} ({self.split}, {self.size} px)"

    def pictures(self) -> Sequence[Picture]:
        return [
            Picture(
                f"{world}/{self.split}/{index}/{self.size}px {WORLDS[world].fingerprint}",
                partial(self._draw, world, index),
            )
            for world, index in self._indices
        ]

    def labelled(self) -> list[LabelledPicture]:
        classes = [name for world in self.worlds for name in WORLDS[world].classes]
        found = []
        for picture, (world, index) in zip(self.pictures(), self._indices, strict=True):
            shown = WORLDS[world].shown(WORLDS[world].picture(self.split, index))
            names = shown.intersection(WORLDS[world].classes)
            if len(names) != 1:
                raise DataError(f"worlds={self.worlds}: pictures of {world} do not have one class each.")
            (name,) = names
            found.append(LabelledPicture(picture, classes.index(name), name))
        return found

    @property
    def _indices(self) -> list[tuple[str, int]]:
        return [(self.worlds[i % len(self.worlds)], i // len(self.worlds)) for i in range(self.n)]

    def _draw(self, world: str, index: int) -> NDArray[np.uint8]:
        drawn = WORLDS[world].render(WORLDS[world].picture(self.split, index))
        factor = IMAGE_SIZE // self.size
        squares = drawn.reshape(self.size, factor, self.size, factor, 3)
        return squares.mean(axis=(1, 3)).round().astype(np.uint8)


class ImageFolder(PictureSet):
    """Images in a folder with one subfolder per class, such as ImageNet's validation set.

    Each is turned upright, put on white where it has an alpha channel, cropped to its central square and resized
    (bicubic, antialiased), as Pillow's `ImageOps.fit` does. Files that cannot be read are told and left out.

    Args:
        path: the folder; classes are its subfolders in alphabetical order.
        size: side in pixels.
        n: how many, spread evenly over the files; null takes all.
        names: "folders" calls classes as their folders; "imagenet" as torchvision does, for ImageNet's 1000 folders.
    """

    def __init__(
        self, path: str, size: int, n: int | None = None, names: Literal["folders", "imagenet"] = "folders"
    ) -> None:
        if size < 1 or (n is not None and n < 1):
            raise DataError(f"size={size}, n={n}: allowed are 1 or more, and null for all images.")
        self.path, self.size, self.n, self.names = path, size, n, names

    @property
    def name(self) -> str:
        return f"{'all' if self.n is None else self.n} images of {self.path} ({self.size} px)"

    def pictures(self) -> Sequence[Picture]:
        return [
            Picture(
                f"{file.relative_to(self._root).as_posix()} {self.size}px {content_digest(file)}",
                partial(read_square, file, self.size),
            )
            for file in self._files
        ]

    def labelled(self) -> list[LabelledPicture]:
        files = self._files
        folders = sorted(p.name for p in self._root.iterdir() if p.is_dir() and p.name[0] != ".")
        names = folders if self.names == "folders" else imagenet_names()
        if len(names) != len(folders):
            raise DataError(
                f"{self._root} has {len(folders)} folders, and {self.names} has {len(names)} classes."
            )
        labels = [folders.index(file.relative_to(self._root).parts[0]) for file in files]
        return [
            LabelledPicture(picture, label, names[label])
            for picture, label in zip(self.pictures(), labels, strict=True)
        ]

    @property
    def _root(self) -> Path:
        return Path(self.path).expanduser()

    @cached_property
    def _files(self) -> list[Path]:
        files = image_files(self._root, "[!.]*/*")
        if len(files) < (self.n or 1):
            raise DataError(
                f"{self._root} holds {len(files)} images in subfolders, {self.n or 1} are needed; give a folder with "
                f"one subfolder of images ({', '.join(SUFFIXES)}) per class."
            )
        return usable(self._root, files, self.n)


def imagenet_names() -> list[str]:
    """Names of ImageNet's thousand classes as torchvision's classifiers have them; two pairs are equal."""
    from torchvision.models import ResNet50_Weights

    return list(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])
