"""Files that are there whole or not at all, and that tell whether they are still what was written."""

import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any

from guidebench.errors import StoreError

FORMAT = 2
"""Number of the format of sealed files; another is refused in words."""


class DamageError(Exception):
    """What is wrong with a file of the store."""


def sealed(content: dict[str, Any]) -> str:
    """JSON of a content with the format's number and a checksum."""
    whole = {"format": FORMAT, "content": content, "sha256": sha256(canonical(content))}
    return json.dumps(whole, indent=1, sort_keys=True) + "\n"


def unsealed(path: Path) -> dict[str, Any]:
    """What `sealed` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        DamageError: it is not what was written.
        StoreError: it is in another format.
    """
    try:
        whole = json.loads(path.read_bytes())
        content, checksum, written = whole["content"], whole["sha256"], whole["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamageError(f"{path.name} is no sealed record") from error
    if written != FORMAT:
        raise StoreError(
            f"{path}: written in format {written!r}, and this version reads {FORMAT}; set paths.results to another "
            "folder, or use the version that wrote it"
        )
    if not isinstance(content, dict) or checksum != sha256(canonical(content)):
        raise DamageError(f"{path.name} fails its checksum")
    return content


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    sync(draft)
    os.replace(draft, path)


def sync(path: Path) -> None:
    """Have the disk hold a file's or folder's contents before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def canonical(content: Any) -> bytes:
    """The one JSON of a content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def sha256(content: bytes) -> str:
    """Checksum of a content, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
