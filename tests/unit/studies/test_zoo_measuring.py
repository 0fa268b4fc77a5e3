"""The zoo's measurements with networks whose answers are known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from guidebench.data.worlds import WORLDS
from guidebench.data.worlds.scenes.judge import Requirement
from guidebench.data.worlds.world import Caption
from guidebench.models.adm import ADM
from guidebench.pixels import to_tensor
from guidebench.studies.zoo import drawing, faces_parts, reading
from guidebench.studies.zoo.estimates import Bar
from guidebench.studies.zoo.pictures import Pictures, averaged, held_out, in_turn


def caption(text: str, *facts: str) -> Caption:
    return Caption(tuple(text.split()), frozenset(facts))


class OneHotCLIP:
    """Embeds picture k, all of grey level k, and the text "k" as unit vector k; `confused` texts as vector 0."""

    def __init__(self, confused: set[int]) -> None:
        self.confused = confused

    def encode_image(self, images: Tensor) -> Tensor:
        return torch.eye(100)[(images[:, 0, 0, 0] * 255).round().long()]

    def encode_text(self, texts: list[str]) -> Tensor:
        numbers = [int(text) for text in texts]
        return torch.eye(100)[[0 if number in self.confused else number for number in numbers]]


class ChannelClassifier:
    """Logits are the mean channels: red, green, blue."""

    classes = ("red", "green", "blue")

    def logits(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) - 0.5


def plain(*colors: tuple[int, int, int]) -> np.ndarray:
    return np.stack([np.full((8, 8, 3), color, np.uint8) for color in colors])


def described(*said: tuple[str, set[str], set[str]]) -> Pictures:
    """Pictures 1, 2, ... of grey, each with a caption's text, its facts, and what is shown."""
    return Pictures(
        plain(*((i, i, i) for i in range(1, len(said) + 1))),
        tuple(caption(text, *facts) for text, facts, _ in said),
        tuple(frozenset(shown) for _, _, shown in said),
    )


def test_candidates_say_different_things_and_are_false_where_asked() -> None:
    pictures = described(
        ("a cat", {"cat"}, {"cat", "black"}),
        ("a black animal", {"black"}, {"dog", "black"}),
        ("the cat", {"cat"}, {"cat", "white"}),
        ("a dog", {"dog"}, {"dog", "white"}),
        ("a white fox", {"fox", "white"}, {"fox", "white"}),
    )
    said = [c.facts for c in pictures.captions]
    among = reading.candidates(pictures, 3, others_false=True)
    assert among is not None and among.shape == (5, 3) and among[:, 0].tolist() == [0, 1, 2, 3, 4]
    for row, shown in zip(among, pictures.shown, strict=True):
        assert len({said[i] for i in row}) == 3
        assert all(not said[i] <= shown for i in row[1:])
    everything = reading.candidates(pictures, 4, others_false=False)
    assert everything is not None and {said[i] for i in everything[0]} == set(said)
    # of the black cat, "a black animal" is true: two false ones are left
    assert reading.candidates(pictures, 4, others_false=True) is None
    assert reading.candidates(pictures, 5, others_false=False) is None


def test_ranking_finds_exactly_the_confused_captions() -> None:
    pictures = described(*((str(i), {str(i)}, {str(i)}) for i in range(1, 100)))
    clip: Any = OneHotCLIP({3, 50})
    among = reading.candidates(pictures, 40, others_false=True)
    assert among is not None
    right = reading.ranked_first(clip, pictures, among)
    assert right.shape == (99,)
    assert (np.flatnonzero(~right) + 1).tolist() == [3, 50]


def test_classifiers_are_held_against_the_facts() -> None:
    images = plain((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0))
    facts = [{"red", "round"}, {"red"}, {"blue"}, {"red", "green"}]
    pictures = Pictures(images, (caption("x"),) * 4, tuple(frozenset(f) for f in facts))
    network: Any = ChannelClassifier()
    assert reading.named(network, images) == ["red", "green", "blue", "red"]
    assert reading.read_right(network, pictures, False).tolist() == [True, False, True, True]
    right = reading.read_right(network, pictures, True)
    assert right.shape == (4, 3)
    assert right.tolist() == [[True] * 3, [False, False, True], [True] * 3, [True] * 3]


def test_noise_is_that_of_the_models_level() -> None:
    """Alpha and sigma as the schedule says: red is read at a low level, and chance is left at a high one."""
    model, asked = ADM("embedded/pixels"), []

    class Noisy(ChannelClassifier):
        def noisy_logits(self, x_t: Tensor, t: float) -> Tensor:
            asked.append((x_t, t))
            return x_t.mean(dim=(2, 3))

    network: Any = Noisy()
    pictures = Pictures(
        plain(*[(255, 0, 0)] * 300), (caption("x"),) * 300, tuple(frozenset({"red"}) for _ in range(300))
    )
    assert reading.read_right_in_noise(network, pictures, model, 1).all()
    assert reading.read_right_in_noise(network, pictures, model, 999).mean() < 0.6
    betas = np.linspace(1e-4, 0.02, 1000)
    for t in (1, 999):
        x_t = torch.cat([x for x, at in asked if at == t])
        kept = np.sqrt(np.prod(1 - betas[: t + 1]))
        assert float(x_t[:, 0].mean()) == pytest.approx(kept, abs=0.02)
        assert float(x_t[:, 0].std()) == pytest.approx(np.sqrt(1 - kept**2), rel=0.02)


def test_prompts_ask_what_they_are_named_for() -> None:
    asked = {kind.name: kind for kind in drawing.prompts(30)}
    words = {word for world in WORLDS.values() for word in world.vocabulary}
    for kind in asked.values():
        assert len(kind.prompts) == len(kind.wanted) == 30
        known = {word for prompt in kind.prompts for word in prompt.split()} <= words
        assert known == (kind.name != "birds, unnamed species by name")
        assert kind.judge == "rules" or set(kind.wanted) <= set(WORLDS[kind.judge].classes)
    room = Bar(at_least=20, at_most=80)
    counts = {"one object": 1, "two objects": 2, "two objects in a relation": 2}
    for name, count in counts.items():
        for prompt in asked[f"scenes, {name}"].prompts:
            requirement = Requirement.from_prompt(prompt)
            assert [group.count for group in requirement.groups] == [1] * count
            assert bool(requirement.relations) == ("relation" in name)
        assert asked[f"scenes, {name}"].bar == (Bar(at_least=85) if count == 1 else room)
    numbers = [
        Requirement.from_prompt(p).groups[0].count for p in asked["scenes, two to four of a kind"].prompts
    ]
    assert set(numbers) == {2, 3, 4}
    assert asked["birds, unnamed species by name"].bar == Bar(at_most=15)
    assert not set(asked["birds, named species"].wanted) & set(asked["birds, unnamed species by name"].wanted)
    assert drawing.prompts(30) == drawing.prompts(30)


def test_held_out_prompts_name_combinations_that_no_picture_shows() -> None:
    shown = {
        fact for i in range(200) for fact in WORLDS["scenes"].shown(WORLDS["scenes"].picture("train", i))
    }
    for kind in drawing.prompts(14):
        groups = [Requirement.from_prompt(p).groups[0] for p in kind.prompts] if kind.judge == "rules" else []
        pairs = {f"{g.color} {g.shape}" for g in groups}
        if "held-out" in kind.name:
            assert len(pairs) == 7 and not pairs & shown


def test_judges_accept_drawn_answers_and_refuse_others() -> None:
    world = WORLDS["scenes"]
    pictures = [world.picture("test", i) for i in range(12)]
    images = np.stack([world.render(picture) for picture in pictures])
    prompts = [world.describe(p, world.rng("validation", i)).text for i, p in enumerate(pictures)]
    assert drawing.by_rules(images, prompts).mean() > 0.9
    assert drawing.by_rules(images[::-1], prompts).mean() < 0.3
    network: Any = ChannelClassifier()
    judged = drawing.by_classifier(network)(plain((9, 0, 0), (0, 9, 0)), ["red", "blue"])
    assert judged.tolist() == [True, False]


def test_psnr_in_closed_form_and_on_the_pictures_as_stored() -> None:
    images = plain((100, 100, 100), (0, 0, 0))
    others = plain((110, 110, 110), (0, 0, 30))
    expected = [20 * np.log10(255 / 10), 20 * np.log10(255 / np.sqrt(30**2 / 3))]
    np.testing.assert_allclose(drawing.psnr(images, others), expected)


def test_rebuilding_encodes_and_decodes_and_rounds() -> None:
    class Halving:
        device = "cpu"

        def encode(self, images: Tensor) -> Tensor:
            return images / 2

        def decode(self, x0: Tensor) -> Tensor:
            return x0 * 2 + 10 / 255

    model: Any = Halving()
    images = plain((100, 0, 255)).repeat(30, axis=0)
    np.testing.assert_array_equal(drawing.rebuilt(model, images), plain((110, 10, 255)).repeat(30, axis=0))


def test_distance_takes_features_of_both_sides_in_order() -> None:
    metric: Any = SimpleNamespace(
        features=lambda images: images.mean(dim=(2, 3)),
        value=lambda features, reference: float((features.mean(0) - reference.mean(0))[0]),
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, (60, 4, 4, 3), dtype=np.uint8)
    real, same, brighter, twice = (
        drawing.features(metric, shown) for shown in (images, images[::-1], images + 20, images + 40)
    )
    assert real.shape == (60, 3)
    assert drawing.distance(metric, same, real).value == pytest.approx(0, abs=1e-7)
    assert drawing.distance(metric, brighter, real).value == pytest.approx(20 / 255, rel=1e-5)
    number = drawing.times_further(metric, twice, brighter, real)
    assert number.value == pytest.approx(2, rel=1e-5) and number.n == 60


def test_fine_power_is_that_of_frequencies_above_half_of_nyquists() -> None:
    x = np.arange(64)

    def waves(frequency: float, amplitude: float) -> np.ndarray:
        """Vertical stripes of so many cycles per pixel."""
        row = 128 + amplitude * np.cos(2 * np.pi * frequency * x)
        return np.broadcast_to(row[None, None, :, None], (1, 64, 64, 3)).round().astype(np.uint8)

    coarse, fine, twice = (
        drawing.fine_power(waves(f, a))[0] for f, a in ((0.125, 90), (0.375, 40), (0.375, 80))
    )
    assert coarse < 0.01 * fine
    assert twice == pytest.approx(4 * fine, rel=0.03)  # rounded to 8 bits
    assert drawing.fine_power(plain((9, 9, 9)))[0] == pytest.approx(0)
    # all of the stripes' power under the window: 3 channels, amplitude^2 / 2, (3 / 8)^2 kept by the window
    assert fine == pytest.approx(3 * 40**2 / 2 * (3 / 8) ** 2, rel=0.05)
    number = drawing.quotient(np.full(50, 3.0), np.full(50, 2.0))
    assert number.value == 1.5 and number.interval == pytest.approx((1.5, 1.5))


@pytest.mark.parametrize("part", faces_parts.PARTS)
def test_faces_have_the_parts_that_are_drawn(part: str) -> None:
    assert faces_parts.present(faces_parts.drawn(40, start=0), part).mean() > 0.9
    assert faces_parts.present(faces_parts.drawn(40, without=part, start=0), part).mean() < 0.1
    np.testing.assert_array_equal(
        faces_parts.drawn(1, start=0), held_out_face()
    )  # nothing stays left out afterwards


def held_out_face() -> np.ndarray:
    world = WORLDS["faces"]
    return world.render(world.picture("validation", 0))[None]


def test_attributes_are_held_against_what_the_caption_says() -> None:
    class Ages(ChannelClassifier):
        classes = ("old", "smiling", "glasses")

    network: Any = Ages()
    images = plain((200, 0, 200), (0, 200, 0))
    said = [frozenset({"old", "smiling", "blue background"}), frozenset({"young", "neutral", "glasses"})]
    assert reading.attributes_as_said(network, images, said).tolist() == [True, False, False, False, True]


def test_held_out_pictures_are_of_the_test_split_and_portraits_of_every_class() -> None:
    world = WORLDS["animals"]
    pictures = held_out(world, 2, start=3)
    np.testing.assert_array_equal(pictures.images[1], world.render(world.picture("test", 4)))
    assert all(c.facts <= shown for c, shown in zip(pictures.captions, pictures.shown, strict=True))
    portraits = held_out(world, len(world.classes), portraits=True)
    assert [c in shown for c, shown in zip(world.classes, portraits.shown, strict=True)] == [True] * 9


def test_pictures_in_turn_and_averaged() -> None:
    parts = [
        Pictures(
            plain((k, k, k), (k + 1, 0, 0)),
            (caption(f"{k}"), caption(f"{k + 1}")),
            (frozenset({f"{k}"}), frozenset({f"{k + 1}"})),
        )
        for k in (10, 20)
    ]
    mixed = in_turn(parts)
    assert mixed.images[:, 0, 0, 0].tolist() == [10, 20, 11, 21]
    assert [c.text for c in mixed.captions] == ["10", "20", "11", "21"]
    assert [set(s) for s in mixed.shown] == [{"10"}, {"20"}, {"11"}, {"21"}]
    ramp = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(1, 8, 8, 3)
    small = averaged(Pictures(ramp, (caption("x"),), (frozenset(),)), 4).images
    expected = torch.nn.functional.avg_pool2d(to_tensor(ramp) * 255, 2).permute(0, 2, 3, 1).round()
    np.testing.assert_allclose(small, expected.numpy(), atol=1)
    assert small.shape == (1, 4, 4, 3)
