"""Galleries: people who were portrayed twice, neutral and smiling."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from guidebench.data.morphs.landmarks import landmarks
from guidebench.data.noise_pictures import NoisePictures
from guidebench.data.worlds.faces.people import Face
from guidebench.data.worlds.faces.world import FACES
from guidebench.problems import Picture, Place


@dataclass(frozen=True)
class Person:
    """Somebody of a gallery.

    Args:
        name: within the gallery.
        group: people are morphed within their group.
        neutral: the picture that is morphed.
        smiling: another picture.
        landmarks: of the neutral picture, in an order that the gallery's people share; None = unknown.
        traits: the numbers that make the person, in a rendered world.
    """

    name: str
    group: str
    neutral: Picture
    smiling: Picture
    landmarks: tuple[Place, ...] | None = None
    traits: tuple[float, ...] | None = None


class Gallery(ABC):
    """People to morph; also the bona fide pictures that metrics compare with (`name` and `pictures`)."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Says which pictures: the set, and whatever their pixels depend on."""

    @abstractmethod
    def people(self) -> Sequence[Person]:
        """Everybody, always the same in the same order.

        Raises:
            DataError: the pictures cannot be found.
        """

    def pictures(self) -> Sequence[Picture]:
        """The neutral pictures, then the smiling ones."""
        people = self.people()
        return [*(p.neutral for p in people), *(p.smiling for p in people)]


class RenderedGallery(Gallery):
    """The 102 people of the rendered world of faces, who occur in no training: nobody's likeness is used.

    Groups are long and short hair.
    """

    name: str = "gallery of the rendered faces, 102 people"

    def people(self) -> Sequence[Person]:
        return _rendered()


@functools.cache
def _rendered() -> tuple[Person, ...]:
    return tuple(
        Person(
            f"{subject.number:03d}",
            "long hair" if "long hair" in subject.neutral.attributes else "short hair",
            _picture(subject.number, "neutral", subject.neutral),
            _picture(subject.number, "smiling", subject.smiling),
            landmarks(subject.neutral),
            subject.neutral.identity,
        )
        for subject in FACES.gallery()
    )


def _picture(number: int, expression: str, face: Face) -> Picture:
    return Picture(
        f"faces/gallery/{number:03d}/{expression} {FACES.fingerprint}", partial(FACES.render, face)
    )


class NoiseGallery(Gallery):
    """People of smooth noise: nothing to download, for runs where only time and memory are of interest.

    Args:
        n: how many.
        size: side of the pictures, pixels.
    """

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, size

    @property
    def name(self) -> str:
        return f"{self.n} people of smooth noise ({self.size} px)"

    def people(self) -> Sequence[Person]:
        pictures = NoisePictures(2 * self.n, self.size).pictures()
        square = ((0.3, 0.3), (0.7, 0.3), (0.3, 0.7), (0.7, 0.7))
        return [Person(f"{i:03d}", "noise", pictures[i], pictures[self.n + i], square) for i in range(self.n)]
