"""Alignment against known similarity transforms, scikit-image, OpenCV and the published formula of the crop."""

import numpy as np
import pytest

from guidebench.data.alignment import ARCFACE_112, arcface5, ffhq, ffhq_square, five_of_68, similarity


def transform(angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def mapped(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def landmarks(seed: int = 0) -> np.ndarray:
    """68 points of an upright face whose eyes are 60 apart, a little at random."""
    rng = np.random.default_rng(seed)
    points = rng.normal((150, 160), 1, (68, 2))
    points[36:42] += [-30, -20]
    points[42:48] += [30, -20]
    points[30] = [151, 165]
    points[48], points[54] = [130, 200], [172, 202]
    return points


def smooth_picture(height: int = 320, width: int = 300) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [128 + 60 * np.sin(x / 23 + c) + 50 * np.cos(y / 31 - c) for c in range(3)]
    return np.stack(waves, axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize(
    ("angle", "scale", "shift"), [(0.0, 1.0, (0, 0)), (0.7, 0.3, (5, -9)), (-2.9, 4.0, (1, 2))]
)
def test_a_known_similarity_is_found(angle: float, scale: float, shift: tuple[float, float]) -> None:
    points = np.random.default_rng(1).normal(0, 10, (5, 2))
    known = transform(angle, scale, shift)
    np.testing.assert_allclose(similarity(points, mapped(known, points)), known, atol=1e-12)


def test_noisy_points_give_the_least_squares_of_scikit_image() -> None:
    transforms = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(2)
    points = rng.normal(0, 10, (5, 2))
    targets = mapped(transform(0.4, 1.7, (3, 4)), points) + rng.normal(0, 1, (5, 2))
    expected = transforms.SimilarityTransform.from_estimate(points, targets).params[:2]
    np.testing.assert_allclose(similarity(points, targets), expected, atol=1e-9)


def test_points_on_the_template_leave_the_picture_as_it_is() -> None:
    image = smooth_picture(112, 112)
    assert np.array_equal(arcface5(image, np.array(ARCFACE_112)), image)


def test_a_turned_and_enlarged_face_comes_back() -> None:
    """A picture whose value is a function of the place: after alignment it is that function of the template's place."""
    turn = transform(0.3, 2.0, (120.0, 20.0))
    y, x = np.mgrid[:400, :400]
    back = np.linalg.inv(np.vstack([turn, [0, 0, 1]]))[:2]
    seen = mapped(back, np.stack([x, y], axis=-1).reshape(-1, 2)).reshape(400, 400, 2)
    image = np.concatenate([seen, seen[..., :1]], axis=-1).clip(0, 255).round().astype(np.uint8)
    got = arcface5(image, mapped(turn, np.array(ARCFACE_112)))
    v, u = np.mgrid[:112, :112]
    inside = (slice(2, -2), slice(2, -2))
    assert np.abs(got[..., 0].astype(float) - u)[inside].max() <= 1.01
    assert np.abs(got[..., 1].astype(float) - v)[inside].max() <= 1.01


def test_the_warp_is_that_of_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    points = five_of_68(landmarks())
    forward = similarity(points, np.array(ARCFACE_112))
    expected = cv2.warpAffine(smooth_picture(), forward, (112, 112), borderValue=0.0)
    assert np.abs(arcface5(smooth_picture(), points).astype(int) - expected).max() <= 2


def test_the_square_of_an_upright_face() -> None:
    points = landmarks()
    points[36:42], points[42:48] = [100, 100], [160, 100]
    points[48], points[54] = [110, 170], [150, 170]  # eyes 60 apart, mouth 70 below: 1.8 x 70 > 2 x 60
    square = ffhq_square(five_of_68(points))
    middle, half = np.array([130.0, 107.0]), 126.0
    expected = middle + half * np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)])
    np.testing.assert_allclose(square, expected, atol=1e-9)


def test_the_square_moves_with_the_face() -> None:
    turn = transform(-0.5, 1.4, (7.0, 80.0))
    np.testing.assert_allclose(
        ffhq_square(mapped(turn, five_of_68(landmarks()))),
        mapped(turn, ffhq_square(five_of_68(landmarks()))),
        atol=1e-9,
    )


def test_the_crop_samples_the_square() -> None:
    y, x = np.mgrid[:300, :300]
    image = np.stack([x, y, x], axis=-1).clip(0, 255).astype(np.uint8)
    points = landmarks()
    points[36:42], points[42:48] = [100, 100], [140, 100]
    points[48], points[54] = [105, 140], [135, 140]  # the square of side 160 around (120, 104)
    got = ffhq(image, five_of_68(points), size=80).astype(float)
    v, u = np.mgrid[:80, :80]
    np.testing.assert_allclose(got[5:-5, 5:-5, 0], (40 + 2 * u + 0.5)[5:-5, 5:-5], atol=1.0)
    np.testing.assert_allclose(got[5:-5, 5:-5, 1], (24 + 2 * v + 0.5)[5:-5, 5:-5], atol=1.0)


def test_beyond_the_edge_the_picture_is_reflected() -> None:
    image = smooth_picture()
    points = landmarks() - [120, 130]  # a face in the corner
    got = ffhq(image, five_of_68(points))
    assert got.shape == (256, 256, 3)
    assert got[:20, :20].std() > 1.0
