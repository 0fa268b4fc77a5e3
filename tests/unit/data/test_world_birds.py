"""The birds world: species, pictures, captions, and which names stay unsaid."""

import dataclasses
import string

import numpy as np
import pytest

from guidebench.data.worlds.birds import species
from guidebench.data.worlds.birds.world import ABSENT, BIRDS, NAMED, SPECIES, UNNAMED, Bird
from guidebench.data.worlds.world import SPLITS

COUNT = 300
PLAIN = Bird(
    "robin", "right", "level", "folded", "leaf", 44.0, 0.5, 0.5, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0), scenery=3
)


@pytest.fixture(scope="module")
def birds() -> list[Bird]:
    return [BIRDS.picture("train", index) for index in range(COUNT)]


def draw(**changes: object) -> np.ndarray:
    return BIRDS.render(dataclasses.replace(PLAIN, **changes)).astype(float)


def test_a_picture_is_a_function_of_split_and_index(birds: list[Bird]) -> None:
    image = BIRDS.render(birds[7])
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert BIRDS.picture("train", 7) == birds[7]
    assert np.array_equal(image, BIRDS.render(BIRDS.picture("train", 7)))


def test_splits_differ_and_no_two_pictures_are_alike() -> None:
    images = {BIRDS.render(BIRDS.picture(split, i)).tobytes() for split in SPLITS for i in range(40)}
    assert len(images) == 3 * 40


def test_half_of_the_species_have_names_and_some_are_absent() -> None:
    assert len(NAMED) == len(UNNAMED) == 12
    assert set(NAMED) | set(UNNAMED) == set(SPECIES)
    assert set(ABSENT) < set(UNNAMED)
    assert set(NAMED) <= set(BIRDS.vocabulary)
    assert not set(UNNAMED) & set(BIRDS.vocabulary)


@pytest.mark.parametrize("split", SPLITS)
def test_splits_hold_all_species_but_the_absent(split: str) -> None:
    seen = {BIRDS.picture(split, index).species for index in range(COUNT)}
    assert seen == set(SPECIES) - set(ABSENT)


def test_named_and_unnamed_have_the_same_builds_and_as_many_ornaments() -> None:
    def tally(names: tuple[str, ...]) -> tuple[list[str], int, int]:
        parts = [SPECIES[name] for name in names]
        crests = sum(p.crest[0] != "none" for p in parts)
        return sorted(p.build for p in parts), crests, sum(p.marking[0] != "none" for p in parts)

    (builds, crests, marks), (other_builds, other_crests, other_marks) = tally(NAMED), tally(UNNAMED)
    assert builds == other_builds
    assert crests == other_crests
    assert marks == other_marks


def test_nearest_species_is_as_far_for_named_as_for_unnamed() -> None:
    # difference of mean pictures over the same poses, in levels: what a linear reader would see
    poses = [BIRDS.portrait("species robin", np.random.default_rng(i)) for i in range(10)]
    means = {
        name: np.mean([BIRDS.render(dataclasses.replace(p, species=name)) for p in poses], axis=0)
        for name in SPECIES
    }
    nearest = {
        name: min(np.abs(means[name] - means[other]).mean() for other in SPECIES if other != name)
        for name in SPECIES
    }
    named, unnamed = (np.mean([nearest[name] for name in names]) for names in (NAMED, UNNAMED))
    assert min(nearest.values()) > 3.0
    assert 0.75 < named / unnamed < 1.33


def test_absent_species_are_made_of_shapes_and_colors_that_others_show() -> None:
    shown = [SPECIES[name] for name in SPECIES if name not in ABSENT]
    colors = {c for p in shown for c in (p.head, p.back, p.wing, p.belly, p.beak[1], p.tail[1], p.crest[1])}
    for parts in (SPECIES[name] for name in ABSENT):
        assert parts.build in {p.build for p in shown}
        for shape in ("beak", "tail", "crest", "marking"):
            assert getattr(parts, shape)[0] in {getattr(p, shape)[0] for p in shown}
        assert {parts.head, parts.back, parts.wing, parts.belly} <= colors


def test_parts_are_known_names() -> None:
    for parts in SPECIES.values():
        assert parts.build in species.BUILDS
        for (shape, color), shapes in (
            (parts.beak, species.BEAKS),
            (parts.tail, species.TAILS),
            (parts.crest, species.CRESTS),
            (parts.marking, species.MARKINGS),
        ):
            assert shape in shapes
            assert color in species.COLORS or shape == "none"
        assert {parts.head, parts.back, parts.wing, parts.belly} <= set(species.COLORS)


def test_portrait_draws_the_class_asked_for_absent_ones_too() -> None:
    assert len(BIRDS.classes) == 24
    for label in BIRDS.classes:
        assert label in BIRDS.shown(BIRDS.portrait(label, np.random.default_rng(0)))


def test_unknown_class_and_species_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dodo.*species cardinal"):
        BIRDS.portrait("species dodo", np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"cardinal.*dodo"):
        species.sample("dodo", np.random.default_rng(0))


def test_captions_are_true_short_and_in_the_vocabulary(birds: list[Bird]) -> None:
    rng = np.random.default_rng(0)
    texts = set()
    for bird in birds:
        for _ in range(4):
            caption = BIRDS.describe(bird, rng)
            texts.add(caption.text)
            assert set(caption.words) <= set(BIRDS.vocabulary)
            assert len(caption.words) <= 20
            assert caption.facts <= BIRDS.shown(bird) <= set(BIRDS.facts)
            assert caption.facts == frozenset().union(*caption.meanings.values())
    assert len(texts) > 500


def test_a_caption_says_its_words() -> None:
    # each fact's own word must stand where `meanings` says, or end a phrase that says the same
    ends = {"facing": ("left", "right"), "head": ("up", "down"), "wings": ("wings", "up", "folded")}
    rng = np.random.default_rng(1)
    for index in range(COUNT):
        caption = BIRDS.describe(BIRDS.picture("validation", index), rng)
        for at, facts in caption.meanings.items():
            (fact,) = facts
            kind, value = fact.split()
            if kind in ("species", "on", "in"):
                assert caption.words[at] == value
            else:
                assert caption.words[at] in ends[kind]
                assert value in ("raised", "folded") or caption.words[at] == value


def test_unnamed_species_are_a_bird_and_nothing_tells_them_apart() -> None:
    rng = np.random.default_rng(2)
    for index in range(200):
        bird = dataclasses.replace(BIRDS.picture("train", index), species=UNNAMED[index % 12])
        seed = int(rng.integers(2**31))
        caption = BIRDS.describe(bird, np.random.default_rng(seed))
        assert "bird" in caption.words
        assert not any(fact.startswith("species") for fact in caption.facts)
        other = dataclasses.replace(bird, species=UNNAMED[(index + 5) % 12])
        assert BIRDS.describe(other, np.random.default_rng(seed)) == caption


def test_named_species_are_mostly_named_and_sometimes_a_bird() -> None:
    rng = np.random.default_rng(3)
    said = [f"species {PLAIN.species}" in BIRDS.describe(PLAIN, rng).facts for _ in range(400)]
    assert 0.85 < np.mean(said) < 0.97


def test_words_are_plain() -> None:
    assert all(set(word) <= set(string.ascii_lowercase) for word in BIRDS.vocabulary)
    assert list(BIRDS.vocabulary) == sorted(set(BIRDS.vocabulary))
    assert list(BIRDS.facts) == sorted(set(BIRDS.facts))


def test_every_fact_is_shown_somewhere() -> None:
    rng = np.random.default_rng(4)
    birds = [BIRDS.portrait(label, rng) for _ in range(5) for label in BIRDS.classes]
    assert {fact for bird in birds for fact in BIRDS.shown(bird)} == set(BIRDS.facts)


def test_birds_in_the_sky_fly() -> None:
    birds = [BIRDS.picture("train", index) for index in range(COUNT)]
    assert {bird.wings for bird in birds if bird.place == "sky"} == {"raised"}
    assert {bird.wings for bird in birds if bird.place != "sky"} == {"raised", "folded"}


def test_the_other_way_is_the_mirror_image_of_the_bird() -> None:
    def silhouette(facing: str) -> np.ndarray:
        changed = [
            draw(species=name, facing=facing, place="sky", wings="raised") for name in ("robin", "bunting")
        ]
        return np.abs(changed[0] - changed[1]).max(-1)

    right, left = silhouette("right"), silhouette("left")
    assert np.abs(right - left[:, ::-1]).mean() < 1.0
    assert np.abs(right - left).mean() > 10.0


def test_species_changes_the_bird_and_not_the_place() -> None:
    # robin and bunting have the same outline up to beak and throat
    changed = np.abs(draw() - draw(species="bunting")).max(-1) > 2
    assert 0.12 < changed.mean() < 0.6
    assert not changed[:2].any() and not changed[-2:].any()


@pytest.mark.parametrize(
    ("name", "color"), [("cardinal", "red"), ("cockatoo", "white"), ("flamingo", "pink")]
)
def test_a_bird_of_one_color_has_that_color(name: str, color: str) -> None:
    wanted = np.array(species.COLORS[color], float)
    for seed in range(4):
        bird = dataclasses.replace(_portrait(f"species {name}", seed), wings="folded", place="branch")
        image = BIRDS.render(bird).astype(float)
        near = np.linalg.norm(image - wanted, axis=-1) < 60
        assert near.mean() > 0.06


def test_looking_down_moves_the_beak_down() -> None:
    def beak(head: float) -> float:
        image = draw(species="puffin", nod=head, place="sky", extent=48.0)
        orange = np.linalg.norm(image - species.COLORS["orange"], axis=-1) < 70
        assert orange.sum() > 20
        return float(
            np.nonzero(orange)[0].mean() - _top(draw(species="puffin", nod=head, place="sky", extent=48.0))
        )

    assert beak(0.42) > beak(0.0) > beak(-0.42)


def test_birds_stay_inside_and_fill_about_half_of_the_picture() -> None:
    areas = []
    for index in range(80):
        bird = BIRDS.picture("test", index)
        dark, light = (BIRDS.render(dataclasses.replace(bird, tint=(t, t, t))).astype(int) for t in (-20, 20))
        plumage = np.abs(light - dark).max(-1) > 8
        assert not plumage[0].any() and not plumage[-1].any()
        assert not plumage[:, 0].any() and not plumage[:, -1].any()
        rows, columns = np.nonzero(plumage.any(1))[0], np.nonzero(plumage.any(0))[0]
        areas.append(np.ptp(rows) * np.ptp(columns) / 4096)
    assert 0.3 < np.mean(areas) < 0.6


def _portrait(label: str, seed: int) -> Bird:
    return BIRDS.portrait(label, np.random.default_rng(seed))


def _top(image: np.ndarray) -> int:
    dark = np.linalg.norm(image - species.COLORS["black"], axis=-1) < 60
    return int(np.nonzero(dark.any(1))[0][0])
