"""What the jobs of a table take: seconds and memory of a step, side by side in one run."""

from collections.abc import Callable, Iterator, Sequence

import pandas as pd

from guidebench.measuring import now, peak_memory
from guidebench.runner.experiment import Batch, Experiment
from guidebench.runner.tables import RowJob


def measure(jobs: Sequence[RowJob], tell: Callable[[str], None]) -> pd.DataFrame:
    """Generate the first batch of every job and seed, nothing being stored, and measure it.

    The rows follow each other seed by seed, so that comparing them within a seed leaves out what else changes with
    time; each seed begins with another row. The first job is made once before, unmeasured.

    Args:
        jobs: of the table; each of its seeds is a repetition.
        tell: told of what is being measured.

    Returns:
        One record per row and seed: `seconds` per step of the sampler and batch (processor seconds on a CPU), and
        `memory_gb`, the network's weights and the most that tensors took beside them. They come from a run each, as
        counting allocations takes time on a CPU.
    """
    experiments = [Experiment(entry.job) for entry in jobs]
    _generate(experiments[0], experiments[0].batches[0])
    records = []
    for i, batch in _interleaved(experiments):
        tell(f"{jobs[i].name}, seed {batch.problems[0].seed}")
        names = {"row": jobs[i].row, "block": jobs[i].block}
        records.append(names | _measured(experiments[i], batch))
    return pd.DataFrame(records)


def _interleaved(experiments: Sequence[Experiment]) -> Iterator[tuple[int, Batch]]:
    """Number of the job and the batch to measure, in turn."""
    firsts = [_first_batches(experiment) for experiment in experiments]
    for turn, batches in enumerate(zip(*firsts, strict=True)):
        order = list(enumerate(batches))
        first = turn % len(order)
        yield from order[first:] + order[:first]


def _first_batches(experiment: Experiment) -> list[Batch]:
    found: dict[int, Batch] = {}
    for batch in experiment.batches:
        found.setdefault(batch.problems[0].seed, batch)
    return list(found.values())


def _measured(experiment: Experiment, batch: Batch) -> dict[str, object]:
    setup = experiment.setup()
    device = setup.model.device
    weights = sum(p.nbytes for network in setup.model.modules.values() for p in network.parameters())
    memory = peak_memory(lambda: _generate(experiment, batch), device)
    start = now(device)
    _generate(experiment, batch)
    seconds = now(device) - start
    return {
        "case_id": "step",
        "seed": batch.problems[0].seed,
        "status": "ok",
        "seconds": seconds / setup.chain().n_stages,
        "memory_gb": (weights + memory) / 1e9,
    }


def _generate(experiment: Experiment, batch: Batch) -> None:
    experiment.method.generate(batch.problems, experiment.setup())
