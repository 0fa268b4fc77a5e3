"""Users' own image files: what is read out of them, and what is told about those that cannot be read."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from guidebench.data import image_files
from guidebench.data.image_files import read_square
from guidebench.data.pictures import ImageFolder
from guidebench.errors import DataError


@pytest.fixture(autouse=True)
def nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_told", set())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cats").mkdir()
    for i in range(4):
        Image.new("RGB", (8, 8), (10 * i, 0, 0)).save(tmp_path / "cats" / f"{i}.png")
    return tmp_path


def names(folder: Path, n: int | None = None) -> list[str]:
    return [p.name.split()[0] for p in ImageFolder(str(folder), 8, n=n).pictures()]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG file by its specification."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def test_sixteen_bits_of_grey_are_scaled_to_eight(tmp_path: Path) -> None:
    levels = np.array([[0, 257 * 100], [257 * 100 + 128, 65535]], ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    (tmp_path / "grey.png").write_bytes(png(2, 2, 16, 0, rows))
    read = read_square(tmp_path / "grey.png", 2)
    assert (read == np.array([[0, 100], [100, 255]])[..., None]).all()


def test_a_picture_is_turned_as_the_camera_noted(tmp_path: Path) -> None:
    upright = np.zeros((8, 8, 3), np.uint8)
    upright[:4] = 255  # bright above
    for tag, turned in {3: upright[::-1, ::-1], 6: np.rot90(upright), 8: np.rot90(upright, -1)}.items():
        image = Image.fromarray(np.ascontiguousarray(turned))
        exif = image.getexif()
        exif[0x0112] = tag
        image.save(tmp_path / "turned.png", exif=exif)
        assert (read_square(tmp_path / "turned.png", 8) == upright).all(), tag


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_alpha_hides_is_white_and_told(
    folder: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    levels = np.zeros((8, 8, 4), np.uint8)
    levels[..., 0], levels[:4, :, 3] = 200, 255  # the lower half is hidden, with the same colour
    image = Image.fromarray(levels)
    if mode == "P":
        image = Image.fromarray((levels[..., 3] // 255).astype(np.uint8), "P")
        image.putpalette([200, 0, 0, 200, 0, 0])
        image.save(folder / "cats" / "1.png", transparency=0)
    else:
        image.convert(mode).save(folder / "cats" / "1.png")
    read = ImageFolder(str(folder), 8).pictures()[1].load()
    assert (read[4:] == 255).all() and (read[:4] != 255).any(axis=-1).all()
    (message,) = caplog.messages
    assert "1 of 4 pictures" in message and "cats/1.png" in message and "white" in message


def test_half_transparency_is_mixed_with_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (100, 0, 50, 51)).save(tmp_path / "glass.png")  # 20 %
    np.testing.assert_allclose(read_square(tmp_path / "glass.png", 4)[0, 0], [224, 204, 214], atol=1)


def test_hidden_files_are_no_pictures(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "cats" / "._0.png").write_bytes(b"a Mac's notes")
    (folder / ".thumbnails").mkdir()
    Image.new("RGB", (8, 8)).save(folder / ".thumbnails" / "0.png")
    assert names(folder) == [f"cats/{i}.png" for i in range(4)] and not caplog.messages
    assert {p.name for p in ImageFolder(str(folder), 8).labelled()} == {"cats"}


def _jpeg(side: int = 64) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


WHOLE_PNG = png(64, 64, 8, 2, b"".join(b"\0" + bytes(range(192)) for _ in range(64)))
BAD = {
    "text.png": (b"not an image", "cannot be read as an image"),
    "empty.jpg": (b"", "cannot be read as an image"),
    "cut.jpg": (_jpeg()[: len(_jpeg()) // 2], "cannot be read as an image"),
    "cut.png": (WHOLE_PNG[:-20], "cannot be read as an image"),
    "bomb.png": (png(20_000, 10_000, 8, 0, b"\0" * 100), "megapixels"),
    "vast.png": (png(60_000, 50_000, 1, 0, b""), "megapixels"),
}


def test_the_whole_files_are_whole(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "cats" / "4.png").write_bytes(WHOLE_PNG)
    (folder / "cats" / "5.jpg").write_bytes(_jpeg())
    assert names(folder) == [*(f"cats/{i}.png" for i in range(5)), "cats/5.jpg"] and not caplog.messages


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_and_left_out(folder: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    content, words = BAD[name]
    (folder / "cats" / name).write_bytes(content)
    for _ in range(2):
        assert names(folder) == [f"cats/{i}.png" for i in range(4)]
    (message,) = caplog.messages  # once
    assert "1 of 5 files are left out" in message and f"cats/{name}" in message and words in message
    with pytest.raises(DataError, match=r"holds 4 images that can be read, and 5 are needed; left out"):
        names(folder, n=5)


def test_a_pipe_and_a_folder_do_not_hang(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.mkfifo(folder / "cats" / "pipe.png")
    (folder / "cats" / "folder.png").mkdir()
    (folder / "cats" / "link.png").symlink_to(folder / "nowhere.png")
    assert names(folder) == [f"cats/{i}.png" for i in range(4)]
    assert "3 of 7 files" in caplog.text and "cats/pipe.png is no regular file" in caplog.text


def test_the_next_file_takes_a_bad_ones_place(folder: Path) -> None:
    assert names(folder, n=2) == ["cats/0.png", "cats/2.png"]
    (folder / "cats" / "2.png").write_bytes(b"broken")
    assert names(folder, n=2) == ["cats/0.png", "cats/1.png"]


def test_a_file_that_breaks_later_says_so(folder: Path) -> None:
    picture = ImageFolder(str(folder), 8).pictures()[0]
    (folder / "cats" / "0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"0\.png cannot be read as an image"):
        picture.load()
