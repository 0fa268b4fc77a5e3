"""The species of the *birds* world and the ground truth of one picture.

Twelve species have names that captions use and twelve have names that no caption contains, as the rare bird names of
Wallace et al. 2023 (DOODL), section 5.2. Named and unnamed species come in pairs of equal build, so that
neither half is easier to draw or to recognise.
"""

from dataclasses import dataclass

import numpy as np

from guidebench.data.worlds.drawing import Color

COLORS: dict[str, Color] = {
    "red": (212, 48, 46),
    "maroon": (138, 34, 44),
    "orange": (240, 132, 40),
    "rust": (178, 84, 44),
    "yellow": (248, 208, 64),
    "cream": (246, 230, 194),
    "lime": (150, 194, 66),
    "green": (46, 140, 84),
    "teal": (44, 166, 176),
    "blue": (52, 106, 208),
    "navy": (38, 54, 108),
    "purple": (122, 74, 172),
    "pink": (244, 142, 168),
    "brown": (124, 86, 60),
    "tan": (204, 166, 122),
    "black": (40, 40, 50),
    "white": (248, 246, 240),
    "gray": (142, 150, 162),
}
"""Plumage, sRGB."""

BUILDS: tuple[str, ...] = ("songbird", "slender", "upright", "wader", "duck", "parrot")
CRESTS: tuple[str, ...] = ("none", "peak", "tufts", "fan", "plume")
BEAKS: tuple[str, ...] = ("short", "long", "hooked", "deep", "flat")
TAILS: tuple[str, ...] = ("short", "long", "forked")
MARKINGS: tuple[str, ...] = ("none", "mask", "cap", "cheek", "collar", "bib", "bar", "spots")


@dataclass(frozen=True)
class Parts:
    """What all birds of a species share. Colours are keys of :data:`COLORS`.

    Args:
        build: proportions of body, neck and legs, one of `BUILDS`.
        head: colour of head and neck.
        back: colour of the upper side.
        wing: colour.
        belly: colour of breast and belly.
        beak: shape, one of `BEAKS`, and colour.
        tail: shape, one of `TAILS`, and colour.
        crest: shape, one of `CRESTS`, and colour.
        marking: one of `MARKINGS`, and colour: mask, cap and cheek on the head; collar and bib at the throat; a bar
            across the wing; spots on the belly.
    """

    build: str
    head: str
    back: str
    wing: str
    belly: str
    beak: tuple[str, str]
    tail: tuple[str, str]
    crest: tuple[str, str] = ("none", "none")
    marking: tuple[str, str] = ("none", "none")


_NAMED: dict[str, Parts] = {
    "cardinal": Parts(
        "songbird", "red", "red", "maroon", "red", ("short", "orange"), ("long", "maroon"), ("peak", "red"),
        ("mask", "black"),
    ),
    "robin": Parts(
        "songbird", "brown", "brown", "brown", "orange", ("short", "yellow"), ("short", "brown"),
        marking=("bib", "orange"),
    ),
    "swallow": Parts(
        "slender", "blue", "blue", "navy", "cream", ("short", "black"), ("forked", "navy"), marking=("bib", "rust")
    ),
    "magpie": Parts(
        "slender", "black", "black", "blue", "white", ("short", "black"), ("long", "black"),
        marking=("bar", "white"),
    ),
    "owl": Parts(
        "upright", "tan", "brown", "brown", "cream", ("hooked", "yellow"), ("short", "brown"), ("tufts", "brown"),
        ("spots", "rust"),
    ),
    "puffin": Parts(
        "upright", "black", "black", "black", "white", ("deep", "orange"), ("short", "black"),
        marking=("cheek", "white"),
    ),
    "heron": Parts(
        "wader", "white", "gray", "navy", "gray", ("long", "yellow"), ("short", "gray"), ("plume", "black")
    ),
    "flamingo": Parts("wader", "pink", "pink", "red", "pink", ("hooked", "black"), ("short", "pink")),
    "mallard": Parts(
        "duck", "green", "brown", "gray", "rust", ("flat", "yellow"), ("short", "black"),
        marking=("collar", "white"),
    ),
    "goose": Parts("duck", "white", "gray", "gray", "white", ("flat", "orange"), ("short", "white")),
    "macaw": Parts(
        "parrot", "red", "red", "blue", "red", ("hooked", "black"), ("long", "blue"), marking=("bar", "yellow")
    ),
    "cockatoo": Parts(
        "parrot", "white", "white", "cream", "white", ("hooked", "gray"), ("short", "white"), ("fan", "yellow")
    ),
}  # fmt: skip

_UNNAMED: dict[str, Parts] = {
    "waxwing": Parts(
        "songbird", "tan", "tan", "gray", "yellow", ("short", "black"), ("short", "gray"), ("peak", "tan"),
        ("mask", "black"),
    ),
    "bunting": Parts(
        "songbird", "blue", "lime", "green", "red", ("short", "gray"), ("short", "green")
    ),
    "roller": Parts(
        "slender", "teal", "rust", "purple", "teal", ("short", "black"), ("forked", "purple"), marking=("mask", "navy")
    ),
    "oriole": Parts(
        "slender", "black", "orange", "black", "orange", ("short", "gray"), ("long", "black"),
        marking=("bar", "white"),
    ),
    "trogon": Parts(
        "upright", "green", "green", "green", "red", ("hooked", "yellow"), ("long", "green"),
        marking=("collar", "white"),
    ),
    "barbet": Parts(
        "upright", "red", "lime", "lime", "yellow", ("deep", "gray"), ("short", "lime"), marking=("cap", "black")
    ),
    "ibis": Parts("wader", "black", "white", "white", "white", ("long", "black"), ("short", "black")),
    "crane": Parts(
        "wader", "gray", "navy", "cream", "navy", ("short", "black"), ("short", "rust"), ("fan", "yellow"),
        ("cheek", "red"),
    ),
    "mandarin": Parts(
        "duck", "cream", "orange", "blue", "purple", ("flat", "red"), ("short", "brown"), ("plume", "orange")
    ),
    "eider": Parts(
        "duck", "white", "white", "black", "black", ("flat", "yellow"), ("short", "black"), marking=("cap", "black")
    ),
    "lory": Parts(
        "parrot", "blue", "green", "green", "orange", ("hooked", "red"), ("long", "green"),
        marking=("collar", "yellow"),
    ),
    "galah": Parts(
        "parrot", "pink", "gray", "gray", "pink", ("hooked", "cream"), ("short", "gray"), ("fan", "white")
    ),
}  # fmt: skip

SPECIES: dict[str, Parts] = _NAMED | _UNNAMED
"""Name to parts, named species first."""

NAMED: tuple[str, ...] = tuple(_NAMED)
"""Species whose names are words of the captions."""

UNNAMED: tuple[str, ...] = tuple(_UNNAMED)
"""Species that captions call "a bird"; the names are not in the vocabulary."""

ABSENT: tuple[str, ...] = ("bunting", "oriole", "eider", "galah")
"""Unnamed species that no split contains. Each of their shapes and markings is seen on some other species."""

PLACES: tuple[str, ...] = ("branch", "leaf", "sand", "grass", "rock", "sky")


@dataclass(frozen=True)
class Bird:
    """The ground truth of one picture.

    Args:
        species: a key of `SPECIES`.
        facing: "left" or "right".
        head: "up", "level" or "down".
        wings: "folded" or "raised"; always raised in the sky.
        place: one of `PLACES`.
        extent: longer side of the box around the bird in pixels.
        x: place of that box between the left (0) and the right (1) edge of the picture.
        y: place of that box between the top (0) and the bottom (1) edge of the picture.
        tilt: of the whole bird in radians, beak down.
        nod: of the head in radians, beak down.
        beat: of the wing in radians away from its usual position.
        tint: sRGB levels added to the plumage.
        scenery: seed of the background's colours and details.
    """

    species: str
    facing: str
    head: str
    wings: str
    place: str
    extent: float
    x: float
    y: float
    tilt: float
    nod: float
    beat: float
    tint: Color
    scenery: int


def sample(species: str, rng: np.random.Generator) -> Bird:
    """A bird of a species in a random pose and place.

    Raises:
        ValueError: unknown species.
    """
    if species not in SPECIES:
        raise ValueError(f"species must be one of {tuple(SPECIES)}, not {species!r}")
    place = PLACES[rng.integers(len(PLACES))]
    head = ("up", "level", "down")[rng.choice(3, p=(0.3, 0.4, 0.3))]
    middle = {"up": -0.42, "level": 0.0, "down": 0.42}[head]
    level, red, green, blue = rng.normal(0.0, (7.0, 4.0, 4.0, 4.0)).clip(-16.0, 16.0)
    return Bird(
        species=species,
        facing=("left", "right")[rng.integers(2)],
        head=head,
        wings="raised" if place == "sky" or rng.random() < 0.3 else "folded",
        place=place,
        extent=float(rng.uniform(45.0, 56.0)),
        x=float(rng.uniform()),
        y=float(rng.uniform()),
        tilt=float(rng.uniform(-0.12, 0.12)),
        nod=middle + float(rng.uniform(-0.1, 0.1)),
        beat=float(rng.uniform(-0.15, 0.15)),
        tint=(float(level + red), float(level + green), float(level + blue)),
        scenery=int(rng.integers(2**31)),
    )
