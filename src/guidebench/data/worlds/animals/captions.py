"""Captions of animals: a small closed vocabulary and several phrasings."""

import numpy as np

from guidebench.data.worlds.animals.traits import BACKGROUNDS, EARS, EYES, FACINGS, FURS, KINDS
from guidebench.data.worlds.world import Caption

MAX_WORDS = 20

_OPENINGS: tuple[str, ...] = (
    "",
    "",
    "a photo of",
    "a photo of",
    "a picture of",
    "a portrait of",
    "the face of",
    "the head of",
    "this is",
    "a close view of",
)
_FACING: tuple[str, ...] = ("facing {}", "looking {}", "turned {}")
_TILTED: tuple[str, ...] = ("a tilted head", "its head tilted")
_GROUNDS: tuple[str, ...] = ("on a {} background", "against a {} background", "in front of a {} background")

VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {*KINDS, *FURS, *EYES, *EARS, *FACINGS, *BACKGROUNDS, "animal", "dark", "light", "striped"}
        | {word for phrase in _OPENINGS for word in phrase.split()}
        | {word for phrase in (*_FACING, *_GROUNDS) for word in phrase.format("").split()}
        | {word for phrase in _TILTED for word in phrase.split()}
        | {"a", "an", "and", "ears", "eyes", "fur", "mane", "out", "tongue", "with"}
    )
)

_Phrase = tuple[str, frozenset[str]]
"""Words, and what they say (known at their last word)."""


def describe(shown: frozenset[str], rng: np.random.Generator) -> Caption:
    """A caption that says some of what a picture shows.

    Args:
        shown: every fact that is true of the picture.
        rng: picks the phrasing, the order and which details are named.

    Returns:
        At most `MAX_WORDS` words.
    """
    while True:
        phrases = _phrases(shown, rng)
        words: list[str] = []
        meanings: dict[int, frozenset[str]] = {}
        for text, says in phrases:
            words += text.split()
            if says:
                meanings[len(words) - 1] = says
        if len(words) <= MAX_WORDS:
            return Caption(tuple(words), frozenset().union(*meanings.values()), meanings)


def _phrases(shown: frozenset[str], rng: np.random.Generator) -> list[_Phrase]:
    subject, said = _subject(shown, rng)
    details: list[_Phrase] = []
    if rng.random() < 0.15:
        coat = _coat_words(shown, rng, 0.9)
        if coat and said.isdisjoint(_about(shown, "fur")):
            details.append((" ".join((*coat, "fur")), frozenset(f"{word} fur" for word in coat)))
    for noun, chance in (("eyes", 0.2), ("ears", 0.12), ("mane", 0.5)):
        details += [(fact, frozenset({fact})) for fact in _about(shown, noun) if rng.random() < chance]
    if "tongue out" in shown and rng.random() < 0.6:
        details.append(("its tongue out", frozenset({"tongue out"})))
    if "tilted" in shown and rng.random() < 0.6:
        details.append((_pick(_TILTED, rng), frozenset({"tilted"})))
    details = [details[index] for index in rng.permutation(len(details))][:2]
    details = [(_with_article(text) if text.endswith("mane") else text, says) for text, says in details]
    pose = _pose(shown, rng)
    with_details = [
        (f"{'with' if index == 0 else 'and'} {text}", says) for index, (text, says) in enumerate(details)
    ]
    phrases = [(subject, said), *((pose, *with_details) if rng.random() < 0.5 else (*with_details, pose))]
    background = _about(shown, "background")[0]
    ground: _Phrase = (_pick(_GROUNDS, rng).format(background.split()[0]), frozenset({background}))
    opening = _pick(_OPENINGS, rng)
    place = rng.random()
    if place < 0.06 and not opening:
        phrases.insert(0, ground)
    elif place < 0.45:
        phrases.append(ground)
    return [(opening, frozenset()), *phrases]


def _subject(shown: frozenset[str], rng: np.random.Generator) -> _Phrase:
    """The animal as in "a dark gray cat", with any part but the article and the noun left out."""
    kind = next(iter(shown & set(KINDS)))
    named = rng.random() < 0.96
    coat = _coat_words(shown, rng, 0.5)
    says = {f"{word} fur" for word in coat} | ({kind} if named else set())
    words = [*coat, kind if named else "animal"]
    if "striped" in shown and rng.random() < 0.4:
        words.insert(0, "striped")
        says.add("striped")
    return _with_article(" ".join(words)), frozenset(says)


def _coat_words(shown: frozenset[str], rng: np.random.Generator, chance: float) -> list[str]:
    """Shade and colour of the fur, each named with a chance; never "dark black" or "light white"."""
    names = [fact.split()[0] for fact in _about(shown, "fur")]
    shades = [name for name in names if name in ("light", "dark") and rng.random() < 0.6 * chance]
    colors = [name for name in names if name in FURS and rng.random() < chance]
    return colors if colors in (["black"], ["white"]) else [*shades, *colors]


def _pose(shown: frozenset[str], rng: np.random.Generator) -> _Phrase:
    facing = _about(shown, "facing")[0]
    if rng.random() < (0.88 if facing == "facing forward" else 0.6):
        return "", frozenset()
    return _pick(_FACING, rng).format(facing.split()[1]), frozenset({facing})


def _about(shown: frozenset[str], noun: str) -> list[str]:
    return sorted(fact for fact in shown if noun in fact.split())


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]


def _with_article(text: str) -> str:
    return ("an " if text[0] in "aeiou" else "a ") + text
