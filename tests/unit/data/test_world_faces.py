"""The faces world: truth of captions, visibility of attributes, smoothness of identity, the gallery."""

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from guidebench.data.worlds.faces.drawing import BACKGROUND_COLORS
from guidebench.data.worlds.faces.people import ATTRIBUTES, IDENTITY, Face, hair_word, skin_word
from guidebench.data.worlds.faces.world import FACES


def pixels(face: Face) -> NDArray[np.float64]:
    return FACES.render(face).astype(float)


def with_identity(face: Face, **values: float) -> Face:
    named = dict(zip(IDENTITY, face.identity, strict=True)) | values
    return replace(face, identity=tuple(named.values()))


def faces(count: int, split: str = "train") -> list[Face]:
    return [FACES.picture(split, index) for index in range(count)]


def test_the_same_index_is_the_same_picture_and_splits_differ() -> None:
    for index in range(5):
        first = FACES.picture("train", index)
        assert first == FACES.picture("train", index)
        assert np.array_equal(FACES.render(first), FACES.render(first))
        assert first != FACES.picture("test", index) != FACES.picture("validation", index)


def test_pictures_have_the_promised_form_and_no_two_are_alike() -> None:
    images = [FACES.render(face) for face in faces(60)]
    assert {(image.shape, image.dtype) for image in images} == {((64, 64, 3), np.dtype(np.uint8))}
    flat = np.stack(images).reshape(60, -1).astype(float)
    gaps = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean(-1)) + 1e3 * np.eye(60)
    assert gaps.min() > 8.0


def test_captions_are_true_short_and_in_the_vocabulary() -> None:
    said: set[str] = set()
    for index, face in enumerate(faces(1500)):
        caption = FACES.describe(face, np.random.default_rng(index))
        assert set(caption.words) <= set(FACES.vocabulary)
        assert 0 < len(caption.words) <= 20
        assert caption.facts and caption.facts <= FACES.shown(face) <= set(FACES.facts)
        assert frozenset[str]().union(*caption.meanings.values()) == caption.facts
        for last, facts in caption.meanings.items():
            noun = caption.words[last]
            assert noun in ("face", "person", "smile", "expression", "smiling") or all(
                noun in fact.split() for fact in facts
            )
        said |= caption.facts
    assert said == set(FACES.facts)


def test_every_word_of_the_vocabulary_is_used_and_captions_vary() -> None:
    face = FACES.picture("train", 0)
    assert len({FACES.describe(face, np.random.default_rng(i)).text for i in range(100)}) > 60
    words = {w for i, f in enumerate(faces(1500)) for w in FACES.describe(f, np.random.default_rng(i)).words}
    assert words == set(FACES.vocabulary) == {word for word in words if word.isalpha() and word.islower()}
    assert list(FACES.vocabulary) == sorted(FACES.vocabulary) and list(FACES.facts) == sorted(FACES.facts)


def test_shown_names_one_of_each_group() -> None:
    groups = (("old", "young"), ("smiling", "neutral"), ("long hair", "short hair"))
    for face in faces(200):
        shown = FACES.shown(face)
        assert all(len(shown & set(group)) == 1 for group in groups)
        colors = [fact for fact in shown if fact.endswith("hair") and fact not in groups[2]]
        assert len(colors) == 1 and (colors == ["gray hair"]) == ("old" in shown)
        assert sum(fact.endswith("skin") for fact in shown) == 1


def test_attributes_are_independent_with_their_frequencies() -> None:
    table = np.array([[name in face.attributes for name in ATTRIBUTES] for face in faces(3000)], float)
    assert np.allclose(table.mean(0), list(ATTRIBUTES.values()), atol=0.04)
    assert np.abs(np.corrcoef(table.T) - np.eye(len(ATTRIBUTES))).max() < 0.08


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_an_attribute_shows_on_every_face(attribute: str) -> None:
    for face in faces(40):
        without = pixels(replace(face, attributes=face.attributes - {attribute}))
        having = pixels(replace(face, attributes=face.attributes | {attribute}))
        changed = np.abs(having - without).max(axis=-1) > 20
        assert changed.sum() >= 16, f"{attribute} changes {changed.sum()} pixels"


REGIONS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "mustache": lambda image: image[38:50, 16:48],
    "lipstick": lambda image: image[40:58, 16:48],
    "glasses": lambda image: image[22:42],
    "bushy eyebrows": lambda image: image[18:34],
}


@pytest.mark.parametrize("attribute", REGIONS)
def test_a_small_attribute_changes_its_own_region_only(attribute: str) -> None:
    for face in faces(20):
        if attribute == "bushy eyebrows":
            face = replace(face, attributes=face.attributes - {"glasses"})
        without = pixels(replace(face, attributes=face.attributes - {attribute}))
        having = pixels(replace(face, attributes=face.attributes | {attribute}))
        inside = REGIONS[attribute](np.abs(having - without)).sum()
        assert inside > 0.95 * np.abs(having - without).sum()


def test_lipstick_is_red_teeth_show_in_a_smile_and_old_hair_is_gray() -> None:
    for face in faces(40):
        plain = replace(face, attributes=frozenset({"long hair"}), smile=0.0)
        painted = pixels(replace(plain, attributes=plain.attributes | {"lipstick"}))
        lips = painted[np.abs(painted - pixels(plain)).max(axis=-1) > 40]
        assert lips[:, 0].mean() > 2.0 * lips[:, 1].mean()
        mouth = pixels(replace(plain, smile=1.0))[40:54, 22:42] - pixels(plain)[40:54, 22:42]
        assert mouth.min(axis=-1).max() > 40  # teeth are brighter than lips in every channel
        hair = pixels(replace(plain, attributes=frozenset({"long hair", "old"})))[8:14, 26:38].mean(
            axis=(0, 1)
        )
        assert np.ptp(hair) < 40 and hair.mean() > 100


def test_hair_skin_and_background_have_their_colors() -> None:
    face = replace(FACES.picture("train", 0), attributes=frozenset({"long hair"}))
    hair = {
        word: pixels(with_identity(face, hair_light=light, hair_warmth=warmth))[9:13, 27:37].mean(axis=(0, 1))
        for word, light, warmth in (
            ("dark", -0.8, -0.5),
            ("brown", -0.1, -0.5),
            ("blond", 0.8, -0.5),
            ("red", 0.1, 0.8),
        )
    }
    assert hair["dark"].mean() < hair["brown"].mean() - 25 < hair["blond"].mean() - 80
    assert hair["red"][0] > 1.7 * hair["red"][2] and hair["red"][0] - hair["red"][1] > 60
    light = [pixels(with_identity(face, skin=value))[34:40, 24:40].mean() for value in (-0.8, 0.0, 0.8)]
    assert light[0] + 30 < light[1] < light[2] - 30
    for name, color in BACKGROUND_COLORS.items():
        setting = replace(face.setting, background=name, background_jitter=(0.0, 0.0, 0.0))
        corner = pixels(replace(face, setting=setting))[:6].mean(axis=(0, 1))
        nearest = min(
            BACKGROUND_COLORS,
            key=lambda key: float(np.linalg.norm(np.array(BACKGROUND_COLORS[key]) - corner)),
        )
        assert nearest == name, f"{color} became {corner}"


@pytest.mark.parametrize("name", IDENTITY)
def test_the_picture_changes_smoothly_with_every_number_of_the_identity(name: str) -> None:
    for face in faces(2):
        plain = replace(face, attributes=frozenset(), smile=0.0)
        row = [pixels(with_identity(plain, **{name: value})) for value in np.linspace(-1, 1, 21)]
        steps = [float(np.abs(b - a).mean()) for a, b in itertools.pairwise(row)]
        whole = float(np.abs(row[-1] - row[0]).mean())
        assert whole > 0.1, f"{name} does nothing"
        assert max(steps) < 0.2 * whole + 0.03, f"{name} jumps"


def test_words_for_colors_cover_the_cube_and_samples_keep_away_from_their_limits() -> None:
    for face in faces(500):
        named = dict(zip(IDENTITY, face.identity, strict=True))
        light, warmth, skin = named["hair_light"], named["hair_warmth"], named["skin"]
        for dx, dy in ((-0.1, 0), (0.1, 0), (0, -0.1), (0, 0.1)):
            assert hair_word(light + dx, warmth + dy) == hair_word(light, warmth)
        assert skin_word(skin - 0.1) == skin_word(skin) == skin_word(skin + 0.1)


def test_another_portrait_keeps_the_person() -> None:
    face = FACES.picture("train", 3)
    others = [FACES.retake(face, np.random.default_rng(i)) for i in range(30)]
    lasting = set(ATTRIBUTES) - {"glasses", "lipstick"}
    assert {other.identity for other in others} == {face.identity}
    assert {other.attributes & lasting for other in others} == {face.attributes & lasting}
    assert len({other.setting for other in others}) == 30
    assert (
        len({other.smile > 0.5 for other in others}) == len({"glasses" in o.attributes for o in others}) == 2
    )


def test_the_gallery_has_102_plain_persons_twice_who_occur_nowhere_else() -> None:
    gallery = FACES.gallery()
    assert gallery == FACES.gallery()
    assert [subject.number for subject in gallery] == list(range(1, 103))
    assert len({subject.neutral.identity for subject in gallery}) == 102
    assert sum("long hair" in subject.neutral.attributes for subject in gallery) == 51
    seen = {face.identity for split in ("train", "validation", "test") for face in faces(300, split)}
    for subject in gallery:
        neutral, smiling = subject.neutral, subject.smiling
        assert neutral.identity == smiling.identity and neutral.attributes == smiling.attributes
        assert neutral.attributes <= {"long hair", "bushy eyebrows"}
        assert "neutral" in FACES.shown(neutral) and "smiling" in FACES.shown(smiling)
        assert neutral.identity not in seen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identity": (0.0,) * 3}, "20 numbers in"),
        ({"identity": (1.5,) + (0.0,) * 19}, "20 numbers in"),
        ({"attributes": frozenset({"beard"})}, "not \\['beard'\\]"),
    ],
)
def test_a_face_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(FACES.picture("train", 0), **change)  # type: ignore[arg-type]


def test_portraits_of_a_person_keep_who_it_is_and_change_the_rest() -> None:
    first, *others = FACES.person("train", 3, 4)
    assert first == FACES.picture("train", 3)
    assert FACES.person("train", 3, 2) == (first, others[0])
    lasting = first.attributes - {"glasses", "lipstick"}
    for other in others:
        assert other.identity == first.identity
        assert other.attributes - {"glasses", "lipstick"} == lasting
        assert other.setting != first.setting


def test_the_gallery_goes_on_with_persons_who_are_in_no_split() -> None:
    assert FACES.gallery()[9] == FACES.subject(10)
    persons = {FACES.subject(number).neutral.identity for number in range(1, 301)}
    drawn = {FACES.picture(split, i).identity for split in ("train", "test") for i in range(300)}
    assert len(persons) == 300 and not persons & drawn
