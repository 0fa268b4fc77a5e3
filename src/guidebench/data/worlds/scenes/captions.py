"""Captions of scenes: a small closed vocabulary and several phrasings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from guidebench.data.worlds.scenes.scene import (
    BACKGROUNDS,
    COLORS,
    RELATIONS,
    SHAPES,
    Scene,
    SceneObject,
    stands,
)

SIZE_WORDS: dict[str, str] = {"small": "small", "tiny": "small", "large": "large", "big": "large"}
COUNT_WORDS: dict[str, int] = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}
RELATION_WORDS: dict[str, str] = {
    "to the left of": "left",
    "to the right of": "right",
    "left of": "left",
    "right of": "right",
    "above": "above",
    "below": "below",
    "under": "below",
}
PLURALS: dict[str, str] = {shape: shape + ("es" if shape == "cross" else "s") for shape in (*SHAPES, "shape")}
SINGULAR: dict[str, str | None] = {
    **{shape: shape for shape in SHAPES},
    **{plural: shape for shape, plural in PLURALS.items() if shape != "shape"},
    "shape": None,
    "shapes": None,
}

VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {*COLORS, *BACKGROUNDS, *SINGULAR, *SIZE_WORDS, *COUNT_WORDS}
        | {word for phrase in RELATION_WORDS for word in phrase.split()}
        | {"and", "background", "image", "of", "on", "picture", "there", "is", "are", "with"}
    )
)
"""Every word that a caption or a valid prompt may contain, sorted."""


@dataclass(frozen=True)
class Group:
    """Identical objects that one noun phrase names; ``None`` means "not said".

    Attributes:
        count: Number of objects, 1 to 4.
        color: A key of :data:`COLORS`, or None.
        shape: One of :data:`SHAPES`, or None.
        size: ``"small"``, ``"large"`` or None.
    """

    count: int
    color: str | None = None
    shape: str | None = None
    size: str | None = None


@dataclass(frozen=True)
class Description:
    """A caption with what its words refer to.

    Attributes:
        words: The words of the caption.
        owners: For each word the index into ``groups`` of the noun phrase it belongs to, or -1.
        groups: What each noun phrase says.
        relations: ``(i, relation, j)``: group i is ``relation`` (of) group j.
    """

    words: tuple[str, ...]
    owners: tuple[int, ...]
    groups: tuple[Group, ...]
    relations: tuple[tuple[int, str, int], ...]


def describe(scene: Scene, rng: np.random.Generator) -> Description:
    """Describe a scene in words of :data:`VOCABULARY`, and say which words name which objects.

    Args:
        scene: What to describe.
        rng: Picks the phrasing, the order and which details are named.

    Returns:
        A true caption in lower case without punctuation, with its noun phrases and relations.
    """
    members: dict[tuple[str, str, str], list[SceneObject]] = {}
    for item in scene.objects:
        members.setdefault((item.shape, item.color, item.size), []).append(item)
    looks = list(members)
    rng.shuffle(looks)
    name_sizes = rng.random() < 0.3
    groups: list[Group] = []
    for shape, color, size in looks:
        drop = rng.random() if len(looks) <= 2 else 1.0
        groups.append(
            Group(
                len(members[shape, color, size]),
                None if drop < 0.03 else color,
                None if 0.03 <= drop < 0.06 else shape,
                size if name_sizes else None,
            )
        )
    phrases = [_noun_phrase(group, rng) for group in groups]
    words: list[str] = []
    owners: list[int] = []

    def say(text: Iterable[str], owner: int = -1) -> None:
        for word in text:
            words.append(word)
            owners.append(owner)

    opening = rng.random()
    if opening < 0.1:
        say(("a", "picture", "of"))
    elif opening < 0.2:
        say(("an", "image", "of"))
    elif opening < 0.3:
        say(("there", "is" if groups[0].count == 1 else "are"))
    say(phrases[0], 0)
    relations: list[tuple[int, str, int]] = []
    if len(groups) == 2:
        held = [
            r for r in RELATIONS if all(stands(r, a, b) for a in members[looks[0]] for b in members[looks[1]])
        ]
        if held and rng.random() < 0.6:
            relation = held[0]
            phrasings = [phrase for phrase, name in RELATION_WORDS.items() if name == relation]
            say(phrasings[rng.integers(len(phrasings))].split())
            relations.append((0, relation, 1))
        else:
            say(("with",) if rng.random() < 0.15 else ("and",))
        say(phrases[1], 1)
    else:
        for index, phrase in enumerate(phrases[1:], start=1):
            if index == len(phrases) - 1 or rng.random() < 0.3:
                say(("and",))
            say(phrase, index)
    if rng.random() < 0.35:
        say(("on", "a", scene.background.name, "background"))
    return Description(tuple(words), tuple(owners), tuple(groups), tuple(relations))


def _noun_phrase(group: Group, rng: np.random.Generator) -> list[str]:
    words: list[str] = []
    if group.size is not None:
        synonyms = [word for word, size in SIZE_WORDS.items() if size == group.size]
        words.append(synonyms[0] if rng.random() < 0.7 else synonyms[1])
    if group.color is not None:
        words.append(group.color)
    noun = group.shape or "shape"
    words.append(noun if group.count == 1 else PLURALS[noun])
    if group.count > 1:
        return [("two", "three", "four")[group.count - 2], *words]
    if rng.random() < 0.05:
        return ["one", *words]
    return ["an" if words[0][0] in "aeiou" else "a", *words]
