from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guidebench.errors import ConfigError
from guidebench.motion.animation import draw_motions, save_animation


def straight(frames: int = 9, end: float = 4.0) -> np.ndarray:
    """Along z."""
    motion = np.zeros((1, frames, 3))
    motion[0, :, 2] = np.linspace(0, end, frames)
    return motion


def pixels(picture: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """(row, column) of the pixels near a colour."""
    return np.argwhere(np.abs(np.asarray(picture).astype(int) - colour).max(-1) < 8)


def test_the_dot_moves_up_along_z_and_leaves_a_trail() -> None:
    pictures = draw_motions(straight(), [(2.0, 4.0)], every=2)
    assert len(pictures) == 5 and {p.size for p in pictures} == {(360, 360)}
    places = [pixels(picture, (0x1F, 0x6F, 0x8B)) for picture in pictures]
    tops = [found[:, 0].min() for found in places]
    assert tops == sorted(tops, reverse=True) and tops[0] - tops[-1] > 250
    assert [len(found) for found in places] == sorted(len(found) for found in places)


def test_the_obstacle_has_its_radius() -> None:
    (first, *_) = draw_motions(straight(), [(0.0, 4.0)], obstacle=(1.5, 2.0), radius=1.0)
    found = pixels(first, (0xF2, 0xB8, 0xB0))
    metre = 360 / 2 / (4.0 * 0.55)
    assert found[:, 0].mean() == pytest.approx(180, abs=3)
    assert np.ptp(found[:, 0]) == pytest.approx(2 * metre, abs=4)
    assert found[:, 1].mean() == pytest.approx(180 + 0.25 * metre, abs=2)  # 0.25 m right of the middle


@pytest.mark.parametrize("name", ["walk.gif", "walk.webp"])
def test_the_file_is_animated(tmp_path: Path, name: str) -> None:
    pictures = draw_motions(np.concatenate([straight(), straight(end=2.0)]), [(0.0, 4.0)], every=2)
    save_animation(pictures, tmp_path / "new" / name)
    with Image.open(tmp_path / "new" / name) as read:
        assert read.n_frames == 5 and read.size == (360, 360)


@pytest.mark.parametrize("motions", [np.zeros((3, 4)), np.zeros((1, 4, 2)), np.full((1, 4, 3), np.nan)])
def test_what_is_no_motion_is_refused(motions: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="motions must be finite"):
        draw_motions(motions, [(0.0, 1.0)])
