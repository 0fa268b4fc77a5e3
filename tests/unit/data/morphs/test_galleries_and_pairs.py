"""Galleries, their landmarks and the rules that pair their people."""

import logging
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from guidebench.data.morphs.frll import FRLL
from guidebench.data.morphs.gallery import Gallery, NoiseGallery, Person, RenderedGallery
from guidebench.data.morphs.landmarks import LANDMARKS, landmarks
from guidebench.data.morphs.pairs import ConsecutivePairs, ListedPairs, Morphs, MostSimilar
from guidebench.data.worlds.faces.world import FACES
from guidebench.errors import ConfigError, DataError
from guidebench.pixels import to_tensor
from guidebench.problems import Picture
from tiny_faces import LinearRecogniser, picture


def test_landmarks_lie_on_the_features_that_are_drawn() -> None:
    """Pupils are dark, each within a pixel of its place, whatever the pose; the eyes' corners are in order."""
    rng = np.random.default_rng(0)
    shown = 0
    for face in (FACES.sample(rng) for _ in range(60)):
        if "glasses" in face.attributes:
            continue
        shown += 1
        image = FACES.render(face).astype(float).mean(axis=2)
        places = dict(zip(LANDMARKS, landmarks(face), strict=True))
        for side in ("left", "right"):
            x, y = (64 * share - 0.5 for share in places[f"{side} eye middle"])
            row, column = round(y), round(x)
            assert image[row - 1 : row + 2, column - 1 : column + 2].min() < 75
        assert places["left eye outer"][0] < places["left eye inner"][0] < places["right eye inner"][0]
        corners = np.array([places["mouth left"], places["mouth right"]])
        assert 0.1 < corners[1, 0] - corners[0, 0] < 0.35
    assert shown > 20


def test_landmarks_move_with_the_pose() -> None:
    face = FACES.sample(np.random.default_rng(1))
    upright = replace(face, setting=replace(face.setting, shift=(0.0, 0.0), tilt=0.0, yaw=0.0))
    shifted = replace(face, setting=replace(upright.setting, shift=(2.0, -1.0)))
    tilted = replace(face, setting=replace(upright.setting, tilt=0.1))
    here, there = np.array(landmarks(upright)), np.array(landmarks(shifted))
    np.testing.assert_allclose(there - here, np.tile([2 / 64, -1 / 64], (len(here), 1)), atol=1e-12)
    turned = (here - 0.5) @ np.array([[np.cos(0.1), np.sin(0.1)], [-np.sin(0.1), np.cos(0.1)]]) + 0.5
    np.testing.assert_allclose(np.array(landmarks(tilted)), turned, atol=1e-9)
    middle = here[: len(here) // 2]
    assert np.isclose(middle[0, 0] + middle[5, 0], 1.0)  # an upright face is symmetric


def test_the_rendered_gallery_is_102_people_twice() -> None:
    gallery = RenderedGallery()
    people = gallery.people()
    assert len(people) == 102 and len({p.name for p in people}) == 102
    assert {p.group for p in people} == {"long hair", "short hair"}
    assert len(gallery.pictures()) == 204 and gallery.pictures()[102] == people[0].smiling
    assert all(p.landmarks is not None and len(p.landmarks) == len(LANDMARKS) for p in people)
    assert not np.array_equal(people[0].neutral.load(), people[0].smiling.load())


class Few(Gallery):
    """Seven people in two groups."""

    name = "few"

    def people(self) -> list[Person]:
        def shot(seed: int) -> Picture:
            return Picture(f"few/{seed}", lambda: picture(seed))

        return [Person(f"{i:03d}", "even" if i % 2 == 0 else "odd", shot(i), shot(50 + i)) for i in range(7)]


def test_the_most_similar_of_each_group_take_turns() -> None:
    recogniser, people = LinearRecogniser(), Few().people()
    features = [(to_tensor([p.neutral.load()]) - 0.5).flatten() @ recogniser.matrix for p in people]

    def cosine(pair: tuple[int, int]) -> float:
        return float(torch.nn.functional.cosine_similarity(features[pair[0]], features[pair[1]], dim=0))

    groups = [list(combinations(range(start, 7, 2), 2)) for start in (0, 1)]
    ranked = [sorted(group, key=cosine, reverse=True)[:2] for group in groups]
    expected = [ranked[0][0], ranked[1][0], ranked[0][1], ranked[1][1]]
    found = MostSimilar(recogniser, 2).pairs(Few())
    assert [(int(a.name), int(b.name)) for a, b in found] == expected
    assert len(MostSimilar(recogniser, 250).pairs(Few())) == 6 + 3  # all pairs of four and of three


def test_pairs_are_read_from_a_list_in_either_way_of_naming(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("001,004\n\nneutral_front/002_03.jpg, neutral_front/006_03.jpg, morphs/002_006.png\n")
    found = ListedPairs(str(file)).pairs(Few())
    assert [(a.name, b.name) for a, b in found] == [("001", "004"), ("002", "006")]
    file.write_text("001,999\n")
    with pytest.raises(DataError, match=r"line 1 .* 001, 999.*such as 000, 001"):
        ListedPairs(str(file)).pairs(Few())
    with pytest.raises(DataError, match="cannot be read"):
        ListedPairs(str(tmp_path / "none.csv")).pairs(Few())


def test_problems_hold_both_people_and_say_what_they_give() -> None:
    dataset = Morphs(NoiseGallery(4, 8), ConsecutivePairs(), limit=2)
    problems = dataset.problems([0, 5])
    assert [(p.case_id, p.seed) for p in problems] == [
        ("000-001", 0),
        ("000-001", 5),
        ("001-002", 0),
        ("001-002", 5),
    ]
    first = problems[0]
    assert (first.identity_a, first.identity_b) == ("000", "001") and first.a != first.other_a
    for name in dataset.gives:
        assert getattr(first, name) is not None
    assert "traits_a" not in dataset.gives and "landmarks_b" in dataset.gives
    assert first.record() == {
        "case_id": "000-001",
        "seed": 0,
        "identity_a": "000",
        "identity_b": "001",
        **{name: getattr(first, name).name for name in ("a", "b", "other_a", "other_b")},
    }
    rendered = Morphs(RenderedGallery(), ConsecutivePairs(), limit=1)
    assert {"traits_a", "landmarks_a", "other_b"} <= set(rendered.gives)
    assert len(rendered.problems([0])[0].traits_a or ()) == 20


# ----------------------------------------------------------------------------------------------------------------- FRLL


def make_frll(root: Path, people: int = 3) -> Path:
    """A folder in the set's layout: photographs with a dark spot on each pupil, 200 x 200, and their templates."""
    rng = np.random.default_rng(0)
    (root / "london_faces_info.csv").write_text(
        "face_id,face_age,face_gender,face_eth\n"
        + "".join(f"X{i:03d},30,{('female', 'male')[i % 2]},x\n" for i in range(people))
    )
    for folder, code in (("neutral_front", "03"), ("smiling_front", "08")):
        (root / folder).mkdir()
        for i in range(people):
            points = rng.uniform(80, 120, (189, 2))
            points[0], points[1] = (80 + i, 90), (120 + i, 92)
            points[87:109, 0], points[87:109, 1] = np.linspace(86, 114, 22) + i, 130
            points[50:71] = (100 + i, 110)
            image = np.full((200, 200, 3), 200, np.uint8)
            for x, y in points[:2].astype(int):
                image[y - 2 : y + 3, x - 2 : x + 3] = 0
            stem = root / folder / f"{i:03d}_{code}"
            Image.fromarray(image).save(stem.with_suffix(".jpg"), quality=95)
            lines = [str(len(points)), *(f"{x}\t{y}" for x, y in points), "1", "0"]
            stem.with_suffix(".tem").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("alignment", ["ffhq", "arcface5"])
def test_frll_is_aligned_by_its_own_templates(tmp_path: Path, alignment: str) -> None:
    gallery = FRLL(str(make_frll(tmp_path)), alignment, 64)  # type: ignore[arg-type]
    people = gallery.people()
    assert [p.name for p in people] == ["000", "001", "002"] and len({p.group for p in people}) == 2
    assert alignment in gallery.name and "3 people" in gallery.name
    for person in people:
        image = person.neutral.load()
        assert image.shape == (64, 64, 3) and person.landmarks is not None
        for x, y in person.landmarks[:2]:  # the dark spots come to lie where the aligned landmarks say
            row, column = round(64 * y - 0.5), round(64 * x - 0.5)
            assert image[row - 1 : row + 2, column - 1 : column + 2].min() < 80
    if alignment == "arcface5":
        eyes = np.array(people[0].landmarks[:2]) * 112  # type: ignore[index]
        np.testing.assert_allclose(eyes, [(38.3, 51.7), (73.5, 51.5)], atol=4)


def test_who_cannot_be_aligned_is_left_out_with_a_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_frll(tmp_path, 4)
    (tmp_path / "neutral_front" / "001_03.tem").unlink()
    (tmp_path / "smiling_front" / "002_08.tem").write_text("3\n1 1\n2 2\n3 3\n")
    with caplog.at_level(logging.WARNING):
        people = FRLL(str(tmp_path), size=32).people()
    assert [p.name for p in people] == ["000", "003"]
    assert "person 001 is left out" in caplog.text and "3 points, 189 are needed" in caplog.text


def test_a_folder_that_is_not_frll_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"london_faces_info\.csv"):
        FRLL(str(tmp_path)).people()
    with pytest.raises(ConfigError, match="'ffhq', 'arcface5' and 'none'"):
        FRLL(str(tmp_path), "square")  # type: ignore[arg-type]
    make_frll(tmp_path, 3)
    unaligned = FRLL(str(tmp_path), "none", 40).people()[0]
    assert unaligned.neutral.load().shape == (40, 40, 3) and unaligned.landmarks is None
