"""The scenes world: rendering, captions, the parser and the judge."""

import csv
from importlib import resources

import numpy as np
import pytest

from guidebench.data.worlds.scenes import captions, judge
from guidebench.data.worlds.scenes import scene as scenes
from guidebench.data.worlds.scenes.captions import Group
from guidebench.data.worlds.scenes.judge import Requirement
from guidebench.data.worlds.scenes.scene import Background, Scene, SceneObject
from guidebench.data.worlds.scenes.world import SCENES
from guidebench.data.worlds.world import SPLITS

COUNT = 400


@pytest.fixture(scope="module")
def test_scenes() -> list[Scene]:
    return [SCENES.picture("test", index) for index in range(COUNT)]


@pytest.fixture(scope="module")
def pictures(test_scenes: list[Scene]) -> list[np.ndarray]:
    return [scenes.render(scene) for scene in test_scenes]


@pytest.fixture(scope="module")
def drawbench() -> list[dict[str, str]]:
    text = resources.files("guidebench.data.worlds.scenes").joinpath("drawbench.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def looks(objects) -> list[tuple[str, str, str]]:
    return sorted((item.shape, item.color, item.size) for item in objects)


def draw(*objects: SceneObject, background: str = "gray") -> np.ndarray:
    return scenes.render(Scene(objects, Background(background)))


def test_scene_and_picture_are_functions_of_split_and_index() -> None:
    first, again = SCENES.picture("train", 17), SCENES.picture("train", 17)
    assert first == again
    picture = scenes.render(first)
    assert picture.shape == (64, 64, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture, scenes.render(again))
    assert captions.describe(first, np.random.default_rng(3)) == captions.describe(
        again, np.random.default_rng(3)
    )


def test_splits_are_disjoint_and_no_two_pictures_alike() -> None:
    drawn = [SCENES.picture(split, index) for split in SPLITS for index in range(COUNT)]
    assert len(set(drawn)) == 3 * COUNT
    assert len({scenes.render(scene).tobytes() for scene in drawn[::4]}) == len(drawn[::4])


def test_held_out_pairs_never_occur_in_a_split_and_occur_when_allowed() -> None:
    for split in SPLITS:
        pairs = {(o.color, o.shape) for i in range(1500) for o in SCENES.picture(split, i).objects}
        assert not pairs & scenes.HELD_OUT
        assert len(pairs) == len(scenes.COLORS) * len(scenes.SHAPES) - len(scenes.HELD_OUT)
    rng = np.random.default_rng(0)
    allowed = {(o.color, o.shape) for _ in range(1500) for o in scenes.sample(rng, True).objects}
    assert allowed > scenes.HELD_OUT


def test_every_color_and_shape_has_a_held_out_partner_at_most_once() -> None:
    assert len({color for color, _ in scenes.HELD_OUT}) == len(scenes.HELD_OUT)
    assert len({shape for _, shape in scenes.HELD_OUT}) == len(scenes.HELD_OUT)


@pytest.mark.parametrize(
    ("kind", "sizes"), [("single", {1}), ("pair", {2}), ("count", {2, 3, 4}), ("mixed", {3, 4})]
)
def test_kinds_of_scenes(kind: str, sizes: set[int]) -> None:
    assert {len(scenes.sample(np.random.default_rng(i), kind=kind).objects) for i in range(60)} == sizes


def test_unknown_kind_and_split_are_refused() -> None:
    with pytest.raises(ValueError, match="kind"):
        scenes.sample(np.random.default_rng(0), kind="triple")
    with pytest.raises(ValueError, match="split"):
        SCENES.picture("dev", 0)


def test_objects_lie_inside_and_do_not_touch(test_scenes: list[Scene]) -> None:
    for scene in test_scenes:
        for index, a in enumerate(scene.objects):
            assert a.radius <= a.x <= 64 - a.radius and a.radius <= a.y <= 64 - a.radius
            for b in scene.objects[index + 1 :]:
                assert np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius


def test_parser_finds_the_objects_of_clean_pictures(test_scenes, pictures) -> None:
    right = sum(
        looks(judge.parse(picture)) == looks(scene.objects)
        for scene, picture in zip(test_scenes, pictures, strict=True)
    )
    assert right >= 0.97 * COUNT


def test_parser_tolerates_blur_and_noise(test_scenes, pictures) -> None:
    rng = np.random.default_rng(0)
    right = 0
    for scene, picture in zip(test_scenes[:150], pictures, strict=False):
        padded = np.pad(picture.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
        soft = sum(padded[y : y + 64, x : x + 64] for y in range(3) for x in range(3)) / 9
        soft += rng.normal(0.0, 4.0, soft.shape)
        right += looks(judge.parse(np.clip(soft, 0, 255).astype(np.uint8))) == looks(scene.objects)
    assert right >= 0.9 * 150


def test_parser_is_accurate_about_position(test_scenes, pictures) -> None:
    for scene, picture in zip(test_scenes, pictures, strict=True):
        if len(scene.objects) == 1:
            (found,) = judge.parse(picture)
            item = scene.objects[0]
            assert abs(found.x - item.x) < 3.5 and abs(found.y - item.y) < 3.5
            assert found.radius == pytest.approx(item.radius, rel=0.15)


def test_parser_separates_touching_objects_of_different_colors() -> None:
    picture = draw(
        SceneObject("square", "red", "large", 20, 32, 12), SceneObject("square", "blue", "large", 40, 32, 12)
    )
    assert looks(judge.parse(picture)) == [("square", "blue", "large"), ("square", "red", "large")]


def test_parser_on_pictures_without_objects() -> None:
    assert judge.parse(draw()) == []
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert not judge.satisfies(noise, Requirement.from_prompt("a red circle"))


def test_parser_refuses_other_arrays() -> None:
    with pytest.raises(ValueError, match="uint8"):
        judge.parse(np.zeros((64, 64, 3), dtype=np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shape"):
        judge.parse(np.zeros((32, 32, 3), dtype=np.uint8))


def test_backgrounds_are_recognised(test_scenes, pictures) -> None:
    right = sum(
        judge.background_name(picture) == scene.background.name
        for scene, picture in zip(test_scenes, pictures, strict=True)
    )
    assert right >= 0.97 * COUNT


def test_captions_are_true_and_use_the_vocabulary(test_scenes, pictures) -> None:
    met = 0
    for index, (scene, picture) in enumerate(zip(test_scenes, pictures, strict=True)):
        text = SCENES.describe(scene, np.random.default_rng(index)).text
        assert set(text.split()) <= set(captions.VOCABULARY)
        met += judge.satisfies(picture, Requirement.from_prompt(text))
    assert met >= 0.97 * COUNT


def test_descriptions_point_from_words_to_groups(test_scenes) -> None:
    for index, scene in enumerate(test_scenes[:100]):
        description = captions.describe(scene, np.random.default_rng(index))
        assert len(description.words) == len(description.owners)
        parsed = Requirement.from_prompt(" ".join(description.words))
        assert parsed.groups == description.groups
        assert parsed.relations == description.relations


@pytest.mark.parametrize(
    ("prompt", "groups", "relations", "background"),
    [
        ("a red circle", (Group(1, "red", "circle"),), (), None),
        ("Two TINY blue crosses.", (Group(2, "blue", "cross", "small"),), (), None),
        (
            "a red circle and a blue square",
            (Group(1, "red", "circle"), Group(1, "blue", "square")),
            (),
            None,
        ),
        (
            "an image of an orange heart to the left of three green rings on a mint background",
            (Group(1, "orange", "heart"), Group(3, "green", "ring")),
            ((0, "left", 1),),
            "mint",
        ),
        (
            "a star under a big shape",
            (Group(1, None, "star"), Group(1, size="large")),
            ((0, "below", 1),),
            None,
        ),
    ],
)
def test_requirements_from_prompts(prompt, groups, relations, background) -> None:
    assert Requirement.from_prompt(prompt) == Requirement(groups, relations, background)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a red dog", "dog"),
        ("", "no object"),
        ("a picture of a background", "no object"),
        ("left of a red circle", "between two"),
        ("a red circle above", "second object"),
    ],
)
def test_bad_prompts_are_refused(prompt: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Requirement.from_prompt(prompt)


def test_judge_wants_exactly_the_objects_and_the_relation() -> None:
    circle = SceneObject("circle", "red", "small", 16, 30, 8)
    square = SceneObject("square", "blue", "large", 46, 34, 12)
    star = SceneObject("star", "green", "small", 30, 52, 7)
    both = draw(circle, square)

    def met(picture: np.ndarray, prompt: str) -> bool:
        return judge.satisfies(picture, Requirement.from_prompt(prompt))

    assert met(both, "a red circle and a blue square")
    assert met(both, "a red circle left of a blue square")
    assert met(both, "a large blue square to the right of a small shape")
    assert met(both, "two shapes on a gray background")
    assert not met(both, "two shapes on a white background")
    assert not met(both, "a blue circle and a red square")
    assert not met(both, "a red circle above a blue square")
    assert not met(both, "a red circle to the right of a blue square")
    assert not met(both, "a red circle")
    assert not met(both, "a large red circle and a blue square")
    assert not met(draw(circle, square, star), "a red circle and a blue square")
    assert met(draw(circle, square, star), "a red circle and a blue square and a green star")
    assert not met(draw(circle), "two red circles")


def test_drawbench_prompts_are_readable_and_grouped(drawbench) -> None:
    categories = [row["Category"] for row in drawbench]
    assert {name: categories.count(name) for name in categories} == {
        "Colors": 6,
        "Counting": 6,
        "Positional": 6,
        "Conflicting": 6,
    }
    assert len({row["Prompt"] for row in drawbench}) == len(drawbench)
    for row in drawbench:
        requirement = Requirement.from_prompt(row["Prompt"])
        assert 1 <= sum(group.count for group in requirement.groups) <= 4
        pairs = {(group.color, group.shape) for group in requirement.groups}
        assert bool(pairs & scenes.HELD_OUT) == (row["Category"] == "Conflicting")
        if row["Category"] == "Positional":
            assert requirement.relations
