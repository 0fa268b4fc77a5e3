"""Motions as moving maps of the floor: where people walk, where they should, what is in the way."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from guidebench.errors import ConfigError

_PAPER, _GRID, _PATH, _OBSTACLE = "#ffffff", "#e6e6e6", "#9a9a9a", "#f2b8b0"
_COLOURS = ("#1f6f8b", "#c46a00", "#4d7c2a", "#8a4fb0", "#b0304f", "#0a8f7f")
_SCALE = 2  # drawn larger and shrunk: smooth lines


def draw_motions(
    motions: NDArray[np.floating],
    path: Sequence[tuple[float, float]],
    obstacle: tuple[float, float] | None = None,
    radius: float = 1.0,
    size: int = 360,
    every: int = 3,
) -> list[Image.Image]:
    """Maps of the floor, one for every `every`-th frame and the last: z upwards and x to the right, as seen from below.

    Each motion's trail grows behind a dot; the wanted path is grey with a ring at its end.

    Args:
        motions: (n, frames, 3 joints), the root first, metres.
        path: way points (x, z) from the origin, metres.
        obstacle: (x, z) of its middle.
        radius: of the obstacle, metres.
        size: side of the pictures, pixels.
        every: frames per picture.

    Returns:
        RGB pictures, size x size.

    Raises:
        ConfigError: the motions are not of that shape, or not finite.
    """
    if motions.ndim != 3 or motions.shape[2] < 3 or not motions.size or not np.isfinite(motions).all():
        raise ConfigError(f"motions must be finite, (n, frames, 3 joints); got the shape {motions.shape}")
    trails = motions[..., [0, 2]]
    wanted = np.array([(0.0, 0.0), *path])
    place = _Map(trails, wanted, obstacle, radius, size * _SCALE)
    background = _background(place, wanted, obstacle, radius)
    last = trails.shape[1] - 1
    pictures = []
    for frame in [*range(0, last, every), last]:
        picture = background.copy()
        draw = ImageDraw.Draw(picture)
        for i, trail in enumerate(trails):
            colour = _COLOURS[i % len(_COLOURS)]
            points = [place.pixel(point) for point in trail[: frame + 1]]
            if frame:
                draw.line(points, fill=colour, width=2 * _SCALE, joint="curve")
            draw.circle(points[-1], 4 * _SCALE, fill=colour)
        pictures.append(picture.resize((size, size), Image.Resampling.LANCZOS))
    return pictures


def save_animation(pictures: Sequence[Image.Image], file: Path, pictures_per_second: float = 7.0) -> None:
    """Write a GIF (or WebP or PNG, by the file's ending) that repeats, and rests at its end for a second."""
    duration = [round(1000 / pictures_per_second)] * (len(pictures) - 1) + [1000]
    file.parent.mkdir(parents=True, exist_ok=True)
    first, *others = pictures
    first.save(file, save_all=True, append_images=others, duration=duration, loop=0)


class _Map:
    """Metres to pixels: one scale for both axes, everything in sight."""

    def __init__(
        self,
        trails: NDArray[np.floating],
        wanted: NDArray[np.floating],
        obstacle: tuple[float, float] | None,
        radius: float,
        side: int,
    ) -> None:
        seen = [trails.reshape(-1, 2), wanted]
        if obstacle is not None:
            seen.append(np.array(obstacle) + radius * np.array([(-1.0, -1.0), (1.0, 1.0)]))
        points = np.concatenate(seen)
        low, high = points.min(0), points.max(0)
        self.middle = (low + high) / 2
        self.reach = float(max((high - low).max(), 1.0)) * 0.55  # half the side, with a margin
        self.side = side

    def pixel(self, point: NDArray[np.floating]) -> tuple[float, float]:
        """(x, z) in metres to a pixel's (column, row)."""
        across, up = (point - self.middle) / self.reach
        return self.side / 2 * (1 + float(across)), self.side / 2 * (1 - float(up))

    def length(self, metres: float) -> float:
        """Metres to pixels."""
        return metres / self.reach * self.side / 2


def _background(
    place: _Map, wanted: NDArray[np.floating], obstacle: tuple[float, float] | None, radius: float
) -> Image.Image:
    """A grid of metres, the obstacle and the wanted path."""
    picture = Image.new("RGB", (place.side, place.side), _PAPER)
    draw = ImageDraw.Draw(picture)
    for axis in (0, 1):
        first, last = (place.middle[axis] + sign * place.reach for sign in (-1, 1))
        for metre in range(int(np.ceil(first)), int(np.floor(last)) + 1):
            at = place.pixel(np.array([metre, metre], dtype=float))[axis]
            ends = [(at, 0), (at, place.side)] if axis == 0 else [(0, at), (place.side, at)]
            draw.line(ends, fill=_GRID, width=_SCALE)
    if obstacle is not None:
        draw.circle(place.pixel(np.array(obstacle)), place.length(radius), fill=_OBSTACLE)
    draw.line([place.pixel(point) for point in wanted], fill=_PATH, width=_SCALE)
    draw.circle(place.pixel(wanted[-1]), 7 * _SCALE, outline=_PATH, width=2 * _SCALE)
    return picture
