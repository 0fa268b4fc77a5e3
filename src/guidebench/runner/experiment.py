"""Run one job: generate what the store lacks, batch by batch."""

import functools
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import guidebench
from guidebench.diffusion.cost import Cost
from guidebench.methods.base import Generation, Method, Setup
from guidebench.problems import Problem
from guidebench.runner.compat import check_compatibility
from guidebench.runner.identity import digest
from guidebench.runner.job import Job
from guidebench.runner.memory import peak_bytes, reset_peak
from guidebench.runner.store import Record, Store
from guidebench.samples import LATENTS, Part

OnSamples = Callable[[Sequence[Record]], None]
"""Told of a batch's records when they are stored."""


@dataclass(frozen=True)
class Batch:
    """A fixed part of a job's problems; which problems share a batch never depends on what is already stored."""

    name: str
    problems: tuple[Problem, ...]


class Experiment:
    """A checked job with its collaborators; networks load when the first missing sample needs them.

    Args:
        job: the checked configuration.

    Raises:
        ConfigError: choices that do not go together.
        DataError: the dataset cannot be read.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.shared_networks = check_compatibility(job)
        config = job.config
        self.store = Store(Path(config["paths"]["results"]) / "runs")
        self.method: Method = job.build("method")
        self.model, self.loss = _network(job, "model"), _network(job, "loss")
        self.generation_config = job.generation_config(
            {"model": self.model.fingerprint(), "loss": self.loss.fingerprint()}
        )
        self.config_hash = digest(self.generation_config)
        job.build("logger")
        self.problems: list[Problem] = job.build("dataset").problems(job.seeds)

    @property
    def batches(self) -> Iterator[Batch]:
        """The job's problems in fixed batches of `batch_size`, each of one seed."""
        size = self.job.config["batch_size"]
        for seed in self.job.seeds:
            mine = [problem for problem in self.problems if problem.seed == seed]
            for start in range(0, len(mine), size):
                part = tuple(mine[start : start + size])
                yield Batch(f"s{seed}-{digest([p.case_id for p in part])}", part)

    def stored(self) -> dict[Problem, Record]:
        """What the store holds of this job, in the order of its problems."""
        read = ((p, self.store.read(self.config_hash, p)) for p in self.problems)
        return {problem: record for problem, record in read if record is not None}

    def missing(self) -> list[Batch]:
        """Batches of which the store lacks a sample, or latents that are asked for; they are generated whole."""
        whole = {problem for problem, record in self.stored().items() if self._suffices(record)}
        return [batch for batch in self.batches if not whole >= set(batch.problems)]

    def _suffices(self, record: Record) -> bool:
        """Whether a stored sample has all that the job asks for."""
        return record.status == "failed" or LATENTS in record.parts or not self.job.config["save_latents"]

    def run(self, missing: Sequence[Batch], on_samples: OnSamples, wait: bool) -> list[Batch]:
        """Generate missing batches.

        Args:
            missing: `missing()`, or what an earlier call left.
            on_samples: told of the records of each batch, made here or by another process meanwhile.
            wait: wait for batches that other processes hold, and take over what those leave when they die; otherwise
                leave them.

        Returns:
            The batches left to others; none when waiting.
        """
        left = []
        for batch in missing:
            with self.store.claim(self.config_hash, batch.name, wait) as ours:
                if not ours:
                    left.append(batch)
                    continue
                records = self._completed(batch)
            on_samples(records)
        return left

    def _completed(self, batch: Batch) -> list[Record]:
        """The batch's records, made now unless another process has stored them all since we looked."""
        records = [self.store.read(self.config_hash, p) for p in batch.problems]
        whole = [record for record in records if record is not None and self._suffices(record)]
        if len(whole) == len(batch.problems):
            return whole
        for problem in batch.problems:
            self.store.set_damaged_aside(self.config_hash, problem)
        return self._generate(batch)

    def _generate(self, batch: Batch) -> list[Record]:
        """Generate a batch whole and store it; samples that are stored and suffice stay as they are."""
        setup = self.setup()
        device = setup.model.device
        reset_peak(device)
        start = time.perf_counter()
        generation = self.method.generate(batch.problems, setup)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = (time.perf_counter() - start) / len(batch.problems)
        records = []
        for row, problem in enumerate(batch.problems):
            record = self._record(generation, row, problem, seconds, peak_bytes(device) / 2**20, device)
            self._write(generation, row, problem, record)
            records.append(record)
        return records

    def _record(
        self,
        generation: Generation,
        row: int,
        problem: Problem,
        seconds: float,
        peak: float,
        device: torch.device,
    ) -> Record:
        failure = generation.failures.get(row)
        return Record(
            problem=problem.record(),
            config_hash=self.config_hash,
            status="failed" if failure else "ok",
            failure=str(failure or ""),
            nfe_fwd=generation.cost.nfe_fwd,
            nfe_bwd=generation.cost.nfe_bwd,
            seconds=round(seconds, 4),
            peak_memory_mb=round(peak, 1),
            history={}
            if failure
            else {name: curve[row].tolist() for name, curve in generation.history.items()},
            environment=environment(device),
        )

    def _write(self, generation: Generation, row: int, problem: Problem, record: Record) -> None:
        parts = {name: Part(part.kind, part.values[row]) for name, part in self._kept(generation).items()}
        self.store.write(
            self.config_hash, self.generation_config, problem, record, parts if record.status == "ok" else {}
        )

    def _kept(self, generation: Generation) -> dict[str, Part]:
        """The parts that are stored: latents only where `save_latents` asks for them."""
        keep_latents = self.job.config["save_latents"]
        return {name: part for name, part in generation.parts.items() if name != LATENTS or keep_latents}

    def setup(self, load: bool = True) -> Setup:
        """The method's collaborators; with `load`, the model is read and on its device."""
        if load:
            where = device(self.job.config["device"])
            _make_deterministic(where)
            self.model.load(where)
            self.model.check_prompts([getattr(problem, "prompt", "") for problem in self.problems])
            if "loss" in self.method.uses:
                self.loss.load(where)
        used: dict[str, Any] = {
            use: self.loss if use == "loss" else self.job.build(use) for use in self.method.uses
        }
        return Setup(self.model, cfg_scale=self.job.config["cfg_scale"], **used)

    def cost(self) -> Cost:
        """Network rows per sample that the method declares."""
        return self.method.cost(self.setup(load=False))


def device(name: str) -> torch.device:
    """The device that `device=` names; "auto" takes a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _make_deterministic(device: torch.device) -> None:
    """Ask CUDA for the same bits every time; operations that have no such kernel warn and stay as they are."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False
        torch.use_deterministic_algorithms(True, warn_only=True)


def _network(job: Job, name: str) -> Any:
    """The component at `name`, one instance for all jobs of this process that configure it alike."""
    return _shared_network(name, json.dumps(job.config[name], sort_keys=True))


@functools.lru_cache(maxsize=4)
def _shared_network(name: str, node: str) -> Any:
    return Job({name: json.loads(node)}).build(name)


@functools.lru_cache(maxsize=1)
def environment(device: torch.device) -> dict[str, str]:
    """Versions and device of this process, kept with every sample."""
    kind = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads"
    )
    return {
        "guidebench": guidebench.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": kind,
    }
