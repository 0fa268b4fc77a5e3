"""The places of the *birds* world: soft backdrops, and what a bird stands on."""

import numpy as np

from guidebench.data.worlds.drawing import Array, Canvas, Color, ellipse, rotate, stroke
from guidebench.data.worlds.world import IMAGE_SIZE

_AIR: tuple[tuple[Color, Color], ...] = (
    ((132, 188, 228), (206, 226, 232)),
    ((150, 200, 222), (236, 226, 204)),
    ((240, 190, 160), (250, 224, 188)),
    ((170, 176, 220), (232, 206, 216)),
    ((166, 210, 196), (222, 234, 206)),
    ((116, 152, 190), (196, 204, 216)),
)
"""Colours of the air at the top and at the bottom of the picture."""

_WOODS: tuple[tuple[Color, Color], ...] = (
    ((160, 200, 170), (116, 168, 140)),
    ((190, 212, 150), (150, 184, 124)),
    ((140, 186, 190), (108, 156, 160)),
    ((232, 204, 164), (206, 172, 136)),
    ((190, 190, 220), (150, 156, 196)),
    ((226, 186, 176), (196, 150, 150)),
)
"""Colours of what is out of focus behind a branch, a leaf or a rock, at the top and at the bottom."""


def draw_place(canvas: Canvas, place: str, stand: Array, grounded: bool, rng: np.random.Generator) -> None:
    """Paint a whole place.

    Args:
        canvas: is painted over.
        place: its name.
        stand: where the bird's feet are, (x, y) in pixels.
        grounded: whether the bird stands; then it casts a shadow.
        rng: picks colours and details.
    """
    _PLACES[place](canvas, stand, rng)
    if grounded and place in ("sand", "grass"):
        canvas.fill(
            ellipse(canvas.points, (stand[0], stand[1] + 1.0), (11, 2.2)), (30, 36, 40), 0.3, soft=3.0
        )


def _backdrop(canvas: Canvas, colors: tuple[tuple[Color, Color], ...], rng: np.random.Generator) -> None:
    top, bottom = np.array(colors[rng.integers(len(colors))], float) + rng.normal(0.0, 5.0, (2, 3))
    angle = rng.uniform(-0.4, 0.4)
    along = (canvas.points @ np.array([np.sin(angle), np.cos(angle)]) / IMAGE_SIZE).clip(0, 1)[..., None]
    canvas.pixels[...] = top + along * (bottom - top)


def _glow(canvas: Canvas, rng: np.random.Generator) -> None:
    """Discs of light out of focus."""
    for _ in range(rng.integers(3, 6)):
        x, y = rng.uniform(0, IMAGE_SIZE, 2)
        distance = np.hypot(canvas.points[..., 0] - x, canvas.points[..., 1] - y) - rng.uniform(4, 11)
        canvas.fill(distance, np.full(3, rng.choice((255.0, 235.0, 90.0))), rng.uniform(0.08, 0.2), soft=4.0)


def _sky(canvas: Canvas, stand: Array, rng: np.random.Generator) -> None:
    _backdrop(canvas, _AIR, rng)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0, IMAGE_SIZE), rng.uniform(4, 60)
        for shift in (-7.0, 0.0, 7.0):
            puff = ellipse(canvas.points, (x + shift, y + rng.uniform(-1.5, 1.5)), (rng.uniform(6, 11), 3.5))
            canvas.fill(puff, (252, 250, 248), 0.5, 5.0)


def _ground(canvas: Canvas, stand: Array, rng: np.random.Generator, colors: tuple[Color, Color]) -> Array:
    """Land up to a soft horizon; the distance to it."""
    horizon = min(stand[1] - rng.uniform(4, 9), 54.0)
    swell = rng.uniform(0.5, 2.0) * np.sin(canvas.points[..., 0] / rng.uniform(8, 16) + rng.uniform(0, 6))
    distance = horizon + swell - canvas.points[..., 1]
    near, far = np.array(colors, float) + rng.normal(0.0, 5.0, (2, 3))
    depth = np.clip(-distance / 22.0, 0.0, 1.0)[..., None]
    canvas.fill(distance, far + depth * (near - far), soft=1.6)
    return distance


def _sand(canvas: Canvas, stand: Array, rng: np.random.Generator) -> None:
    _backdrop(canvas, _AIR, rng)
    if rng.random() < 0.6:
        sea = min(stand[1] - rng.uniform(12, 20), 46.0)
        canvas.fill(sea - canvas.points[..., 1], (92, 160, 186), 0.8, soft=1.6)
    _ground(canvas, stand, rng, ((228, 198, 142), (242, 220, 172)))
    for _ in range(rng.integers(2, 5)):
        x, y = rng.uniform(4, 60), stand[1] + rng.uniform(0, 10)
        canvas.fill(
            ellipse(canvas.points, (x, y), (rng.uniform(5, 10), 0.8)), (190, 154, 104), 0.35, soft=1.6
        )


def _grass(canvas: Canvas, stand: Array, rng: np.random.Generator) -> None:
    _backdrop(canvas, _AIR, rng)
    _ground(canvas, stand, rng, ((94, 158, 78), (140, 192, 104)))
    for _ in range(rng.integers(7, 11)):
        x, y = rng.uniform(0, IMAGE_SIZE), stand[1] + rng.uniform(-2, 9)
        blade = [(x, y), (x + rng.uniform(-2.5, 2.5), y - rng.uniform(5, 8))]
        canvas.fill(stroke(canvas.points, blade, (2.2, 0.6)), (62, 124, 62), 0.7)


def _branch(canvas: Canvas, stand: Array, rng: np.random.Generator) -> None:
    _backdrop(canvas, _WOODS, rng)
    _glow(canvas, rng)
    slope = rng.uniform(-0.12, 0.12)
    xs = np.array([-3.0, stand[0] - 10, stand[0] + 10, 67.0])
    ys = stand[1] + 1.8 + slope * (xs - stand[0]) + np.array([rng.uniform(-3, 3), 0, 0, rng.uniform(-3, 3)])
    path = np.stack([xs, ys], axis=1)
    bark = np.array((112.0, 78.0, 54.0)) + rng.normal(0, 6, 3)
    side = rng.choice((-1.0, 1.0))
    for shift in rng.uniform(13, 27, 2):
        for turn in (1.0, -1.0):
            x = stand[0] + side * shift
            y = float(np.interp(x, xs, ys)) + turn * 3.5
            canvas.fill(
                ellipse(canvas.points, (x + 2 * turn, y), (4.8, 2.3), side * turn * -0.8), (74, 140, 76), 0.95
            )
        side = -side
    widths = (5.2, 4.6, 4.2, 3.6) if rng.random() < 0.5 else (3.6, 4.2, 4.6, 5.2)
    canvas.fill(stroke(canvas.points, path, widths), bark)
    canvas.fill(stroke(canvas.points, path - (0, 0.9), 1.2), bark + 32, 0.8)


def _leaf(canvas: Canvas, stand: Array, rng: np.random.Generator) -> None:
    _backdrop(canvas, _WOODS, rng)
    _glow(canvas, rng)
    slope, side = rng.uniform(-0.12, 0.12), rng.choice((-1.0, 1.0))
    middle = np.add(stand, (side * rng.uniform(-3, 3), 3.2))
    along = rotate(np.array([side, 0.0]), slope)
    xs = np.array([-31.0, -18.0, 0.0, 18.0, 31.0])
    path = middle + xs[:, None] * along + np.array([0, 0.8])[None] * (xs[:, None] / 20) ** 2
    blade = stroke(canvas.points, path, (1.0, 10.0, 13.0, 9.0, 0.5))
    color = np.array(((70, 152, 84), (104, 170, 70), (52, 136, 110))[rng.integers(3)], float)
    canvas.fill(blade - 0.6, color * 0.5, 0.4, soft=2.0)
    shade = np.clip(6.0 - 3.0 * (canvas.points[..., 1] - middle[1]), -20, 20)[..., None]
    canvas.fill(blade, color + shade)
    canvas.fill(stroke(canvas.points, path, (3.0, 1.6, 1.4, 1.2, 0.6)), color + 52, 0.9)


def _rock(canvas: Canvas, stand: Array, rng: np.random.Generator) -> None:
    _backdrop(canvas, _AIR, rng)
    color = np.array(((142, 142, 150), (156, 146, 134), (118, 124, 136))[rng.integers(3)], float)
    x = stand[0] + rng.uniform(-4, 4)
    for shift, drop, width in (
        (rng.choice((-1, 1)) * rng.uniform(17, 24), 3.0, 13),
        (0.0, -0.8, rng.uniform(19, 24)),
    ):
        top = stand[1] + drop
        height = max(13.0, 0.8 * (IMAGE_SIZE + 6.0 - top))  # down to the edge of the picture
        stone = ellipse(canvas.points, (x + shift, top + height), (width, height), rng.uniform(-0.05, 0.05))
        light = np.clip(20.0 - 4.0 * (canvas.points[..., 1] - top), -30, 20)[..., None]
        canvas.fill(stone - 0.5, color * 0.5, 0.4, soft=2.0)
        canvas.fill(stone, color + light)


_PLACES = {"branch": _branch, "leaf": _leaf, "sand": _sand, "grass": _grass, "rock": _rock, "sky": _sky}
