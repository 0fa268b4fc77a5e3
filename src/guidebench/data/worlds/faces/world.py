"""The *faces* world: portraits whose identity is a point of a cube, so that two faces have a face between them.

A :class:`.Face` is a person (the numbers :data:`.IDENTITY` and lasting attributes), what it wears, an expression and
a :class:`.Setting` (pose, light, surroundings) that says nothing about who it is. :meth:`Faces.gallery` is a fixed
database of persons for morphing.
"""

import zlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.faces.captions import FACTS, VOCABULARY, describe
from guidebench.data.worlds.faces.drawing import render
from guidebench.data.worlds.faces.people import (
    ATTRIBUTES,
    IDENTITY,
    Face,
    Setting,
    hair_word,
    sample_identity,
    sample_setting,
    sample_smile,
    skin_word,
)
from guidebench.data.worlds.world import SPLITS, Caption, World

GALLERY_SIZE = 102
"""Persons of the gallery, as many as the Face Research Lab London set has."""

_WORN = frozenset({"glasses", "lipstick"})


@dataclass(frozen=True)
class Subject:
    """A person of the gallery, portrayed twice.

    Args:
        number: from 1.
        neutral: without expression.
        smiling: the same person, smiling.
    """

    number: int
    neutral: Face
    smiling: Face


class Faces(World[Face]):
    """Frontal portraits: a continuous identity, six attributes, neutral or smiling."""

    name = "faces"
    vocabulary = VOCABULARY
    facts = FACTS
    classes = (*ATTRIBUTES, "smiling")
    multilabel = True

    def sample(self, rng: np.random.Generator) -> Face:
        attributes = frozenset(name for name, often in ATTRIBUTES.items() if rng.random() < often)
        return Face(
            sample_identity(rng), attributes, sample_smile(rng, rng.random() < 0.5), sample_setting(rng)
        )

    def retake(self, face: Face, rng: np.random.Generator) -> Face:
        """Another portrait of the same person, for training recognisers.

        The setting, the expression, glasses and lipstick are drawn anew; all else stays.
        """
        other = self.sample(rng)
        attributes = (face.attributes - _WORN) | (other.attributes & _WORN)
        return replace(other, identity=face.identity, attributes=attributes)

    def person(self, split: str, index: int, portraits: int) -> tuple[Face, ...]:
        """Portraits of person `index` of a split: picture `index` and its retakes."""
        rng = self.rng(split, index)
        first = self.sample(rng)
        return (first, *(self.retake(first, rng) for _ in range(portraits - 1)))

    def render(self, picture: Face) -> NDArray[np.uint8]:
        return render(picture)

    def shown(self, picture: Face) -> frozenset[str]:
        named = dict(zip(IDENTITY, picture.identity, strict=True))
        old, long = "old" in picture.attributes, "long hair" in picture.attributes
        hair = "gray" if old else hair_word(named["hair_light"], named["hair_warmth"])
        return picture.attributes | {
            "old" if old else "young",
            "long hair" if long else "short hair",
            "smiling" if picture.smile > 0.5 else "neutral",
            f"{hair} hair",
            f"{skin_word(named['skin'])} skin",
            f"{picture.setting.background} background",
        }

    def describe(self, picture: Face, rng: np.random.Generator) -> Caption:
        return describe(self.shown(picture), rng)

    def gallery(self) -> tuple[Subject, ...]:
        """Plain portraits of 102 persons, neutral and smiling, who occur in no split.

        Nobody is old, has a mustache or wears anything. Half of them have long hair (every second), which can
        serve where pairs are to be chosen within a group. As in a studio, the background is white or gray, the
        head straight but for a little, and the light from above; each of the two portraits has its own setting.
        """
        return tuple(self.subject(number) for number in range(1, GALLERY_SIZE + 1))

    def subject(self, number: int) -> Subject:
        """Person `number` (from 1) of the gallery; beyond its end, of its like, to measure recognisers on."""
        rng = np.random.default_rng([2026, zlib.crc32(self.name.encode()), len(SPLITS), number])
        identity = sample_identity(rng)
        attributes = {"long hair"} if number % 2 == 0 else set()
        if rng.random() < ATTRIBUTES["bushy eyebrows"]:
            attributes.add("bushy eyebrows")
        background = "white" if rng.random() < 0.5 else "gray"
        neutral, smiling = (
            Face(
                identity,
                frozenset(attributes),
                sample_smile(rng, smiling),
                _studio(sample_setting(rng), background),
            )
            for smiling in (False, True)
        )
        return Subject(number, neutral, smiling)


def _studio(setting: Setting, background: str) -> Setting:
    """The same setting with a third of its pose, light from above and a named background."""
    return replace(
        setting,
        shift=(setting.shift[0] / 3, setting.shift[1] / 3),
        tilt=setting.tilt / 3,
        yaw=setting.yaw / 3,
        light=(setting.light[0] / 3, -0.5),
        background=background,
    )


FACES = Faces()
