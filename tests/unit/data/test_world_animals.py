"""The animals world: pictures, facts and captions agree."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from guidebench.data.worlds.animals.captions import MAX_WORDS
from guidebench.data.worlds.animals.traits import BACKGROUNDS, EYES, FURS
from guidebench.data.worlds.animals.world import ANIMALS, KINDS, Animal
from guidebench.data.worlds.world import SPLITS, Caption

COUNT = 150

Pixels = np.ndarray


@pytest.fixture(scope="module")
def animals() -> list[Animal]:
    return [ANIMALS.picture("test", index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def captions(animals: list[Animal]) -> list[tuple[Animal, Caption]]:
    rng = np.random.default_rng(0)
    return [(animal, ANIMALS.describe(animal, rng)) for animal in animals for _ in range(24)]


def portrait(kind: str, **changes: object) -> Animal:
    """A straight, frontal head in the middle, with changes."""
    straight = {"x": 32.0, "y": 35.0, "yaw": 0.0, "roll": 0.0, "size": 18.0, "facing": "forward"}
    animal = ANIMALS.portrait(kind, np.random.default_rng(5))
    return replace(animal, **{"proportions": (1.0,) * 7, **straight, **changes})


def draw(kind: str, **changes: object) -> Pixels:
    return ANIMALS.render(portrait(kind, **changes)).astype(float)


def changed(a: Pixels, b: Pixels) -> Pixels:
    """Pixels (row, column) where two pictures differ clearly, (n, 2)."""
    return np.argwhere(np.abs(a - b).max(axis=-1) > 25)


def test_a_picture_is_a_function_of_split_and_index() -> None:
    first, again = ANIMALS.picture("train", 17), ANIMALS.picture("train", 17)
    assert first == again
    image = ANIMALS.render(first)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert np.array_equal(image, ANIMALS.render(again))
    words = ANIMALS.describe(first, np.random.default_rng(3))
    assert words == ANIMALS.describe(first, np.random.default_rng(3))


def test_splits_differ_and_no_two_pictures_are_alike() -> None:
    drawn = [ANIMALS.picture(split, index) for split in SPLITS for index in range(30)]
    assert len(set(drawn)) == len({ANIMALS.render(animal).tobytes() for animal in drawn}) == len(drawn)


def test_an_unknown_kind_or_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"label must be one of .*'cat'.* not 'cow'"):
        ANIMALS.portrait("cow", np.random.default_rng(0))
    with pytest.raises(ValueError, match="split"):
        ANIMALS.picture("dev", 0)


def test_all_kinds_are_alike_often_and_every_fact_occurs() -> None:
    drawn = [ANIMALS.picture("train", index) for index in range(1500)]
    kinds = Counter(animal.kind for animal in drawn)
    assert set(kinds) == set(KINDS) and min(kinds.values()) > 0.75 * 1500 / len(KINDS)
    assert frozenset().union(*map(ANIMALS.shown, drawn)) == set(ANIMALS.facts)


def test_shades_of_fur_are_what_the_coat_is(animals: list[Animal]) -> None:
    for animal in animals:
        shown = ANIMALS.shown(animal)
        level = float(np.dot(animal.coat, (0.299, 0.587, 0.114)))
        assert ("light fur" in shown) == (level > 165) and ("dark fur" in shown) == (level < 95)


# -------------------------------------------------------------------------------------------- captions


def read(text: str) -> set[str]:
    """The facts that a caption says, read from its text alone."""
    facts = set(re.findall(r"\b\w+ (?:eyes|ears|mane|background)\b", text))
    facts |= {f"facing {way}" for way in re.findall(r"\b(?:facing|looking|turned) (\w+)", text)}
    facts |= {kind for kind in KINDS if re.search(rf"\b{kind}\b", text)}
    facts |= {fact for fact in ("striped", "tilted", "tongue out") if fact in text}
    text = re.sub(r"\b\w+ background", "", text)
    for phrase in re.findall(r"\b((?:\w+ ){1,3})(?:animal|fur|" + "|".join(KINDS) + r")\b", text):
        facts |= {f"{word} fur" for word in phrase.split() if word in (*FURS, "light", "dark")}
    return facts


def test_captions_are_true_and_say_what_they_claim(captions: list[tuple[Animal, Caption]]) -> None:
    for animal, caption in captions:
        assert caption.facts <= ANIMALS.shown(animal) <= set(ANIMALS.facts), caption.text
        assert caption.facts == frozenset().union(*caption.meanings.values()), caption.text
        assert read(caption.text) == caption.facts, caption.text


def test_meanings_stand_at_the_last_word_of_their_phrase(captions: list[tuple[Animal, Caption]]) -> None:
    last = {*KINDS, "animal", "fur", "eyes", "ears", "mane", "out", "head", "tilted", "background"}
    for _, caption in captions:
        for index in caption.meanings:
            assert caption.words[index] in last | {"left", "right", "forward"}, caption.text


def test_captions_keep_to_the_vocabulary_and_use_all_of_it(captions: list[tuple[Animal, Caption]]) -> None:
    used = {word for _, caption in captions for word in caption.words}
    assert used == set(ANIMALS.vocabulary)
    assert list(ANIMALS.vocabulary) == sorted(set(ANIMALS.vocabulary))
    assert all(re.fullmatch("[a-z]+", word) for word in ANIMALS.vocabulary)
    assert max(len(caption.words) for _, caption in captions) <= MAX_WORDS
    assert not any(
        re.search(r"\ba [aeiou]|\ban [^aeiou]|dark black|light white", c.text) for _, c in captions
    )


# ---------------------------------------------------------------------------------------------- pixels


def test_the_corner_has_the_named_background(animals: list[Animal]) -> None:
    names, colors = list(BACKGROUNDS), np.array(list(BACKGROUNDS.values()))
    right = 0
    for animal in animals:
        corner = ANIMALS.render(animal)[:6, :6].reshape(-1, 3).mean(axis=0)
        right += names[int(np.linalg.norm(colors - corner, axis=1).argmin())] == animal.backdrop.name
    assert right >= 0.99 * COUNT


@pytest.mark.parametrize("coat", [(60.0, 60.0, 64.0), (150.0, 90.0, 50.0), (230.0, 200.0, 160.0)])
def test_the_brow_has_the_colour_of_the_coat(coat: tuple[float, float, float]) -> None:
    brow = draw("bear", coat=coat)[22:28, 26:38].reshape(-1, 3).mean(axis=0)
    assert np.abs(brow - coat).max() < 26


@pytest.mark.parametrize("kind", KINDS)
def test_eyes_stand_at_the_same_place_in_every_kind_and_have_their_colour(kind: str) -> None:
    green, blue = draw(kind, eyes="green"), draw(kind, eyes="blue")
    at = changed(green, blue)
    assert len(at) >= 12
    for side, expected in ((at[:, 1] < 32, 25.0), (at[:, 1] >= 32, 39.0)):
        row, column = at[side].mean(axis=0) + 0.5
        assert abs(row - 33.5) < 2.0 and abs(column - expected) < 2.0
    for image, name in ((green, "green"), (blue, "blue")):
        nearest = np.abs(image[at[:, 0], at[:, 1]] - EYES[name]).max(axis=1).min()
        assert nearest < 45


@pytest.mark.parametrize("kind", KINDS)
def test_the_nose_goes_where_the_head_faces(kind: str) -> None:
    left, right = draw(kind, yaw=-0.35), draw(kind, yaw=0.35)
    frontal = draw(kind)
    assert len(changed(left, frontal)) > 150 and len(changed(right, frontal)) > 150
    eyes = [
        changed(draw(kind, yaw=yaw, eyes="green"), draw(kind, yaw=yaw, eyes="blue"))[:, 1].mean()
        for yaw in (-0.35, 0.35)
    ]
    assert eyes[0] < 29.0 and eyes[1] > 34.0


def test_a_tilt_lifts_the_left_eye_and_lowers_the_right_one() -> None:
    animal = portrait("cat", roll=0.3)
    assert "tilted" in ANIMALS.shown(animal) and "tilted" not in ANIMALS.shown(portrait("cat"))
    at = changed(draw("cat", roll=0.3, eyes="green"), draw("cat", roll=0.3, eyes="blue"))
    assert at[at[:, 1] < 32, 0].mean() < at[at[:, 1] >= 32, 0].mean() - 3


def test_stripes_darken_a_cat_and_stay_on_its_head() -> None:
    coat = (226.0, 132.0, 58.0)
    plain, striped = draw("cat", coat=coat, striped=False), draw("cat", coat=coat, striped=True)
    at = changed(plain, striped)
    assert len(at) > 40
    assert striped[at[:, 0], at[:, 1]].mean() < plain[at[:, 0], at[:, 1]].mean() - 20
    assert (np.abs(at[:, 0] - 35) < 18).all() and (np.abs(at[:, 1] - 32) < 20).all()


def test_a_tongue_is_pink_and_below_the_nose() -> None:
    without, shown = draw("dog", tongue=False), draw("dog", tongue=True)
    at = changed(without, shown)
    red, green, blue = shown[at[:, 0], at[:, 1]].mean(axis=0)
    assert len(at) > 15 and at[:, 0].min() > 44
    assert red > green + 60 and red > blue + 50


def test_a_dark_mane_is_darker_than_a_light_one_around_the_face() -> None:
    dark, light = draw("lion", mane="dark", size=16.0), draw("lion", mane="light", size=16.0)
    at = changed(dark, light)
    assert len(at) > 400
    assert light[at[:, 0], at[:, 1]].mean() > dark[at[:, 0], at[:, 1]].mean() + 50
    assert np.hypot(at[:, 0] - 35, at[:, 1] - 32).min() > 8


@pytest.mark.parametrize(("one", "other"), [("floppy", "pointed"), ("pointed", "round")])
def test_ears_change_the_outline_above_and_beside_the_face(one: str, other: str) -> None:
    at = changed(draw("dog", ears=one), draw("dog", ears=other))
    assert len(at) > 60
    assert not ((np.abs(at[:, 1] - 32) < 5) & (at[:, 0] > 24)).any()
