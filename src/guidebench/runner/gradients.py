"""The gradients' comparison as a source of records: each row's job chooses a strategy, the first the chain."""

from collections.abc import Callable, Sequence

import pandas as pd

from guidebench.devices import device
from guidebench.gradients.compare import Workload
from guidebench.models.base import DiffusionModel
from guidebench.runner.job import Job
from guidebench.runner.tables import RowJob
from guidebench.studies.gradients import compared, workload_of


def measure(jobs: Sequence[RowJob], tell: Callable[[str], None]) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Compare the strategies of all rows, block by block.

    Args:
        jobs: of the table.
        tell: told of what is being measured.

    Returns:
        One record per row and block that the chain allows, and why it refuses the others.
    """
    frames, refused = [], []
    for block in dict.fromkeys(entry.block for entry in jobs):
        mine = [entry for entry in jobs if entry.block == block]
        first = mine[0].job
        strategies = {entry.row: entry.job.build("gradient") for entry in mine}
        frame, reasons = compared(strategies, loaded_workload(first), loaded_workload(_precise(first)), tell)
        frames.append(frame.assign(block=block))
        refused += [f"{', '.join(filter(None, [row, block]))}: {reason}" for row, reason in reasons.items()]
    return pd.concat(frames, ignore_index=True), tuple(dict.fromkeys(refused))


def loaded_workload(
    job: Job, batch: int | None = None, prepare: Callable[[DiffusionModel], None] | None = None
) -> Workload:
    """What the strategies differentiate, on a job's model, sampler and guidance.

    Args:
        job: chooses them, and the device.
        batch: samples; the job's `batch_size` without it.
        prepare: changes the loaded model (memory format, compilation) before it is used.
    """
    model: DiffusionModel = job.build("model")
    model.load(device(job.config["device"]))
    if prepare is not None:
        prepare(model)
    return workload_of(
        model, job.build("sampler"), job.config["cfg_scale"], batch or job.config["batch_size"]
    )


def _precise(job: Job) -> Job:
    return Job(job.config | {"model": job.config["model"] | {"dtype": "float64"}})
