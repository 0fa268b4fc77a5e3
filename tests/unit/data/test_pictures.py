"""Reference sets and the datasets of classes and restorations."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guidebench.data.classes import ImageNetClasses, Restorations, WorldClasses
from guidebench.data.noise_pictures import NoisePictures
from guidebench.data.pictures import ImageFolder, WorldPictures
from guidebench.data.worlds import WORLDS
from guidebench.errors import DataError
from guidebench.runner.compose import compose_config
from guidebench.runner.job import Job


def test_world_pictures_are_those_of_the_worlds_in_turn() -> None:
    pictures = WorldPictures(["animals", "birds"], "validation", n=3, size=64).pictures()
    assert [p.name.split()[0] for p in pictures] == [
        "animals/validation/0/64px",
        "birds/validation/0/64px",
        "animals/validation/1/64px",
    ]
    world = WORLDS["animals"]
    assert (pictures[2].load() == world.render(world.picture("validation", 1))).all()


def test_smaller_pictures_are_averages() -> None:
    large, small = (WorldPictures(["objects"], n=1, size=size).pictures()[0] for size in (64, 32))
    image = small.load()
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8 and small != large
    np.testing.assert_allclose(image[5, 7], large.load()[10:12, 14:16].mean((0, 1)), atol=0.5)


def test_classes_are_numbered_through_the_worlds() -> None:
    for picture, label, name in WorldPictures(["animals", "birds"], n=6).labelled():
        world = WORLDS[picture.name.split("/")[0]]
        assert name in world.classes
        assert [*WORLDS["animals"].classes, *WORLDS["birds"].classes][label] == name
    problems = WorldClasses(["animals", "birds"]).problems([4, 5])
    assert len(problems) == 2 * 33 and len({p.case_id for p in problems}) == 33
    assert [(p.label, p.name, p.seed) for p in problems[2:4]] == [(1, "dog", 4), (1, "dog", 5)]
    assert len(WorldClasses(["animals"], limit=2).problems([0])) == 2


def test_classes_that_no_picture_shows_are_left_out_and_the_others_keep_their_numbers() -> None:
    dataset = Job.from_config(compose_config(["dataset=classes/animals_and_birds"])).build("dataset")
    kept = {p.label: p.name for p in dataset.problems([0])}
    assert len(kept) == 29 and all(dataset.names[label] == name for label, name in kept.items())
    shown = {name for _, _, name in WorldPictures(["animals", "birds"], n=1000).labelled()}
    assert shown == set(kept.values())
    with pytest.raises(DataError, match="allowed are cat, dog"):
        WorldClasses(["animals"], without=["unicorn"])


def test_imagenets_classes() -> None:
    problems = ImageNetClasses().problems([0, 1])
    assert len(problems) == 2000 and len({(p.case_id, p.seed) for p in problems}) == 2000
    assert (problems[2].case_id, problems[2].label, problems[2].name) == ("1-goldfish", 1, "goldfish")
    assert [p.label for p in ImageNetClasses(limit=4).problems([0])] == [0, 250, 500, 750]


def test_noise_stands_in_for_pictures() -> None:
    pictures = NoisePictures(n=1001, size=48)
    first, *_, last = pictures.labelled()
    assert (first.label, first.name) == (0, "tench") == (last.label, last.name)
    image, other = first.picture.load(), last.picture.load()
    assert image.shape == (48, 48, 3) and image.dtype == np.uint8
    assert (image == first.picture.load()).all() and (image != other).any()
    assert np.abs(np.diff(image.astype(int), axis=0)).mean() < image.std() / 2  # smooth


def test_restorations_carry_their_reference() -> None:
    pictures = WorldPictures(["animals"], "validation", n=4, size=32)
    problems = Restorations(pictures, limit=2).problems([0, 1])
    assert [(p.case_id, p.seed) for p in problems] == [
        (f"animals.validation.{i}.32px_{WORLDS['animals'].fingerprint}", seed)
        for i in (0, 2)
        for seed in (0, 1)
    ], "spread over the set"
    assert problems[0].reference == pictures.pictures()[0] and problems[0].reference.load().shape == (
        32,
        32,
        3,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(worlds=["animal"]), "allowed are scenes, birds"),
        (dict(worlds=[]), "at least one"),
        (dict(worlds=["birds"], split="val"), "allowed are train, validation, test"),
        (dict(worlds=["birds"], size=48), "divides 64"),
        (dict(worlds=["birds"], n=0), "1 or more"),
    ],
)
def test_wrong_world_pictures_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        WorldPictures(**arguments)


def test_worlds_without_one_class_per_picture_have_no_labels() -> None:
    with pytest.raises(DataError, match="one class each"):
        WorldPictures(["faces"], n=40).labelled()
    with pytest.raises(DataError, match="allowed are birds, faces"):
        WorldClasses(["scenes"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, shade in (("n02", 200), ("n01", 100)):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (40, 20), (shade, i, 0)).save(tmp_path / name / f"IMG_{i}.PNG")
    (tmp_path / "n01" / "notes.txt").write_text("no image")
    return tmp_path


def test_a_folder_in_order_with_labels_by_subfolder(folder: Path) -> None:
    found = ImageFolder(str(folder), size=8).labelled()
    assert [(p.picture.name.rsplit(" ", 1)[0], p.label, p.name) for p in found[2:4]] == [
        ("n01/IMG_2.PNG 8px", 0, "n01"),
        ("n02/IMG_0.PNG 8px", 1, "n02"),
    ]
    assert found[4].picture.load().shape == (8, 8, 3) and (found[4].picture.load() == (200, 1, 0)).all()
    assert [p.name.rsplit(" ", 1)[0] for p in ImageFolder(str(folder), 8, n=2).pictures()] == [
        "n01/IMG_0.PNG 8px",
        "n02/IMG_0.PNG 8px",
    ]


def test_wrong_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds 0 images in subfolders"):
        ImageFolder(str(folder / "n01"), 8).pictures()
    with pytest.raises(DataError, match="holds 6 images in subfolders, 7 are needed"):
        ImageFolder(str(folder), 8, n=7).pictures()
    with pytest.raises(DataError, match="2 folders, and imagenet has 1000 classes"):
        ImageFolder(str(folder), 8, names="imagenet").labelled()
    with pytest.raises(DataError, match="size=0, n=None: allowed are 1 or more"):
        ImageFolder(str(folder), 0)


def test_another_file_under_the_same_name_is_another_picture(folder: Path) -> None:
    """With the size and the time of the old one: neither says what is in a file."""
    names = {p.name for p in ImageFolder(str(folder), 8).pictures()}
    (problem,) = Restorations(ImageFolder(str(folder), 8), limit=1).problems([0])
    file = folder / "n01" / "IMG_0.PNG"
    before = file.stat()
    content = bytearray(file.read_bytes())
    Image.new("RGB", (40, 20), (7, 7, 7)).save(file)
    content = file.read_bytes().ljust(len(content), b"\0")
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(names - {p.name for p in ImageFolder(str(folder), 8).pictures()}) == 1
    (other,) = Restorations(ImageFolder(str(folder), 8), limit=1).problems([0])
    assert other != problem and other.record() != problem.record()


def test_two_folders_with_equal_names_hold_different_pictures(folder: Path, tmp_path_factory) -> None:
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(folder, other, dirs_exist_ok=True)
    assert ImageFolder(str(folder), 8).pictures() == ImageFolder(str(other), 8).pictures()
    Image.new("RGB", (40, 20), (1, 2, 3)).save(other / "n02" / "IMG_1.PNG")
    pairs = zip(ImageFolder(str(folder), 8).pictures(), ImageFolder(str(other), 8).pictures(), strict=True)
    assert [a != b for a, b in pairs] == [False, False, False, False, True, False]


class Redrawn(type(WORLDS["objects"])):
    """A world that draws otherwise, and the same world with other classes."""

    shade = 0

    def render(self, picture):
        return super().render(picture) + np.uint8(self.shade)


def test_a_world_that_draws_or_calls_otherwise_has_another_fingerprint() -> None:
    worlds = [Redrawn(), Redrawn(), Redrawn()]
    worlds[1].shade, worlds[2].classes = 1, worlds[2].classes[::-1]
    assert len({world.fingerprint for world in worlds}) == 3
    assert Redrawn().fingerprint == worlds[0].fingerprint != WORLDS["objects"].fingerprint
    assert len({world.fingerprint for world in WORLDS.values()}) == 5
