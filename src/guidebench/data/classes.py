"""Classes to make images of, and images of known classes to restore."""

from collections.abc import Sequence

from guidebench.data.case_ids import case_id, slug
from guidebench.data.pictures import PictureSet, imagenet_names
from guidebench.data.worlds import WORLDS
from guidebench.errors import DataError
from guidebench.problems import ClassConditional, Restoration


class WorldClasses:
    """The classes of embedded worlds; seeds tell several images of one class apart.

    Args:
        worlds: their names; classes are numbered through in this order, as the classifiers of these worlds do.
        without: classes to leave out, such as those that no picture shows; the others keep their numbers.
        limit: the first n classes; null takes all.
    """

    paper: str = "after LGD, Tab. 4"
    gives: tuple[str, ...] = ("label", "name")

    def __init__(self, worlds: Sequence[str], without: Sequence[str] = (), limit: int | None = None) -> None:
        unknown = [world for world in worlds if world not in WORLDS or not WORLDS[world].classes]
        if unknown or not worlds:
            allowed = ", ".join(name for name, world in WORLDS.items() if world.classes)
            raise DataError(f"dataset.worlds={list(worlds)}: allowed are {allowed}, at least one.")
        self.names = [name for world in worlds for name in WORLDS[world].classes]
        if not set(without) <= set(self.names):
            raise DataError(f"dataset.without={list(without)}: allowed are {', '.join(self.names)}.")
        self.without, self.limit = set(without), _checked(limit)

    def problems(self, seeds: Sequence[int]) -> list[ClassConditional]:
        """Every class with every seed, classes outermost."""
        kept = [(label, name) for label, name in enumerate(self.names) if name not in self.without]
        return [
            ClassConditional(case_id(name), seed, label, name)
            for label, name in kept[: self.limit]
            for seed in seeds
        ]


class ImageNetClasses:
    """ImageNet's thousand classes; seeds tell several images of one class apart.

    Args:
        limit: n classes, spread evenly over the thousand; null takes all.
    """

    paper: str = "LGD, Tab. 4"
    gives: tuple[str, ...] = ("label", "name")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = _checked(limit)

    def problems(self, seeds: Sequence[int]) -> list[ClassConditional]:
        """Every class with every seed, classes outermost; case ids begin with the class's number, as names repeat."""
        names = list(enumerate(imagenet_names()))
        n = len(names) if self.limit is None else self.limit
        kept = [names[i * len(names) // n] for i in range(n)]
        return [
            ClassConditional(f"{label}-{slug(name)}", seed, label, name)
            for label, name in kept
            for seed in seeds
        ]


class Restorations:
    """Images to restore from what the loss's operator leaves of them.

    Args:
        pictures: the clean images.
        limit: n of them, spread evenly; null takes all.
    """

    paper: str = "after LGD, Tab. 1"
    gives: tuple[str, ...] = ("reference", "label", "name")

    def __init__(self, pictures: PictureSet, limit: int | None = None) -> None:
        self.pictures, self.limit = pictures, _checked(limit)

    def problems(self, seeds: Sequence[int]) -> list[Restoration]:
        """Every image with every seed, images outermost.

        Raises:
            DataError: the images cannot be found, or have no classes.
        """
        found = self.pictures.labelled()
        n = len(found) if self.limit is None else min(self.limit, len(found))
        return [
            Restoration(case_id(picture.name), seed, picture, label, name)
            for picture, label, name in (found[i * len(found) // n] for i in range(n))
            for seed in seeds
        ]


def _checked(limit: int | None) -> int | None:
    if limit is not None and limit < 1:
        raise DataError(f"dataset.limit={limit}; allowed: 1 or more, or null for all.")
    return limit
