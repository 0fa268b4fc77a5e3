"""The store of samples: written once, atomically, checksummed; safe for several processes on one filesystem.

Layout below `<results>/runs`:

    samples/<config hash>/config.json                      the generation config whose hash names the folder
    samples/<config hash>/<case>_s<seed>_<problem hash>/   one sample: record.json, and a file for each of its parts,
                                                           such as sample.png and latents.safetensors
    metrics/<metric hash>/<batch hash>.json                values of one metric on one batch of samples
    metrics/<features hash>/<batch hash>.safetensors       features of one batch of samples, or of a reference set
    artefacts/<recipe hash>/                               what was learned (`runner.artefacts`)
    drafts/<config hash>/<batch>/                          what unfinished loops hold (`runner.drafts`)
    locks/<config hash>/<batch>.lock                       held by the process that works on a batch
    quarantine/                                            what failed its checksum

A sample is a folder that is written elsewhere, synced and renamed into place, so it is there whole or not at all.
Locks are the operating system's: they end with their process, however it ends.
"""

import dataclasses
import functools
import json
import logging
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from guidebench.errors import StoreError
from guidebench.problems import Problem
from guidebench.runner.identity import digest
from guidebench.runner.sealing import DamageError, canonical, sealed, sha256, sync, unsealed, write_atomically
from guidebench.samples import KINDS, Part, SampleKind

FloatArray = NDArray[np.float64]
_log = logging.getLogger(__name__)
_CASE_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")


@dataclass
class Record:
    """What is known of a stored sample.

    Args:
        problem: the problem's record.
        config_hash: of the generation config.
        status: "ok" or "failed".
        failure: why it failed (step and tensor), or "".
        nfe_fwd: network rows that the algorithm evaluates forwards, for this sample.
        nfe_bwd: network rows that it differentiates backwards.
        seconds: wall time of the batch divided by its size.
        peak_memory_mb: peak of the device (CUDA) or of the process (CPU) while the batch ran.
        history: curves by name.
        environment: versions and device that made it.
        spent_fwd: network rows that really ran forwards: fewer where memory allowed to keep what else is computed twice.
        spent_bwd: network rows that really ran backwards.
        artefacts: sha256 of each artefact's weights that it was made with, by the artefact's name.
        parts: the kind of each part by name.
        files: sha256 of each file of the sample.
    """

    problem: dict[str, Any]
    config_hash: str
    status: str
    failure: str
    nfe_fwd: int
    nfe_bwd: int
    seconds: float
    peak_memory_mb: float
    history: dict[str, list[float]]
    environment: dict[str, str]
    spent_fwd: int = 0
    spent_bwd: int = 0
    artefacts: dict[str, str] = field(default_factory=dict)
    parts: dict[str, SampleKind] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def file(self, part: str) -> str:
        """Name of the file that holds a part."""
        return part + KINDS[self.parts[part]].suffix


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
        """The sample's record, or None where there is none or it is damaged, which is told once. Changes nothing.

        Raises:
            StoreError: another version wrote it in another format, or it may not be read.
        """
        folder = self.sample_dir(config_hash, problem)
        if not os.path.lexists(folder):
            return None
        try:
            record = Record(**unsealed(folder / "record.json"))
            if (record.config_hash, record.problem) != (config_hash, _plain(problem.record())):
                raise DamageError("it belongs to another problem or configuration")
            for name, checksum in record.files.items():
                if sha256((folder / name).read_bytes()) != checksum:
                    raise DamageError(f"{name} fails its checksum")
        except PermissionError as error:
            raise StoreError(
                f"{error.filename}: may not be read; ask its owner, or set paths.results"
            ) from error
        except (DamageError, OSError, TypeError, KeyError) as error:
            _tell_once(f"{folder}: the sample is damaged ({error}) and will be made again")
            return None
        return record

    def set_damaged_aside(self, config_hash: str, problem: Problem) -> None:
        """Move what lies in a sample's place but is not a whole sample to quarantine. Call while holding its batch."""
        folder = self.sample_dir(config_hash, problem)
        if folder.exists() and self.read(config_hash, problem) is None:
            target = self.root / "quarantine" / f"{config_hash}_{folder.name}_{uuid.uuid4().hex[:8]}"
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.rename(folder, target)
            except OSError as error:
                raise StoreError(
                    f"{folder}: damaged, and cannot be moved to {target.parent} ({error})"
                ) from error

    def write(
        self,
        config_hash: str,
        config: dict[str, Any],
        problem: Problem,
        record: Record,
        parts: Mapping[str, Part],
    ) -> None:
        """Store one sample; one that is there already stays, unless it lacks a part that this one has.

        Args:
            config_hash: names the generation config.
            config: the generation config.
            problem: the problem.
            record: its record; `parts` and `files` are filled in here.
            parts: what the sample is made of, one value each; none for a failed sample.
        """
        folder = self.sample_dir(config_hash, problem)
        draft = folder.parent / f".draft-{uuid.uuid4().hex}"
        draft.mkdir(parents=True)
        try:
            record.parts = {name: part.kind for name, part in parts.items()}
            for name, part in parts.items():
                KINDS[part.kind].save(part.values, draft / record.file(name))
            record.files = {p.name: sha256(p.read_bytes()) for p in sorted(draft.iterdir())}
            (draft / "record.json").write_text(sealed(dataclasses.asdict(record)))
            for path in draft.iterdir():
                sync(path)
            if not (folder.parent / "config.json").exists():
                write_atomically(
                    folder.parent / "config.json", json.dumps(config, indent=1, sort_keys=True) + "\n"
                )
            self._put(draft, folder, self.read(config_hash, problem), record)
            sync(folder.parent)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _put(self, draft: Path, folder: Path, there: Record | None, record: Record) -> None:
        """Rename a draft into its place, if the sample there, another process's perhaps, has not all of its parts."""
        if there is not None and there.parts.keys() >= record.parts.keys():
            return
        aside = folder.parent / f".aside-{uuid.uuid4().hex}"
        if there is not None:
            os.rename(folder, aside)
        try:
            os.rename(draft, folder)
        except OSError:
            if not (folder / "record.json").exists():
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    # -- metrics ---------------------------------------------------------------------------------------------------

    def read_metric(self, metric_hash: str, batch_hash: str) -> list[float] | None:
        """Values of a metric on a batch of samples, or None where they are missing or damaged."""
        path = self.root / "metrics" / metric_hash / f"{batch_hash}.json"
        try:
            measured = unsealed(path)
            if measured["of"] != [metric_hash, batch_hash]:
                raise DamageError("it belongs to another metric or batch")
            values: list[float] = measured["values"]
        except FileNotFoundError:
            return None
        except (DamageError, KeyError, TypeError, OSError) as error:
            _tell_once(f"{path}: damaged ({error}); it is measured again")
            return None
        return values

    def write_metric(self, metric_hash: str, batch_hash: str, values: list[float]) -> None:
        """Store values of a metric, in the batch's order."""
        measured = {"of": [metric_hash, batch_hash], "values": values}
        write_atomically(self.root / "metrics" / metric_hash / f"{batch_hash}.json", sealed(measured))

    def read_features(self, features_hash: str, batch_hash: str) -> FloatArray | None:
        """Features of a batch, (b, d), or None where they are missing or damaged."""
        path = self.root / "metrics" / features_hash / f"{batch_hash}.safetensors"
        try:
            with safe_open(path, framework="numpy") as file:
                features, of = file.get_tensor("features"), file.metadata() or {}
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError) as error:
            _tell_once(f"{path}: damaged ({error}); it is measured again")
            return None
        checksum = _features_checksum(features_hash, batch_hash, features)
        if of.get("sha256") != checksum:
            _tell_once(f"{path}: fails its checksum; it is measured again")
            return None
        return features.astype(np.float64)

    def write_features(self, features_hash: str, batch_hash: str, features: np.ndarray) -> None:
        """Store features (b, d), float32, in the batch's order."""
        content = np.ascontiguousarray(features, np.float32)
        checksum = _features_checksum(features_hash, batch_hash, content)
        write_atomically(
            self.root / "metrics" / features_hash / f"{batch_hash}.safetensors",
            save({"features": content}, {"sha256": checksum}),
        )

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
        lock = FileLock(path, fallback_to_soft=False)
        waited = 0
        while not _taken(lock, path, _PATIENCE if wait else 0):
            if not wait:
                yield False
                return
            waited += _PATIENCE
            _log.warning(
                "%s: held for %d s by %s; waiting until it is let go (a holder that is stopped or hangs must be ended)",
                path,
                waited,
                _holder(path),
            )
        try:
            path.with_suffix(".holder").write_text(f"process {os.getpid()} on {socket.gethostname()}")
            yield True
        finally:
            path.with_suffix(".holder").unlink(missing_ok=True)
            lock.release()


_PATIENCE = 60
"""Seconds between two words about a batch that another process holds."""


def _taken(lock: FileLock, path: Path, timeout: float) -> bool:
    """Whether the lock was acquired within `timeout` seconds.

    Raises:
        StoreError: there can be no lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    except (PermissionError, IsADirectoryError, FileExistsError, NotADirectoryError) as error:
        raise StoreError(
            f"{path}: cannot be made or opened ({error.strerror}); mend that, or set paths.results to a folder of your "
            "own"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise StoreError(
            f"{path}: this filesystem has no file locks ({error}); set paths.results to one that has"
        ) from error
    return True


def _holder(path: Path) -> str:
    try:
        return path.with_suffix(".holder").read_text()
    except OSError:
        return "another process"


def _plain(content: Any) -> Any:
    """Content as JSON gives it back: tuples as lists."""
    return json.loads(canonical(content))


@functools.lru_cache(maxsize=4096)
def _tell_once(message: str) -> None:
    _log.warning("%s", message)


def _features_checksum(features_hash: str, batch_hash: str, features: np.ndarray) -> str:
    return sha256(f"{features_hash} {batch_hash} {features.shape} ".encode() + features.tobytes())
