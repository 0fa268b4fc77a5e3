"""The *animals* world: portraits of nine animals that share one layout of the face.

Eyes, nose and ears stand at similar places whatever the animal, so that translating one animal into another is
meaningful. An :class:`Animal` is the ground truth; drawing is in `drawing`, captions in
`captions`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.animals import captions, drawing
from guidebench.data.worlds.animals.traits import (
    BACKGROUNDS,
    EARS,
    EYES,
    FACINGS,
    FURS,
    KINDS,
    PROPORTIONS,
    Animal,
    Backdrop,
    luma,
)
from guidebench.data.worlds.drawing import Color
from guidebench.data.worlds.world import Caption, World

__all__ = ["ANIMALS", "KINDS", "Animal", "Animals"]


@dataclass(frozen=True)
class _Choices:
    """What an animal of one kind may look like; repeated entries are likelier."""

    furs: tuple[str, ...]
    eyes: tuple[str, ...]
    ears: tuple[str, ...]
    size: tuple[float, float] = (17.0, 20.0)


_CHOICES: Mapping[str, _Choices] = {
    "cat": _Choices(("orange", "gray", "black", "white", "brown"), ("green", "yellow", "blue"), ("pointed",)),
    "dog": _Choices(
        ("brown", "black", "white", "golden", "gray"), ("brown", "brown", "blue"), ("floppy", "pointed")
    ),
    "tiger": _Choices(("orange", "orange", "orange", "white"), ("yellow",), ("round",)),
    "lion": _Choices(("golden", "golden", "golden", "white"), ("yellow", "brown"), ("round",), (15.0, 16.5)),
    "bear": _Choices(("brown", "brown", "black", "white"), ("black",), ("round",)),
    "squirrel": _Choices(("orange", "gray", "brown"), ("black",), ("pointed",)),
    "fox": _Choices(("orange", "orange", "orange", "white", "gray"), ("yellow",), ("pointed",)),
    "badger": _Choices(("gray", "gray", "brown"), ("black",), ("round",)),
    "raccoon": _Choices(("gray", "gray", "brown"), ("black",), ("round",)),
}

_LIGHTNESS: Mapping[str, tuple[float, float]] = {
    "black": (0.75, 1.1),
    "brown": (0.68, 1.3),
    "golden": (0.84, 1.08),
    "gray": (0.62, 1.35),
    "orange": (0.84, 1.1),
    "white": (0.93, 1.0),
}
"""Range of the factor on a fur's colour."""

_LIGHT_FROM, _DARK_TO, _UNCLEAR = 165.0, 95.0, 5.0
"""Fur is light above and dark below these luma levels; none is sampled this close to them."""


class Animals(World[Animal]):
    """Heads of nine animals on soft backgrounds."""

    name = "animals"
    vocabulary = captions.VOCABULARY
    classes = KINDS
    facts = tuple(
        sorted(
            {
                *KINDS,
                *(f"{fur} fur" for fur in (*FURS, "light", "dark")),
                *(f"{eyes} eyes" for eyes in EYES),
                *(f"{ears} ears" for ears in EARS),
                *(f"facing {facing}" for facing in FACINGS),
                *(f"{background} background" for background in BACKGROUNDS),
                "dark mane",
                "light mane",
                "striped",
                "tilted",
                "tongue out",
            }
        )
    )

    def sample(self, rng: np.random.Generator) -> Animal:
        """Draw the ground truth of a random portrait, all kinds alike often."""
        return self.portrait(KINDS[rng.integers(len(KINDS))], rng)

    def portrait(self, label: str, rng: np.random.Generator) -> Animal:
        """Draw the ground truth of a random portrait of one kind.

        Args:
            label: one of `KINDS`.
            rng: source of all randomness.

        Raises:
            ValueError: unknown kind.
        """
        if label not in KINDS:
            raise ValueError(f"label must be one of {KINDS}, not {label!r}")
        kind, choices = label, _CHOICES[label]
        fur = _pick(choices.furs, rng)
        coat = _coat(fur, rng)
        eyes = "blue" if (kind, fur) == ("tiger", "white") else _pick(choices.eyes, rng)
        facing = _pick((*FACINGS, "forward"), rng)
        yaw = rng.uniform(-0.07, 0.07) if facing == "forward" else rng.uniform(0.27, 0.42)
        roll = (
            rng.uniform(0.23, 0.36) * rng.choice((-1, 1)) if rng.random() < 0.25 else rng.uniform(-0.07, 0.07)
        )
        tabby = kind == "cat" and fur in ("orange", "gray", "brown") and rng.random() < 0.6
        return Animal(
            kind=kind,
            fur=fur,
            coat=coat,
            eyes=eyes,
            ears=_pick(choices.ears, rng),
            striped=kind in ("tiger", "badger") or tabby,
            blaze=kind in ("cat", "dog") and fur != "white" and rng.random() < 0.35,
            patch=float(rng.choice((-1, 0, 0, 1))) if kind == "dog" else 0.0,
            tongue=kind == "dog" and rng.random() < 0.4,
            mane=_pick(("light", "dark"), rng) if kind == "lion" else None,
            facing=facing,
            yaw=float(-yaw if facing == "left" else yaw),
            roll=float(roll),
            x=float(rng.uniform(29.0, 35.0)),
            y=float(rng.uniform(33.5, 37.0)),
            size=float(rng.uniform(*choices.size)),
            proportions=tuple(float(rng.uniform(0.9, 1.1)) for _ in PROPORTIONS),
            light=float(rng.uniform(-2.6, -0.5)),
            backdrop=_backdrop(coat, rng),
            detail=int(rng.integers(2**31)),
        )

    def render(self, picture: Animal) -> NDArray[np.uint8]:
        """Draw it: RGB, `uint8` of shape (64, 64, 3), anti-aliased."""
        return drawing.render(picture)

    def shown(self, picture: Animal) -> frozenset[str]:
        """Every fact that is true of the picture."""
        facts = {
            picture.kind,
            f"{picture.fur} fur",
            f"{picture.eyes} eyes",
            f"{picture.ears} ears",
            f"facing {picture.facing}",
            f"{picture.backdrop.name} background",
        }
        level = luma(picture.coat)
        if level > _LIGHT_FROM:
            facts.add("light fur")
        if level < _DARK_TO:
            facts.add("dark fur")
        if picture.mane is not None:
            facts.add(f"{picture.mane} mane")
        if picture.striped:
            facts.add("striped")
        if picture.tilted:
            facts.add("tilted")
        if picture.tongue:
            facts.add("tongue out")
        return frozenset(facts)

    def describe(self, picture: Animal, rng: np.random.Generator) -> Caption:
        """A true caption; `rng` picks phrasing, order and which details are named."""
        return captions.describe(self.shown(picture), rng)


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]


def _coat(fur: str, rng: np.random.Generator) -> Color:
    while True:
        levels = np.array(FURS[fur]) * rng.uniform(*_LIGHTNESS[fur]) * rng.uniform(0.975, 1.025, 3)
        coat: Color = tuple(np.clip(levels, 12.0, 246.0).tolist())
        level = luma(coat)
        if min(abs(level - _LIGHT_FROM), abs(level - _DARK_TO)) > _UNCLEAR:
            return coat


def _backdrop(coat: Color, rng: np.random.Generator) -> Backdrop:
    """A backdrop from which the coat stands out."""
    while True:
        name = _pick(tuple(BACKGROUNDS), rng)
        color: Color = tuple((np.array(BACKGROUNDS[name]) + rng.uniform(-9.0, 9.0, 3)).tolist())
        if np.linalg.norm(np.subtract(color, coat)) > 75.0:
            style = _pick(("graded", "glow", "discs", "floor"), rng)
            return Backdrop(
                name, color, style, float(rng.uniform(8.0, 20.0)), float(rng.uniform(0.0, 2 * np.pi))
            )


ANIMALS = Animals()
