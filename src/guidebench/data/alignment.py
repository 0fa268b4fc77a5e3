"""Alignment of portraits from landmarks: what face networks expect before they see a picture. Pure geometry.

Points are (x, y) in pixels, x to the right, y down; pixel centres are at integers.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.float64]

ARCFACE_112: tuple[tuple[float, float], ...] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where left eye, right eye (as seen), nose and corners of the mouth lie in a picture of 112 pixels."""


def similarity(points: Array, targets: Array) -> Array:
    """The similarity transform that maps points nearest to targets in least squares, (2, 3): rotation, scale, shift.

    With centred points p, q as complex numbers it is multiplication by sum conj(p) q / sum |p|^2; no reflection.

    Args:
        points: (n, 2), not all the same.
        targets: (n, 2).

    References: Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991,
        in the plane and without reflections.
    """
    p, q = (np.asarray(each, float) @ [1.0, 1.0j] for each in (points, targets))
    centred = p - p.mean()
    factor = np.vdot(centred, q - q.mean()) / np.vdot(centred, centred).real
    shift = q.mean() - factor * p.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def arcface5(image: NDArray[np.uint8], landmarks: Array, size: int = 112) -> NDArray[np.uint8]:
    """A picture warped (bilinear) so that five landmarks lie where ArcFace's networks were trained to find them.

    Args:
        image: (H, W, 3); black beyond its edge.
        landmarks: (5, 2): the eye on the left of the picture, the one on the right, nose, corners of the mouth.
        size: side of the result.

    References: Deng et al., "ArcFace", CVPR 2019, section 3.1; template of insightface.
    """
    forward = similarity(landmarks, np.array(ARCFACE_112) * size / 112)
    backward = np.linalg.inv(np.vstack([forward, [0.0, 0.0, 1.0]]))[:2]
    return np.asarray(_warped(image, backward, size))


def five_of_68(landmarks: Array) -> Array:
    """Eyes (means of their outlines), tip of the nose, corners of the mouth, (5, 2), of the 68 points of iBUG."""
    points = np.asarray(landmarks, float)
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def ffhq_square(landmarks: Array) -> Array:
    """The oriented square around a face that FFHQ crops, corners (4, 2) from upper left counter-clockwise.

    It stands on the line between the eyes and the one from the eyes to the mouth, each corrected by the other, and its
    side is the larger of four eye distances and 3.6 eye-to-mouth distances.

    Args:
        landmarks: (5, 2): the eye on the left of the picture, the one on the right, nose, corners of the mouth; FFHQ's
            are `five_of_68`.

    References: Karras et al., "A Style-Based Generator Architecture for GANs", CVPR 2019, appendix on FFHQ; Karras et
        al., "Progressive Growing of GANs", ICLR 2018, appendix C.
    """
    left, right, _, mouth_left, mouth_right = np.asarray(landmarks, float)
    eyes, across = (left + right) / 2, right - left
    down = (mouth_left + mouth_right) / 2 - eyes
    x = across - down[::-1] * [-1, 1]
    x *= max(np.hypot(*across) * 2.0, np.hypot(*down) * 1.8) / np.hypot(*x)
    y = x[::-1] * [-1, 1]
    centre = eyes + 0.1 * down
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def ffhq(image: NDArray[np.uint8], landmarks: Array, size: int = 256) -> NDArray[np.uint8]:
    """The square of `ffhq_square` as a picture, by sampling it 16 times as dense and averaging down.

    Differs from the published code: where the square leaves the picture, its reflection is not blurred.

    Args:
        image: (H, W, 3).
        landmarks: (5, 2), as for `ffhq_square`.
        size: side of the result.
    """
    square = ffhq_square(landmarks)
    low, high = np.floor(square.min(0)) - 3, np.ceil(square.max(0)) + 3
    before = np.maximum(-low, 0).astype(int)
    after = np.maximum(high - [image.shape[1], image.shape[0]], 0).astype(int)
    padded = np.pad(image, ((before[1], after[1]), (before[0], after[0]), (0, 0)), "reflect")
    square = square + before
    dense = 16 * size
    step = np.stack([square[3] - square[0], square[1] - square[0]], axis=1) / dense
    origin = square[0] + 0.5 * step.sum(1)  # of the first pixel's centre
    sampled = _warped(padded, np.column_stack([step, origin]), dense)
    return np.asarray(sampled.resize((size, size), Image.Resampling.LANCZOS))


def _warped(image: NDArray[np.uint8], backward: Array, size: int) -> Image.Image:
    """The picture whose pixel p is the image at backward (p, 1), bilinear, black outside."""
    linear, shift = backward[:, :2], backward[:, 2]
    shift = shift + 0.5 - linear @ [0.5, 0.5]  # Pillow counts from pixels' corners
    coefficients = np.column_stack([linear, shift]).ravel().tolist()
    return Image.fromarray(image).transform(
        (size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
