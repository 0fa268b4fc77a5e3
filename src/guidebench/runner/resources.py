"""What the jobs of a table take: seconds and memory of a step, side by side in one run."""

from collections.abc import Callable

import pandas as pd

from guidebench.measuring import now, peak_memory
from guidebench.runner.experiment import Experiment
from guidebench.runner.sweeps import Sweep, SweptJob


def measure(sweep: Sweep, progress: Callable[[str], None]) -> pd.DataFrame:
    """Generate the first batch of every job, nothing being stored, and measure it.

    Jobs of one seed differ in the row alone and follow each other, so that comparing them seed by seed leaves out what
    else changes with time; each seed begins with another row. The first job is made once before, unmeasured.

    Args:
        sweep: its jobs.
        progress: told of what is being measured.

    Returns:
        One record per job: `seconds` per step of the sampler and batch (processor seconds on a CPU), and `memory_gb`,
        the network's weights and the most that tensors took beside them. They come from a run each, as counting
        allocations takes time on a CPU.
    """
    jobs = _interleaved(sweep)
    _generate(Experiment(jobs[0].job))
    records = []
    for swept in jobs:
        progress(f"{swept.choice('method')} seed {swept.choice('seed')}")
        records.append(_measured(swept))
    return pd.DataFrame(records)


def _interleaved(sweep: Sweep) -> list[SweptJob]:
    seeds: dict[str, list[SweptJob]] = {}
    for swept in sweep.jobs:
        seeds.setdefault(swept.choice("seed"), []).append(swept)
    ordered = []
    for turn, jobs in enumerate(seeds.values()):
        first = turn % len(jobs)
        ordered += jobs[first:] + jobs[:first]
    return ordered


def _measured(swept: SweptJob) -> dict[str, object]:
    experiment = Experiment(swept.job)
    setup = experiment.setup()
    device = setup.model.device
    weights = sum(p.nbytes for network in setup.model.modules.values() for p in network.parameters())
    memory = peak_memory(lambda: _generate(experiment), device)
    start = now(device)
    _generate(experiment)
    seconds = now(device) - start
    return {
        "method": swept.choice("method"),
        "case_id": "step",
        "seed": swept.choice("seed"),
        "status": "ok",
        "seconds": seconds / setup.chain().n_stages,
        "memory_gb": (weights + memory) / 1e9,
    }


def _generate(experiment: Experiment) -> None:
    experiment.method.generate(next(experiment.batches).problems, experiment.setup())
