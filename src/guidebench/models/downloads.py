"""Files of weights that are fetched by https: one place per address, and the bytes that were meant or none."""

import functools
import hashlib
from pathlib import Path

import torch

from guidebench.errors import WeightsError

_SHORTEST = 8


def cached_file(address: str) -> Path:
    """Where the file of an address lies in torch's hub folder, there or not; no two addresses share a place."""
    path = Path(address.partition("?")[0])
    name = f"{path.stem}-{hashlib.sha256(address.encode()).hexdigest()[:12]}{path.suffix}"
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def fetched(address: str, sha256: str | None) -> Path:
    """The file of an address, downloaded on first use and verified on every one.

    Args:
        address: https.
        sha256: of the file, in hexadecimal, or how it begins (at least 8 digits); None records it beside the file at
            the first use, and holds it against that from then on.

    Raises:
        WeightsError: it cannot be downloaded, or is not the file that was meant.
    """
    path = cached_file(address)
    prefix = None if sha256 is None else _checked(sha256, address)
    if not path.is_file():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, str(path), prefix)
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"{address} could not be downloaded to {path}: {error}. Put the file there by hand, or set "
                "random_weights=true to run the architecture without weights."
            ) from error
    verify(path, _expected(path, prefix), address)
    return path


def fingerprint(address: str, sha256: str | None) -> str:
    """Identifies the bytes at an address and downloads nothing: `sha256:<digits>`, or the address.

    Without a configured checksum the address stands for what was first fetched from it: that is recorded, and anything
    else is refused whenever the file is used.

    Raises:
        WeightsError: the file is there and is not the one that was meant.
    """
    if cached_file(address).is_file():
        fetched(address, sha256)
    return f"sha256:{_checked(sha256, address)}" if sha256 is not None else address


def verify(path: Path, sha256: str, source: str) -> None:
    """See that a file has its checksum.

    Args:
        path: the file.
        sha256: in hexadecimal, or how it begins.
        source: where it comes from, for the message.

    Raises:
        WeightsError: it has another, or the checksum is no checksum.
    """
    found = file_sha256(path)
    if not found.startswith(_checked(sha256, source)):
        raise WeightsError(
            f"{path} (from {source}) has the SHA-256 {found}, and {sha256} is expected: it is damaged or another file; "
            "delete it, and it is fetched again."
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal, read once per process and state of the file."""
    found = path.stat()
    return _sha256(path, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, *state: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _expected(path: Path, sha256: str | None) -> str:
    """The configured checksum, or the one that was recorded when the file was first used."""
    if sha256 is not None:
        return sha256
    record = path.with_name(f"{path.name}.sha256")
    try:
        if not record.is_file():
            record.write_text(f"{file_sha256(path)}\n", encoding="ascii")
        return record.read_text(encoding="ascii").strip()
    except OSError as error:
        raise WeightsError(
            f"{record} cannot be written or read: {error}; make its folder writable."
        ) from error


def _checked(sha256: str, source: str) -> str:
    digits = sha256.lower()
    if not _SHORTEST <= len(digits) <= 64 or set(digits) - set("0123456789abcdef"):
        raise WeightsError(
            f"{source}: sha256={sha256!r} is no checksum; give {_SHORTEST} to 64 hexadecimal digits, or null."
        )
    return digits
