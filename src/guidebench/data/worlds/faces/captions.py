"""Captions of faces: which words say which facts, and several ways to put them together."""

import numpy as np

from guidebench.data.worlds.world import Caption

HAIR: tuple[str, ...] = ("dark", "brown", "blond", "red", "gray")
SKIN: tuple[str, ...] = ("fair", "tan", "dark")
BACKGROUNDS: tuple[str, ...] = ("blue", "green", "pink", "yellow", "purple", "gray", "white")

FACTS: tuple[str, ...] = tuple(
    sorted(
        {"old", "young", "smiling", "neutral", "mustache", "lipstick", "bushy eyebrows", "glasses"}
        | {"long hair", "short hair"}
        | {f"{word} hair" for word in HAIR}
        | {f"{word} skin" for word in SKIN}
        | {f"{word} background" for word in BACKGROUNDS}
    )
)
"""Everything a face may show and a caption may say, sorted."""

VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {word for fact in FACTS for word in fact.split()}
        | {
            "a",
            "an",
            "and",
            "drawing",
            "expression",
            "face",
            "is",
            "of",
            "on",
            "person",
            "picture",
            "portrait",
        }
        | {"smile", "there", "wearing", "who", "with"}
    )
)
"""Every word that a caption or a valid prompt may contain, sorted."""

MAX_WORDS = 20
_OPENINGS: tuple[str, ...] = ("", "", "", "a picture of", "a portrait of", "a drawing of", "there is")

Phrase = tuple[str, frozenset[str]]
"""Words and what they say."""


def describe(shown: frozenset[str], rng: np.random.Generator) -> Caption:
    """A caption that says some of what is true.

    Args:
        shown: the facts of a picture.
        rng: picks the phrasing, the order and which details are named.

    Returns:
        At most 20 words that say at least one fact.
    """
    while True:
        caption = _compose(shown, rng)
        if caption.facts and len(caption.words) <= MAX_WORDS:
            return caption


def _compose(shown: frozenset[str], rng: np.random.Generator) -> Caption:
    """A caption of any length that may say nothing."""
    adjectives = [
        word for word, often in (("old", 0.7), ("young", 0.2)) if word in shown and rng.random() < often
    ]
    features: list[Phrase] = []
    worn: list[Phrase] = []
    who: list[Phrase] = []
    expression, often, noun_phrase = ("neutral", 0.3, "a neutral expression")
    if "smiling" in shown:
        expression, often, noun_phrase = ("smiling", 0.65, "a smile")
    if rng.random() < often:
        way = rng.random()
        if way < 0.6:
            adjectives.insert(int(rng.integers(len(adjectives) + 1)), expression)
        elif way < 0.8 or expression == "neutral":
            features.append((noun_phrase, frozenset({expression})))
        else:
            who.append(("smiling", frozenset({expression})))
    wears = rng.random() < 0.35
    for words in ("a mustache", "bushy eyebrows", "glasses", "lipstick"):
        fact = words.removeprefix("a ")
        if fact in shown and rng.random() < 0.7:
            (worn if wears and fact in ("glasses", "lipstick") else features).append(
                (words, frozenset({fact}))
            )
    features += _hair(shown, rng)
    if rng.random() < 0.2:
        skin = next(fact for fact in sorted(shown) if fact.endswith("skin"))
        features.append((skin, frozenset({skin})))
    features = [features[i] for i in rng.permutation(len(features))]

    said: list[str] = []
    meanings: dict[int, frozenset[str]] = {}

    def say(before: str, phrases: list[Phrase]) -> None:
        for link, (phrase, facts) in zip([before, *["and"] * len(phrases)], phrases, strict=False):
            said.extend(f"{link} {phrase}".split())
            if facts:
                meanings[len(said) - 1] = facts

    noun = "person" if who or rng.random() < 0.35 else "face"
    head = " ".join([*adjectives, noun])
    article = "an" if head[0] in "aeiou" else "a"
    say(f"{_OPENINGS[rng.integers(len(_OPENINGS))]} {article}", [(head, frozenset(adjectives))])
    say("who is", who)
    say("wearing", worn)
    say("with", features)
    if rng.random() < 0.3:
        background = next(fact for fact in sorted(shown) if fact.endswith("background"))
        say("on a", [(background, frozenset({background}))])
    return Caption(tuple(said), frozenset[str]().union(*meanings.values()), meanings)


def _hair(shown: frozenset[str], rng: np.random.Generator) -> list[Phrase]:
    """Length, colour or both in one phrase, or none."""
    length = "long" if "long hair" in shown else "short"
    color = next(word for word in HAIR if f"{word} hair" in shown)
    named = [length] if rng.random() < (0.65 if length == "long" else 0.25) else []
    named += [color] if rng.random() < 0.35 else []
    return [(" ".join([*named, "hair"]), frozenset(f"{word} hair" for word in named))] if named else []
