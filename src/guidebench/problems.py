"""The problems a method solves: small plain data. Components ask for a problem's fields, never for its class.

A component says which fields it `reads`, a dataset which fields its problems give; what suffices is accepted. So a new
kind of problem is a class with fields, and whatever reads no more than these works on it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guidebench.errors import ConfigError


@dataclass(frozen=True)
class Picture:
    """An image that a dataset holds. Its name stands for it wherever it is compared or stored.

    Args:
        name: says which image, and whatever its pixels depend on (split, preprocessing, version).
        load: reads or draws it: uint8 (H, W, 3).
    """

    name: str
    load: Callable[[], NDArray[np.uint8]] = dataclasses.field(compare=False, repr=False)


@dataclass(frozen=True)
class Problem:
    """One unit of work: a case of a dataset together with the seed of its randomness.

    A field that is None is one that the problem does not give.

    Args:
        case_id: identifies the case within its dataset; never contains the prompt's text.
        seed: the seed of the case.
    """

    case_id: str
    seed: int

    @property
    def caption(self) -> str:
        """What is asked, in words, for tables and galleries."""
        return self.case_id

    def record(self) -> dict[str, Any]:
        """The fields as JSON scalars: a picture by its name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: v.name if isinstance(v, Picture) else v for name, v in values.items()}


@dataclass(frozen=True)
class TextToImage(Problem):
    """Make an image of `prompt`.

    Args:
        prompt: the text.
        category: the dataset's category, for tables that are broken down by it.
    """

    prompt: str
    category: str

    @property
    def caption(self) -> str:
        return self.prompt


@dataclass(frozen=True)
class ClassConditional(Problem):
    """Make an image of a class.

    Args:
        label: index of the class among those of the classifiers that guide or judge.
        name: of the class; a classifier that calls `label` something else is refused.
    """

    label: int
    name: str

    @property
    def caption(self) -> str:
        return self.name


@dataclass(frozen=True)
class Restoration(Problem):
    """Recover a clean image from what an operator leaves of it (a smaller, masked or blurred image).

    The operator belongs to the loss, which applies it to the reference and shows the method nothing else; metrics
    compare with the reference itself.

    Args:
        reference: the clean image.
        label: index of its class, where it has one.
        name: of the class, where it has one.
    """

    reference: Picture
    label: int | None = None
    name: str | None = None

    @property
    def caption(self) -> str:
        return self.reference.name


@dataclass(frozen=True)
class MotionControl(Problem):
    """Make a person move as `prompt` says, from the origin along a path or to its end, around an obstacle.

    Args:
        prompt: the text.
        path: way points (x, z) on the floor, metres, at least one; motions start at the origin, facing z.
        obstacle: (x, z) of its middle; None for none.
        category: the kind of motion, for tables that are broken down by it.
    """

    prompt: str
    path: tuple[tuple[float, float], ...]
    obstacle: tuple[float, float] | None = None
    category: str = ""

    @property
    def caption(self) -> str:
        return self.prompt

    def record(self) -> dict[str, Any]:
        return {**super().record(), "path": str(self.path), "obstacle": str(self.obstacle)}


Place = tuple[float, float]
"""A place in a picture, (x, y), as shares of its width and height from its upper left corner."""


@dataclass(frozen=True)
class Morph(Problem):
    """Make a face that passes for two people.

    Args:
        a: a picture of the first.
        b: of the second.
        identity_a: who the first is; problems that share a person are not independent.
        identity_b: who the second is.
        other_a: another picture of the first, with another expression.
        other_b: of the second.
        landmarks_a: features of the face in `a`, in an order that all pictures of a dataset share.
        landmarks_b: in `b`.
        traits_a: the numbers that make the first a person, where they are known, as in a rendered world.
        traits_b: the second.
    """

    a: Picture
    b: Picture
    identity_a: str
    identity_b: str
    other_a: Picture | None = None
    other_b: Picture | None = None
    landmarks_a: tuple[Place, ...] | None = None
    landmarks_b: tuple[Place, ...] | None = None
    traits_a: tuple[float, ...] | None = None
    traits_b: tuple[float, ...] | None = None

    @property
    def caption(self) -> str:
        return f"{self.identity_a} and {self.identity_b}"

    def record(self) -> dict[str, Any]:
        """Without landmarks and traits, for which the pictures and the identities stand."""
        return {
            name: value
            for name, value in super().record().items()
            if not name.startswith(("landmarks_", "traits_"))
        }


def field(problems: Sequence[Problem], name: str, where: str) -> list[Any]:
    """The problems' values of a field.

    Args:
        problems: any.
        name: of the field.
        where: config path of who reads it, for the message.

    Raises:
        ConfigError: a problem does not give it.
    """
    values = [getattr(problem, name, None) for problem in problems]
    lacking = next((p for p, value in zip(problems, values, strict=True) if value is None), None)
    if lacking is not None:
        given = [f.name for f in dataclasses.fields(lacking) if getattr(lacking, f.name) is not None]
        raise ConfigError(
            f"{where} reads the field {name!r} of a problem, and case {lacking.case_id!r} has {', '.join(given)}; "
            "choose another dataset"
        )
    return values
