"""Image files of a user: found, looked at before anything runs, and read as squares of 8-bit sRGB levels."""

import functools
import hashlib
import logging
import stat
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from guidebench.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")

_REVISION = 1
"""Raise when `read_square` gives other pixels for the same file."""

_SHOWN = 5
_JPEG_TAIL = 4096
_log = logging.getLogger(__name__)
_told: set[tuple[str, tuple[str, ...]]] = set()


def image_files(root: Path, pattern: str) -> list[Path]:
    """Files below a folder that are called images, in alphabetical order; hidden ones (`._IMG.jpg`) are no images."""
    return sorted(
        path for path in root.glob(pattern) if path.suffix.lower() in SUFFIXES and path.name[0] != "."
    )


def usable(root: Path, files: Sequence[Path], n: int | None) -> list[Path]:
    """n of the files that can be read, spread evenly over all, in their order; null takes every one.

    A file that cannot be read is left out, and the next one takes its place; which ones is logged as a warning, as is
    how many pictures have an alpha channel and are shown on white.

    Args:
        root: the folder, for messages.
        files: the candidates.
        n: how many.

    Raises:
        DataError: fewer than n can be read, or none.
    """
    wanted = len(files) if n is None else n
    order = dict.fromkeys(files[i * len(files) // wanted] for i in range(wanted)) if files else {}
    faults: dict[str, str] = {}
    kept: list[Path] = []
    for file in (*order, *(file for file in files if file not in order)):
        if len(kept) == wanted:
            break
        wrong = _fault(file, *_state(file))
        if wrong is None:
            kept.append(file)
        else:
            faults[file.relative_to(root).as_posix()] = wrong
    if faults:
        shown = "; ".join(f"{name} {wrong}" for name, wrong in list(faults.items())[:_SHOWN])
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        _tell(root, f"{len(faults)} of {len(files)} files are left out: {shown}{more}.", tuple(faults))
    if len(kept) < (n or 1):
        raise DataError(
            f"{root} holds {len(kept)} images that can be read, and {n or 1} are needed"
            + (f"; left out: {shown}{more}." if faults else f" ({', '.join(SUFFIXES)}).")
        )
    clear = [file.relative_to(root).as_posix() for file in kept if _has_alpha(file, *_state(file))]
    if clear:
        _tell(
            root,
            f"{len(clear)} of {len(kept)} pictures have an alpha channel (such as {clear[0]}) and are shown on "
            "white.",
            tuple(clear),
        )
    return sorted(kept)


def content_digest(file: Path) -> str:
    """12 hexadecimal digits that change with the file's bytes, read once per process and state of the file."""
    return _digest(file, *_state(file))


def read_square(file: Path, side: int) -> NDArray[np.uint8]:
    """The central square of an image file, upright, on white, resized (bicubic, antialiased): (side, side, 3).

    16-bit grey levels are rounded to 8 bits; the orientation that a camera noted is applied.

    Raises:
        DataError: it cannot be read as an image.
    """
    try:
        with Image.open(file) as image:
            square = ImageOps.fit(_levels(image), (side, side), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be read as an image: {error}; remove it or mend it.") from error
    return np.asarray(square)


def _levels(image: Image.Image) -> Image.Image:
    """Upright, in mode RGB."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits per pixel, which `convert` would clip at 255
        levels = np.asarray(image).astype(np.float64) * (255 / 65535)
        return Image.fromarray(np.clip(np.rint(levels), 0, 255).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    above = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")


def _tell(root: Path, message: str, names: tuple[str, ...]) -> None:
    """Once per process."""
    if (str(root), names) not in _told:
        _told.add((str(root), names))
        _log.warning("%s: %s", root, message)


def _state(file: Path) -> tuple[int, int, int, int]:
    """Kind, size and times of a file: what changes when its bytes do (the last cannot be set back)."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0, 0, 0
    return found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@functools.lru_cache(maxsize=65536)
def _digest(file: Path, *state: int) -> str:
    with file.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashlib.sha256(f"{_REVISION} {content}".encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=65536)
def _fault(file: Path, mode: int, size: int, *times: int) -> str | None:
    """What is wrong with a file, in words; None where it looks whole. Decodes no pixels of a file that ends well."""
    if not stat.S_ISREG(mode):
        return "is no regular file"
    try:
        with warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning):
            image = Image.open(file)
        with image:
            kind = image.format
            image.verify()
        if kind == "PNG" or (kind == "JPEG" and _ends(file, size)):
            return None
        with Image.open(file) as image:
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return f"has more than the {(Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels that are read; make it smaller"
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's, and zlib's in its words
        return f"cannot be read as an image ({str(error).splitlines()[0]})"
    return None


def _ends(file: Path, size: int) -> bool:
    """Whether a JPEG file has its end-of-image mark where it belongs."""
    with file.open("rb") as stream:
        stream.seek(max(0, size - _JPEG_TAIL))
        return b"\xff\xd9" in stream.read()


@functools.lru_cache(maxsize=65536)
def _has_alpha(file: Path, *state: int) -> bool:
    with Image.open(file) as image:
        return bool(image.has_transparency_data)
