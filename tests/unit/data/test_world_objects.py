"""The objects world: geometry against closed forms, marks on the right sides, captions."""

import dataclasses
import math

import numpy as np
import pytest

from guidebench.data.worlds.objects.solids import (
    FIELD_OF_VIEW,
    REACH,
    SOLIDS,
    VIEWS,
    Camera,
    direction,
    ground_shadow,
    solid_view,
)
from guidebench.data.worlds.objects.world import BACKGROUNDS, COLORS, OBJECTS, ObjectPicture
from guidebench.data.worlds.world import SPLITS

COUNT = 120


@pytest.fixture(scope="module")
def pictures() -> list[ObjectPicture]:
    return [OBJECTS.picture("test", index) for index in range(COUNT)]


def degrees(azimuth: float, elevation: float, distance: float = 2.2) -> Camera:
    return Camera(math.radians(azimuth), math.radians(elevation), distance)


def white(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where the white of an eye or spot is, on a solid that is not pale itself."""
    return (mask > 0.9) & (rgb.min(axis=-1) > 125)


def test_a_picture_is_a_function_of_split_and_index() -> None:
    first, again = OBJECTS.picture("train", 5), OBJECTS.picture("train", 5)
    assert first == again
    image = OBJECTS.render(first)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert np.array_equal(image, OBJECTS.render(again))


def test_splits_differ_and_no_two_pictures_are_alike() -> None:
    drawn = [OBJECTS.picture(split, index) for split in SPLITS for index in range(COUNT)]
    assert len(set(drawn)) == len(drawn)
    assert len({OBJECTS.render(picture).tobytes() for picture in drawn[::6]}) == len(drawn[::6])


def test_captions_say_what_is_shown_in_known_words(pictures) -> None:
    texts = set()
    for picture in pictures:
        for seed in range(8):
            caption = OBJECTS.describe(picture, np.random.default_rng(seed))
            texts.add(caption.text)
            assert set(caption.words) <= set(OBJECTS.vocabulary) and len(caption.words) <= 20
            assert caption.facts <= OBJECTS.shown(picture) <= set(OBJECTS.facts)
            assert caption.facts == frozenset().union(*caption.meanings.values())
            for index, facts in caption.meanings.items():
                assert all(index < len(caption.words) for _ in facts)
            said = set(caption.words)
            assert (picture.color in said) == (picture.color in caption.facts)
            assert (picture.solid in said) == (picture.solid in caption.facts)
            assert ("background" in said) == (f"{picture.background} background" in caption.facts)
            assert bool(said & {"view", "from"}) == (f"{picture.camera.view} view" in caption.facts)
            assert " a o" not in f" {caption.text}"
    assert len(texts) > 300


def test_every_word_and_fact_is_used() -> None:
    rng = np.random.default_rng(0)
    words: set[str] = set()
    facts: set[str] = set()
    for _ in range(3000):
        picture = OBJECTS.sample(rng)
        words |= set(OBJECTS.describe(picture, rng).words)
        facts |= OBJECTS.shown(picture)
    assert words == set(OBJECTS.vocabulary) and facts == set(OBJECTS.facts)
    assert all(word.isascii() and word.isalpha() and word.islower() for word in OBJECTS.vocabulary)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "view"),
    [
        (0, 10, "front"),
        (44.9, 0, "front"),
        (-44.9, 59, "front"),
        (45.1, 0, "side"),
        (360 + 90, 0, "side"),
        (-134.9, 30, "side"),
        (135.1, 30, "back"),
        (-180, 0, "back"),
        (540, 59.9, "back"),
        (0, 61, "overhead"),
        (180, 90, "overhead"),
    ],
)
def test_views_by_angle(azimuth: float, elevation: float, view: str) -> None:
    assert degrees(azimuth, elevation).view == view


def test_random_cameras_cover_all_views_and_keep_off_their_borders() -> None:
    rng = np.random.default_rng(0)
    cameras = [OBJECTS.sample(rng).camera for _ in range(2000)]
    counts = {view: sum(camera.view == view for camera in cameras) / 2000 for view in VIEWS}
    assert all(0.15 < share < 0.45 for share in counts.values())
    for camera in cameras:
        assert abs(math.degrees(camera.elevation) - 60) > 3.9
        if camera.view != "overhead":
            turn = abs(math.degrees(camera.azimuth))
            assert min(abs(turn - 45), abs(turn - 135)) > 3.9


def test_axes_are_a_rotation_that_looks_at_the_target_even_from_straight_above() -> None:
    for camera in (degrees(30, 20), degrees(-170, 80), degrees(77, 90), degrees(10, -20)):
        axes = camera.axes
        assert np.allclose(axes.T @ axes, np.eye(3)) and np.linalg.det(axes) == pytest.approx(1)
        assert np.allclose(camera.position / 2.2, axes[:, 2])
        rays = camera.rays()
        assert np.allclose(rays[31:33, 31:33].mean((0, 1)), -axes[:, 2], atol=1e-3)
        assert (rays[0, 32] - rays[63, 32]) @ axes[:, 1] > 0 < (rays[32, 63] - rays[32, 0]) @ axes[:, 0]
        corner = math.tan(FIELD_OF_VIEW / 2) * math.sqrt(2) * 63 / 64
        assert math.acos(rays[0, 0] @ -axes[:, 2]) == pytest.approx(math.atan(corner), abs=1e-4)


def test_plus_y_is_on_the_right_of_the_front_view() -> None:
    camera = dataclasses.replace(degrees(0, 10), target=(0.0, 0.3, 0.0))
    _, mask = solid_view("sphere", COLORS["red"], camera)
    assert (mask * np.arange(64)).sum() / mask.sum() < 28  # looking towards +y moves the solid to the left


def exact_mask(inside: np.ndarray) -> np.ndarray:
    return inside.reshape(64, 8, 64, 8).mean((1, 3))


def meets_box(origin: np.ndarray, rays: np.ndarray, half: np.ndarray) -> np.ndarray:
    crossings = np.stack([(side * half - origin) / rays for side in (-1, 1)])
    return crossings.min(0).max(-1) < crossings.max(0).min(-1)


@pytest.mark.parametrize("elevation", [5, 35, 75])
def test_masks_of_sphere_and_cube_are_those_of_closed_forms(elevation: float) -> None:
    camera = degrees(25, elevation)
    rays = camera.rays(512).reshape(-1, 3).astype(float)
    origin = camera.position
    sphere = exact_mask((rays @ origin) ** 2 - origin @ origin + 0.46**2 > 0)
    _, mask = solid_view("sphere", COLORS["red"], camera)
    assert np.abs(mask - sphere).max() < 0.08
    assert mask.sum() == pytest.approx(sphere.sum(), rel=0.005)
    # a cube with edges rounded by less than 0.05 lies between the sharp one and three overlapping boxes
    sharp = exact_mask(meets_box(origin, rays, np.full(3, 0.35)))
    within = [meets_box(origin, rays, 0.3 + 0.05 * axis) for axis in np.eye(3)]
    _, mask = solid_view("cube", COLORS["red"], camera)
    assert (mask - sharp).max() < 0.08
    assert (exact_mask(np.any(within, axis=0)) - mask).max() < 0.08


@pytest.mark.parametrize("name", SOLIDS)
def test_distances_are_safe_lower_bounds_and_solids_stand_on_their_floor(name: str) -> None:
    rng = np.random.default_rng(0)
    solid = SOLIDS[name]
    points = rng.uniform(-1.2, 1.2, (20000, 3)).astype(np.float32)
    distance = solid.distance(points)
    steps = rng.normal(size=points.shape) * rng.uniform(0.001, 0.3, (len(points), 1))
    change = np.abs(solid.distance((points + steps).astype(np.float32)) - distance)
    assert (change <= 1.001 * np.linalg.norm(steps, axis=1) + 1e-5).all()
    inside = points[distance < 0]
    assert np.linalg.norm(inside, axis=1).max() < REACH
    assert solid.floor <= inside[:, 2].min() < solid.floor + 0.1


@pytest.mark.parametrize("name", SOLIDS)
def test_eyes_are_seen_from_the_front_only(name: str) -> None:
    looks = {azimuth: solid_view(name, COLORS["blue"], degrees(azimuth, 15)) for azimuth in (0, 90, 180, 270)}
    whites = {azimuth: int(white(*look).sum()) for azimuth, look in looks.items()}
    darks = {a: int(((mask > 0.9) & (rgb.max(-1) < 75)).sum()) for a, (rgb, mask) in looks.items()}
    assert whites[0] >= 14 and darks[0] >= 8
    assert whites[90] >= 14 and darks[90] < 5
    assert darks[270] >= 14
    for azimuth in (180, 270):
        x = np.nonzero(white(*looks[azimuth]))[1]
        assert len(x) < 0.6 * whites[0], "only the pale spot on top may be left"
    columns = np.nonzero(white(*looks[0]))[1]
    assert abs(columns.mean() - 31.5) < 1.5 and columns.std() > 2.5  # two eyes, left and right


def test_paint_reaches_the_pixels() -> None:
    for name in SOLIDS:
        for color, paint in COLORS.items():
            rgb, mask = solid_view(name, paint, degrees(180, 25))
            mean = rgb[mask > 0.9].mean(axis=0)
            nearest = min(
                COLORS,
                key=lambda c: -np.dot(mean, COLORS[c]) / np.linalg.norm(mean) / np.linalg.norm(COLORS[c]),
            )
            assert nearest == color


def test_a_picture_is_the_solid_over_its_background(pictures) -> None:
    for picture in pictures[:20]:
        image = OBJECTS.render(picture)
        paint = tuple(np.add(COLORS[picture.color], picture.tint).clip(0, 255))
        rgb, mask = solid_view(picture.solid, paint, picture.camera, direction(*picture.light))
        assert np.abs(image[mask == 1] - rgb[mask == 1]).max() <= 0.51
        assert 100 < mask.sum() < 2600
        free = (mask == 0) & (ground_shadow(picture.solid, picture.camera, direction(*picture.light)) < 0.01)
        difference = image[free].mean(axis=0) - BACKGROUNDS[picture.background]
        assert np.abs(difference).max() < 32


@pytest.mark.parametrize("name", SOLIDS)
def test_shadow_lies_at_the_foot_and_away_from_the_light(name: str) -> None:
    above = ground_shadow(name, degrees(0, 90, 2.5), np.array([0.0, 0.0, 1.0]))
    assert above.max() > 0.3 and above[:3].max() < 0.1
    slanted = ground_shadow(name, degrees(0, 90, 2.5), direction(math.pi / 2, 0.9))  # from +y, the right
    columns = np.arange(64) - 31.5
    assert (slanted * columns).sum() / slanted.sum() < -0.8
    assert not ground_shadow(name, degrees(0, -30), np.array([0.0, 0.0, 1.0])).any()


def test_bigger_pictures_show_the_same() -> None:
    small = solid_view("torus", COLORS["green"], degrees(30, 40))[1]
    large = solid_view("torus", COLORS["green"], degrees(30, 40), size=256)[1]
    assert np.abs(large.reshape(64, 4, 64, 4).mean((1, 3)) - small).mean() < 0.004


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="solid must be one of"):
        solid_view("teapot", COLORS["red"], degrees(0, 0))
    with pytest.raises(ValueError, match="radians"):
        Camera(0.0, 30.0, 2.0)
    with pytest.raises(ValueError, match="distance"):
        Camera(0.0, 0.3, 0.5)
