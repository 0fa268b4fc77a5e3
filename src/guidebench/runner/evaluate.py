"""Evaluate stored samples and lay them out as one table of records. A new metric never needs new samples."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from guidebench.metrics.base import Metric
from guidebench.problems import TextToImage
from guidebench.runner.build import digest
from guidebench.runner.experiment import Experiment, device
from guidebench.runner.store import Record


@dataclasses.dataclass(frozen=True)
class Sample:
    """A stored sample of an experiment."""

    problem: TextToImage
    record: Record
    folder: Path

    @property
    def image(self) -> Path:
        """Its image file."""
        return self.folder / "image.png"


def evaluate(experiment: Experiment) -> dict[str, dict[TextToImage, float]]:
    """Every metric of the job on every stored sample that succeeded; values already stored are read.

    Returns:
        Values by metric name and problem.
    """
    config = experiment.job.config
    values: dict[str, dict[TextToImage, float]] = {}
    for name, metric in experiment.job.metrics().items():
        metric_hash = digest({"config": config["metrics"][name], "weights": metric.fingerprint()})
        values[name] = {}
        for batch in _stored_batches(experiment):
            batch_hash = digest(
                [[sample.record.files["image.png"], sample.record.problem] for sample in batch]
            )
            measured = experiment.store.read_metric(metric_hash, batch_hash)
            if measured is None:
                measured = _measure(metric, batch, device(config["device"]))
                experiment.store.write_metric(metric_hash, batch_hash, measured)
            values[name].update(zip((sample.problem for sample in batch), measured, strict=True))
    return values


def frame(experiment: Experiment, values: dict[str, dict[TextToImage, float]], **labels: Any) -> pd.DataFrame:
    """One row per stored sample of the job: problem, status, metrics, costs, image path, configuration.

    Args:
        experiment: the job.
        values: metric values by name and problem, as `evaluate` returns them.
        **labels: constant columns, such as the sweep's keys.
    """
    rows = []
    for sample in _stored(experiment):
        record = sample.record
        rows.append(
            {
                **labels,
                **dataclasses.asdict(sample.problem),
                "status": record.status,
                "failure": record.failure,
                **{name: by_problem.get(sample.problem, np.nan) for name, by_problem in values.items()},
                "nfe_fwd": record.nfe_fwd,
                "nfe_bwd": record.nfe_bwd,
                "seconds": record.seconds,
                "peak_memory_mb": record.peak_memory_mb,
                "image": str(sample.image),
                "config": experiment.generation_config,
                "config_hash": experiment.config_hash,
            }
        )
    return pd.DataFrame(rows)


def _stored(experiment: Experiment) -> Iterator[Sample]:
    for problem, record in zip(experiment.problems, experiment.records(), strict=True):
        if record is not None:
            yield Sample(problem, record, experiment.store.sample_dir(experiment.config_hash, problem))


def _stored_batches(experiment: Experiment) -> Iterator[list[Sample]]:
    """The job's fixed batches, less what is missing or failed."""
    stored = {sample.problem: sample for sample in _stored(experiment) if sample.record.status == "ok"}
    for batch in experiment.batches:
        samples = [stored[problem] for problem in batch.problems if problem in stored]
        if samples:
            yield samples


def _measure(metric: Metric, samples: Sequence[Sample], where: torch.device) -> list[float]:
    images = torch.stack([_read_image(sample.image) for sample in samples]).to(where)
    return [
        float(value) for value in metric.evaluate(images, [sample.problem for sample in samples]).tolist()
    ]


def _read_image(path: Path) -> Tensor:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
