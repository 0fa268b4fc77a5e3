"""What every small world offers: pictures drawn by code, with all their attributes known."""

import hashlib
import inspect
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

IMAGE_SIZE = 64
"""Height and width of a picture in pixels."""

SPLITS: tuple[str, ...] = ("train", "validation", "test")

Picture = TypeVar("Picture")
"""The ground truth of one picture: a frozen dataclass of the world."""


@dataclass(frozen=True)
class Caption:
    """A caption and what its words say.

    Args:
        words: the words, lower case, without punctuation, all in the world's vocabulary.
        facts: what the whole caption says, a subset of the world's facts.
        meanings: for the last word of a phrase (by its index in `words`), what that phrase says.
    """

    words: tuple[str, ...]
    facts: frozenset[str]
    meanings: Mapping[int, frozenset[str]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The caption as one line."""
        return " ".join(self.words)


class World(ABC, Generic[Picture]):
    """Pictures, captions and facts of one kind; picture `index` of a split is a pure function of (split, index).

    Subclasses declare:
        name: of the world, lower case.
        vocabulary: every word that a caption or a valid prompt may contain, sorted.
        facts: names of everything a picture may show and a caption may say ("red circle", "crested"), sorted.
            A model is trained to read them from pictures and captions.
        classes: the facts that the world's classifiers read; empty where there is no classifier.
        multilabel: whether several classes can be true of one picture.
    """

    name: str
    vocabulary: tuple[str, ...]
    facts: tuple[str, ...]
    classes: tuple[str, ...] = ()
    multilabel: bool = False

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Picture:
        """Draw the ground truth of a random picture."""

    @abstractmethod
    def render(self, picture: Picture) -> NDArray[np.uint8]:
        """Draw it: RGB, `uint8` of shape (64, 64, 3), anti-aliased."""

    @abstractmethod
    def shown(self, picture: Picture) -> frozenset[str]:
        """Every fact that is true of the picture."""

    @abstractmethod
    def describe(self, picture: Picture, rng: np.random.Generator) -> Caption:
        """A true caption; `rng` picks phrasing, order and which details are named."""

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a picture of this world can: 12 digits of the SHA-256 of its code, classes and two pictures.

        The code decides what is drawn, and the pictures notice another version of the libraries that draw.
        """
        shared, own = Path(__file__).parent, Path(inspect.getfile(type(self))).parent
        code = [shared / "drawing.py", shared / "world.py", *sorted(own.glob("*.py"))]
        total = hashlib.sha256(repr(self.classes).encode())
        for file in code:
            total.update(file.read_text(encoding="utf-8").encode())
        for index in range(2):
            total.update(self.render(self.picture("test", index)).tobytes())
        return total.hexdigest()[:12]

    def portrait(self, label: str, rng: np.random.Generator) -> Picture:
        """Draw the ground truth of a random picture of a class, by rejection unless the world knows better.

        Raises:
            ValueError: `label` is not one of `classes`.
        """
        if label not in self.classes:
            raise ValueError(f"{label!r} is no class of {self.name}; its classes are {self.classes}")
        while True:
            picture = self.sample(rng)
            if label in self.shown(picture):
                return picture

    def rng(self, split: str, index: int) -> np.random.Generator:
        """The random stream of picture `index` of a split; streams of different pictures are independent.

        Raises:
            ValueError: unknown split.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
        return np.random.default_rng([2026, zlib.crc32(self.name.encode()), SPLITS.index(split), index])

    def picture(self, split: str, index: int) -> Picture:
        """Ground truth of picture `index` of a split: the same one on every machine."""
        return self.sample(self.rng(split, index))
