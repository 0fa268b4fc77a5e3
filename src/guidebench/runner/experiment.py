"""Run one job: generate what the store lacks, batch by batch."""

import functools
import json
import logging
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import guidebench
from guidebench.devices import device
from guidebench.diffusion.cost import Cost
from guidebench.methods.base import Generation, Method, Setup
from guidebench.problems import Problem
from guidebench.runner.artefacts import ArtefactRecord, learned, read_record, recipes
from guidebench.runner.compat import check_classes, check_compatibility
from guidebench.runner.drafts import Draft
from guidebench.runner.identity import digest
from guidebench.runner.job import Job
from guidebench.runner.memory import peak_bytes, reset_peak
from guidebench.runner.store import Record, Store
from guidebench.samples import LATENTS, Part

_log = logging.getLogger(__name__)

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
        self.recipes = recipes(job, self.model)
        self.generation_config = job.generation_config(
            {"model": self.model.fingerprint(), "loss": self.loss.fingerprint()}
            | {f"artefact.{name}": recipe.hash for name, recipe in self.recipes.items()}
        )
        self.config_hash = digest(self.generation_config)
        job.build("logger")
        self._whole: dict[Problem, Record] = {}
        self._fits: int = config["batch_size"]
        self.problems: list[Problem] = job.build("dataset").problems(job.seeds)
        check_classes(job, self.problems)

    @functools.cached_property
    def batches(self) -> tuple[Batch, ...]:
        """The job's problems in fixed batches of `batch_size`, each of one seed."""
        size = self.job.config["batch_size"]
        by_seed: dict[int, list[Problem]] = {seed: [] for seed in self.job.seeds}
        for problem in self.problems:
            by_seed[problem.seed].append(problem)
        parts = [
            (seed, tuple(mine[start : start + size]))
            for seed, mine in by_seed.items()
            for start in range(0, len(mine), size)
        ]
        return tuple(Batch(f"s{seed}-{digest([p.case_id for p in part])}", part) for seed, part in parts)

    def stored(self) -> dict[Problem, Record]:
        """What the store holds of this job, in the order of its problems; each record is read and checked once."""
        return {p: record for p in self.problems if (record := self._read(p)) is not None}

    def _read(self, problem: Problem) -> Record | None:
        if problem not in self._whole:
            record = self.store.read(self.config_hash, problem)
            if record is None or not self._suffices(record):
                return record
            self._whole[problem] = record
        return self._whole[problem]

    def missing(self) -> list[Batch]:
        """Batches of which the store lacks a sample, or latents that are asked for; they are generated whole."""
        whole = {problem for problem, record in self.stored().items() if self._suffices(record)}
        return [batch for batch in self.batches if not whole >= set(batch.problems)]

    def _suffices(self, record: Record) -> bool:
        """Whether a stored sample has all that the job asks for; a failed one, unless it is to be tried again."""
        if record.status == "failed":
            return not self.job.config["retry_failed"]
        return LATENTS in record.parts or not self.job.config["save_latents"]

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
        records = [self._read(p) for p in batch.problems]
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
        artefacts = self.learned(device)
        if "artefact" in self.method.uses:
            setup.artefact = {name: weights for name, (weights, _) in artefacts.items()}
        drafts = self.store.root / "drafts" / self.config_hash / batch.name
        reset_peak(device)
        start = time.perf_counter()
        generations = list(self._generations(batch.problems, setup, drafts))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        before = sum(draft.spent for _, _, draft in generations)
        seconds = (before + time.perf_counter() - start) / len(batch.problems)
        records = []
        for problems, generation, _ in generations:
            for row, problem in enumerate(problems):
                record = self._record(generation, row, problem, seconds, peak_bytes(device) / 2**20, device)
                record.artefacts = {name: learnt.sha256 for name, (_, learnt) in artefacts.items()}
                self._write(generation, row, problem, record)
                records.append(record)
        shutil.rmtree(drafts, ignore_errors=True)
        return records

    def _generations(
        self, problems: tuple[Problem, ...], setup: Setup, drafts: Path
    ) -> Iterator[tuple[tuple[Problem, ...], Generation, Draft]]:
        """Generate problems at once, or in halves where memory does not suffice, which is remembered."""
        if len(problems) <= self._fits:
            path = drafts / f"{len(problems)}_{problems[0].case_id}.safetensors"
            every = self.job.config["checkpoint_seconds"]
            draft = Draft(path, self.config_hash, every, self.store.root / "quarantine")
            try:
                yield problems, self.method.generate(problems, replace(setup, progress=draft)), draft
                return
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error) or len(problems) == 1:
                    raise
                self._fits = len(problems) // 2
                _log.warning(
                    "%d samples at once need more memory than there is; going on with %d",
                    len(problems),
                    self._fits,
                )
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        for start in range(0, len(problems), self._fits):
            yield from self._generations(problems[start : start + self._fits], setup, drafts)

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
            spent_fwd=generation.spent.nfe_fwd,
            spent_bwd=generation.spent.nfe_bwd,
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
            self.model.load(where)
            self.model.check_prompts([getattr(problem, "prompt", "") for problem in self.problems])
            if "loss" in self.method.uses:
                self.loss.load(where)
        used: dict[str, Any] = {
            use: self.loss if use == "loss" else self.job.build(use)
            for use in self.method.uses
            if use != "artefact"
        }
        return Setup(self.model, cfg_scale=self.job.config["cfg_scale"], **used)

    def learned(self, device: torch.device) -> dict[str, tuple[dict[str, Tensor], ArtefactRecord]]:
        """Weights and record of each of the method's artefacts; those that the store lacks are learned, once."""
        every = self.job.config["checkpoint_seconds"]
        return {
            name: learned(self.store, recipe, self.model, environment(device), every)
            for name, recipe in self.recipes.items()
        }

    def unlearned(self) -> dict[str, str]:
        """Recipe hashes of the method's artefacts that the store lacks, by name."""
        hashes = {name: recipe.hash for name, recipe in self.recipes.items()}
        return {name: found for name, found in hashes.items() if read_record(self.store, found) is None}

    def cost(self) -> Cost:
        """Network rows per sample that the method declares."""
        return self.method.cost(self.setup(load=False))


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out: CUDA has a class of its own, the CPU's allocator a sentence."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


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
