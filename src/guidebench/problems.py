"""The problems a method solves: small plain data, one class per kind. Methods declare which kinds they handle."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
    load: Callable[[], NDArray[np.uint8]] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Problem:
    """One unit of work: a case of a dataset together with the seed of its randomness.

    Args:
        case_id: identifies the case within its dataset; never contains the prompt's text.
        seed: the seed of the run.
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
class Labelled(Problem):
    """A problem whose right answer belongs to a known class.

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
class ClassConditional(Labelled):
    """Make an image of the class."""


@dataclass(frozen=True)
class Restoration(Labelled):
    """Recover a clean image from what an operator leaves of it (a smaller, masked or blurred image).

    The operator belongs to the loss, which applies it to the reference and shows the method nothing else; metrics
    compare with the reference itself.

    Args:
        reference: the clean image, of the class `label`.
    """

    reference: Picture

    @property
    def caption(self) -> str:
        return self.reference.name


P = TypeVar("P", bound=Problem)


def of_kind(kind: type[P], problems: Sequence[Problem], where: str) -> list[P]:
    """The problems, if all are of one kind.

    Args:
        kind: the class they must have.
        problems: any.
        where: config path of who needs them, for the message.

    Raises:
        ConfigError: one is of another kind.
    """
    fitting = [problem for problem in problems if isinstance(problem, kind)]
    if len(fitting) != len(problems):
        kinds = sorted({type(problem).__name__ for problem in problems})
        raise ConfigError(
            f"{where} needs {kind.__name__} problems, got {', '.join(kinds)}; choose another dataset"
        )
    return fitting


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
