"""The store of samples: written once, atomically, checksummed; safe for several processes on one filesystem.

Layout below `<results>/runs`:

    samples/<config hash>/config.json                      the generation config whose hash names the folder
    samples/<config hash>/<case>_s<seed>_<problem hash>/   one sample: record.json, image.png or sample.npy,
                                                           latents.safetensors
    metrics/<metric hash>/<batch hash>.json                values of one metric on one batch of samples
    metrics/<features hash>/<batch hash>.safetensors       features of one batch of samples, or of a reference set
    locks/<config hash>/<batch>.lock                       held by the process that works on a batch
    quarantine/                                            what failed its checksum

A sample is a folder that is written elsewhere, synced and renamed into place, so it is there whole or not at all.
Locks are the operating system's: they end with their process, however it ends.
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save, save_file

from guidebench.errors import StoreError
from guidebench.problems import Problem
from guidebench.runner.identity import digest

FloatArray = NDArray[np.float64]
_CASE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")


@dataclass
class Record:
    """What is known of a stored sample.

    Args:
        problem: the problem's record.
        status: "ok" or "failed".
        failure: why it failed (step and tensor), or "".
        nfe_fwd: network rows evaluated forwards, for this sample.
        nfe_bwd: network rows differentiated backwards, for this sample.
        seconds: wall time of the batch divided by its size.
        peak_memory_mb: peak of the device (CUDA) or of the process (CPU) while the batch ran.
        history: curves by name.
        environment: versions and device that made it.
        files: sha256 of each file of the sample.
    """

    problem: dict[str, Any]
    status: str
    failure: str
    nfe_fwd: int
    nfe_bwd: int
    seconds: float
    peak_memory_mb: float
    history: dict[str, list[float]]
    environment: dict[str, str]
    files: dict[str, str] = field(default_factory=dict)

    @property
    def sample_file(self) -> str:
        """Name of the file that holds the sample."""
        return "sample.npy" if "sample.npy" in self.files else "image.png"


class Store:
    """Samples and metric values below `root`.

    Args:
        root: `<results>/runs`; made on first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    # -- samples ---------------------------------------------------------------------------------------------------

    def sample_dir(self, config_hash: str, problem: Problem) -> Path:
        """Where the sample of a problem lies. Prompts never become file names.

        Raises:
            StoreError: the case id is not a plain lower-case name.
        """
        if not _CASE_ID.fullmatch(problem.case_id):
            raise StoreError(
                f"case id {problem.case_id!r}: allowed are lower-case letters, digits, '.', '_' and '-'"
            )
        identity = digest(problem.record())[:8]
        return self.root / "samples" / config_hash / f"{problem.case_id}_s{problem.seed}_{identity}"

    def read(self, config_hash: str, problem: Problem) -> Record | None:
        """The sample's record, or None where there is none or it fails its checksum. Changes nothing."""
        folder = self.sample_dir(config_hash, problem)
        try:
            sealed = json.loads((folder / "record.json").read_bytes())
            record = Record(**sealed["record"])
            if sealed["sha256"] != _sha256(_canonical(sealed["record"])):
                return None
            for name, checksum in record.files.items():
                if _sha256((folder / name).read_bytes()) != checksum:
                    return None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        return record

    def set_damaged_aside(self, config_hash: str, problem: Problem) -> None:
        """Move what lies in a sample's place but is not a whole sample to quarantine. Call while holding its batch."""
        folder = self.sample_dir(config_hash, problem)
        if folder.exists() and self.read(config_hash, problem) is None:
            target = self.root / "quarantine" / f"{config_hash}_{folder.name}_{uuid.uuid4().hex[:8]}"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(folder, target)

    def write(
        self,
        config_hash: str,
        config: dict[str, Any],
        problem: Problem,
        record: Record,
        sample: np.ndarray | None,
        latents: np.ndarray | None = None,
    ) -> None:
        """Store one sample; a sample that another process stored meanwhile stays as it is.

        Args:
            config_hash: names the generation config.
            config: the generation config.
            problem: the problem.
            record: its record; `files` is filled in here.
            sample: an image, (H, W, 3) uint8; any other array as it is; None for a failed sample.
            latents: model-space sample, or None.
        """
        folder = self.sample_dir(config_hash, problem)
        draft = folder.parent / f".draft-{uuid.uuid4().hex}"
        draft.mkdir(parents=True)
        try:
            if sample is not None:
                _save(sample, draft)
            if latents is not None:
                save_file({"latents": np.ascontiguousarray(latents)}, draft / "latents.safetensors")
            record.files = {p.name: _sha256(p.read_bytes()) for p in sorted(draft.iterdir())}
            content = dataclasses.asdict(record)
            sealed = {"record": content, "sha256": _sha256(_canonical(content))}
            (draft / "record.json").write_text(json.dumps(sealed, indent=1, sort_keys=True) + "\n")
            for path in draft.iterdir():
                _sync(path)
            if not (folder.parent / "config.json").exists():
                write_atomically(
                    folder.parent / "config.json", json.dumps(config, indent=1, sort_keys=True) + "\n"
                )
            os.rename(draft, folder)
            _sync(folder.parent)
        except OSError:
            if not (folder / "record.json").exists():
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    # -- metrics ---------------------------------------------------------------------------------------------------

    def read_metric(self, metric_hash: str, batch_hash: str) -> list[float] | None:
        """Values of a metric on a batch of samples, or None where they are missing or damaged."""
        path = self.root / "metrics" / metric_hash / f"{batch_hash}.json"
        try:
            sealed = json.loads(path.read_bytes())
            if sealed["sha256"] == _sha256(_canonical(sealed["values"])):
                return sealed["values"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return None

    def write_metric(self, metric_hash: str, batch_hash: str, values: list[float]) -> None:
        """Store values of a metric, in the batch's order."""
        sealed = {"values": values, "sha256": _sha256(_canonical(values))}
        write_atomically(
            self.root / "metrics" / metric_hash / f"{batch_hash}.json", json.dumps(sealed) + "\n"
        )

    def read_features(self, features_hash: str, batch_hash: str) -> FloatArray | None:
        """Features of a batch, (b, d), or None where they are missing or damaged."""
        path = self.root / "metrics" / features_hash / f"{batch_hash}.safetensors"
        try:
            with safe_open(path, framework="numpy") as file:
                features, checksum = file.get_tensor("features"), file.metadata()["sha256"]
        except (OSError, SafetensorError, KeyError, TypeError):
            return None
        return features.astype(np.float64) if _sha256(features.tobytes()) == checksum else None

    def write_features(self, features_hash: str, batch_hash: str, features: np.ndarray) -> None:
        """Store features (b, d), float32, in the batch's order."""
        content = np.ascontiguousarray(features, np.float32)
        sealed = save({"features": content}, {"sha256": _sha256(content.tobytes())})
        write_atomically(self.root / "metrics" / features_hash / f"{batch_hash}.safetensors", sealed)

    # -- sharing the work ------------------------------------------------------------------------------------------

    @contextmanager
    def claim(self, config_hash: str, batch: str, wait: bool) -> Iterator[bool]:
        """Hold a batch while working on it.

        Args:
            config_hash: names the generation config.
            batch: names the batch within it.
            wait: block until whoever holds it lets go or dies; otherwise give up at once.

        Yields:
            Whether the batch is ours.
        """
        path = self.root / "locks" / config_hash / f"{batch}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=-1 if wait else 0, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        except (OSError, NotImplementedError) as error:
            raise StoreError(
                f"{path}: this filesystem has no file locks ({error}); set paths.results to one that has"
            ) from error
        try:
            yield True
        finally:
            lock.release()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    draft.write_bytes(content.encode() if isinstance(content, str) else content)
    _sync(draft)
    os.replace(draft, path)


def _save(sample: np.ndarray, folder: Path) -> None:
    if sample.dtype == np.uint8:
        Image.fromarray(sample).save(folder / "image.png")
    else:
        np.save(folder / "sample.npy", sample, allow_pickle=False)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
