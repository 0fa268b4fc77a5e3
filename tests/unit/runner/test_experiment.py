"""How a job is cut into batches and generated, whatever memory there is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from guidebench.diffusion.cost import Cost
from guidebench.errors import NumericalError
from guidebench.methods.base import Generation, Setup
from guidebench.problems import Problem
from guidebench.runner.experiment import Experiment
from guidebench.runner.store import Store
from guidebench.samples import Part


class Hungry:
    """Makes the case's number, at most `limit` of them at once."""

    uses = ()

    def __init__(self, limit: int, error: Exception) -> None:
        self.limit, self.error, self.fails = limit, error, False
        self.sizes: list[int] = []

    def generate(self, problems: Sequence[Problem], setup: object) -> Generation:
        self.sizes.append(len(problems))
        if len(problems) > self.limit:
            raise self.error
        values = torch.tensor([[float(p.case_id)] for p in problems])
        failures = {0: NumericalError(3, "x_t", [0])} if self.fails else {}
        parts = {"sample": Part("motion", values[:, None])}
        return Generation(parts, Cost(1, 0), Cost(1, 0), failures=failures)


class Job:
    seeds = (3, 5)
    config = {"batch_size": 4, "save_latents": False, "checkpoint_seconds": 120.0, "retry_failed": False}  # noqa: RUF012


def experiment(root: Path, method: Hungry, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    made = object.__new__(Experiment)
    made.job, made.method, made.store = Job(), method, Store(root)  # type: ignore[assignment]
    made.config_hash, made.generation_config = "hash", {}
    made.problems = [Problem(str(i), seed) for i in range(6) for seed in (3, 5)]
    made._whole, made._fits = {}, 4
    made.recipes = {}
    model: Any = type("Model", (), {"device": torch.device("cpu")})
    monkeypatch.setattr(made, "setup", lambda: Setup(model))
    return made


def test_batches_are_of_one_seed_and_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = experiment(tmp_path, Hungry(4, MemoryError()), monkeypatch)
    assert [[(p.case_id, p.seed) for p in batch.problems] for batch in made.batches] == [
        [("0", 3), ("1", 3), ("2", 3), ("3", 3)],
        [("4", 3), ("5", 3)],
        [("0", 5), ("1", 5), ("2", 5), ("3", 5)],
        [("4", 5), ("5", 5)],
    ]
    assert len({batch.name for batch in made.batches}) == 4


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_out_of_memory_halves_the_batch_once_for_all(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    method = Hungry(2, error)
    made = experiment(tmp_path, method, monkeypatch)
    made.run(made.missing(), lambda records: None, wait=True)
    assert method.sizes == [4, 2, 2, 2, 2, 2, 2] and "going on with 2" in caplog.text
    assert len(made.stored()) == 12 and not made.missing()


def test_another_error_or_one_sample_too_large_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, error in ((0, MemoryError()), (1, RuntimeError("shapes do not fit"))):
        made = experiment(tmp_path, Hungry(limit, error), monkeypatch)
        with pytest.raises(type(error)):
            made.run(made.missing(), lambda records: None, wait=True)


def test_failed_samples_are_tried_again_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = Hungry(4, MemoryError())
    made = experiment(tmp_path, method, monkeypatch)
    method.fails = True
    made.run(made.missing(), lambda records: None, wait=True)
    failed = [p.case_id for p, record in made.stored().items() if record.status == "failed"]
    assert failed == ["0", "0", "4", "4"] and not made.missing()
    method.fails = False
    again = experiment(tmp_path, method, monkeypatch)
    again.job.config = again.job.config | {"retry_failed": True}  # type: ignore[misc]
    again.run(again.missing(), lambda records: None, wait=True)
    assert all(record.status == "ok" for record in again.stored().values()) and not again.missing()
