"""Where weight files are found, and whether they are whole: a damaged file is refused in words."""

import functools
import hashlib
from importlib import resources
from pathlib import Path

from guidebench.errors import WeightsError


def weights_folder() -> Path:
    """The folder of the weights that ship with the package."""
    return Path(str(resources.files("guidebench"))) / "weights"


def resolve(path: str) -> Path:
    """Finds a weight file or directory and checks every safetensors file in it.

    Args:
        path: absolute, or relative to the package's weights folder (`embedded/clip_guide`).

    Returns:
        The absolute path of an existing file or directory.

    Raises:
        WeightsError: nothing is there, or a safetensors file is truncated or not a safetensors file.
    """
    found = Path(path).expanduser()
    if not found.is_absolute():
        found = weights_folder() / found
    if not found.exists():
        raise WeightsError(
            f"No weights at {found} (from the setting '{path}'). Give an absolute path, or a path below "
            f"{weights_folder()}; the embedded weights are made by scripts/train_embedded.py."
        )
    for file in sorted(found.rglob("*.safetensors")) if found.is_dir() else [found]:
        if file.suffix == ".safetensors":
            _check_whole(file)
    return found


def digest(path: Path) -> str:
    """SHA-256 over the names and contents of a file or of all files of a directory, `sha256:<hex>`."""
    files = tuple(sorted(p for p in path.rglob("*") if p.is_file())) if path.is_dir() else (path,)
    return _digest(path, files, tuple(_state(file) for file in files))


@functools.lru_cache(maxsize=16)
def _digest(path: Path, files: tuple[Path, ...], states: tuple[tuple[int, int, int], ...]) -> str:
    """The digest of files in these states; read once per process and state."""
    total = hashlib.sha256()
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else ""
        with file.open("rb") as stream:
            total.update(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _state(file: Path) -> tuple[int, int, int]:
    """What changes when a file's bytes do: its size and times, the last of which cannot be set back."""
    found = file.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _check_whole(file: Path) -> None:
    """Reads the header, which states the size of the data, without reading the data."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{file} ({file.stat().st_size} bytes) is truncated or is not a safetensors file: {error}. "
            "Copy or fetch it again (a file of some hundred bytes is a Git LFS pointer: run `git lfs pull`)."
        ) from error
