"""The *birds* world: species of birds in many poses and places, half of them without a name in any caption."""

import numpy as np
from numpy.typing import NDArray

from guidebench.data.worlds.birds import drawing, species
from guidebench.data.worlds.birds.species import ABSENT, NAMED, PLACES, SPECIES, UNNAMED, Bird
from guidebench.data.worlds.world import Caption, World

__all__ = ["ABSENT", "BIRDS", "NAMED", "SPECIES", "UNNAMED", "Bird", "Birds"]

_SEEN = tuple(name for name in SPECIES if name not in ABSENT)
_PREFIX = "species "

_PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "branch": ("on a branch", "perched on a branch", "sitting on a branch"),
    "leaf": ("on a leaf", "standing on a leaf", "sitting on a leaf"),
    "sand": ("on the sand", "standing on the sand"),
    "grass": ("on the grass", "standing on the grass", "in the grass"),
    "rock": ("on a rock", "sitting on a rock", "standing on a rock"),
    "sky": ("in the sky", "flying in the sky", "up in the sky"),
}
_FACING_PHRASES: dict[str, tuple[str, ...]] = {
    side: (f"facing {side}", f"turned to the {side}", f"looking to the {side}") for side in ("left", "right")
}
_HEAD_PHRASES: dict[str, tuple[str, ...]] = {
    end: (f"looking {end}", f"with its head {end}") for end in ("up", "down")
}
_WINGS_PHRASES: dict[str, tuple[str, ...]] = {
    "raised": ("with raised wings", "with its wings up"),
    "folded": ("with folded wings", "with its wings folded"),
}
_OPENINGS = ("", "", "", "a picture of", "an image of", "there is", "here is")


_Phrase = tuple[list[str], frozenset[str]]
"""Words side by side, and what they say."""


def _place_fact(place: str) -> str:
    return "in sky" if place == "sky" else f"on {place}"


class Birds(World[Bird]):
    """One bird in profile, about half of the picture.

    Facts: "species cardinal" (of all species), "on branch" ... "in sky", "facing left", "head up" (none when level),
    "wings raised". Classes are the species.
    """

    name = "birds"
    classes = tuple(_PREFIX + name for name in SPECIES)
    facts = tuple(
        sorted(
            {_PREFIX + name for name in SPECIES}
            | {_place_fact(place) for place in PLACES}
            | {f"facing {side}" for side in _FACING_PHRASES}
            | {f"head {end}" for end in _HEAD_PHRASES}
            | {f"wings {state}" for state in _WINGS_PHRASES}
        )
    )
    vocabulary = tuple(
        sorted(
            {*NAMED, "a", "an", "and", "bird", "is"}
            | {word for phrase in _OPENINGS for word in phrase.split()}
            | {
                word
                for phrases in (_PLACE_PHRASES, _FACING_PHRASES, _HEAD_PHRASES, _WINGS_PHRASES)
                for choices in phrases.values()
                for phrase in choices
                for word in phrase.split()
            }
        )
    )

    def sample(self, rng: np.random.Generator) -> Bird:
        return species.sample(_SEEN[rng.integers(len(_SEEN))], rng)

    def portrait(self, label: str, rng: np.random.Generator) -> Bird:
        if label not in self.classes:
            raise ValueError(f"{label!r} is no class of {self.name}; its classes are {self.classes}")
        return species.sample(label.removeprefix(_PREFIX), rng)

    def render(self, picture: Bird) -> NDArray[np.uint8]:
        return drawing.render(picture)

    def shown(self, picture: Bird) -> frozenset[str]:
        facts = {
            _PREFIX + picture.species,
            _place_fact(picture.place),
            f"facing {picture.facing}",
            f"wings {picture.wings}",
        }
        return frozenset(facts if picture.head == "level" else facts | {f"head {picture.head}"})

    def describe(self, picture: Bird, rng: np.random.Generator) -> Caption:
        def pick(phrases: tuple[str, ...]) -> list[str]:
            return phrases[rng.integers(len(phrases))].split()

        noun = picture.species if picture.species in NAMED and rng.random() < 0.92 else "bird"
        bird: _Phrase = (
            ["an" if noun[0] in "aeiou" else "a", noun],
            frozenset({_PREFIX + noun} & set(self.facts)),
        )
        place: _Phrase = pick(_PLACE_PHRASES[picture.place]), frozenset({_place_fact(picture.place)})
        details: list[_Phrase] = []
        if rng.random() < 0.35:
            details.append((pick(_FACING_PHRASES[picture.facing]), frozenset({f"facing {picture.facing}"})))
        if picture.head != "level" and rng.random() < 0.4:
            details.append((pick(_HEAD_PHRASES[picture.head]), frozenset({f"head {picture.head}"})))
        if rng.random() < 0.3:
            details.append((pick(_WINGS_PHRASES[picture.wings]), frozenset({f"wings {picture.wings}"})))
        details = [details[i] for i in rng.permutation(len(details))[:2]]
        link: _Phrase = (["is"], frozenset())
        joined = details[:1]
        for detail in details[1:]:
            joined += [(["and"], frozenset()), detail]
        form = rng.random()
        if form < 0.12:
            phrases = [place, link, bird, *joined]
        elif form < 0.24:
            phrases = [bird, link, place, *joined]
        else:
            where = [place] if rng.random() < 0.7 else []
            middle = [*where, *joined] if rng.random() < 0.5 else [*joined, *where]
            phrases = [(pick(_OPENINGS), frozenset()), bird, *middle]
        words: list[str] = []
        meanings: dict[int, frozenset[str]] = {}
        for phrase, facts in phrases:
            words += phrase
            if facts:
                meanings[len(words) - 1] = facts
        return Caption(tuple(words), frozenset().union(*meanings.values()), meanings)


BIRDS = Birds()
