"""Evaluate stored samples and lay them out as one table of records. A new metric never needs new samples."""

import dataclasses
from collections.abc import Sequence
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


def evaluate(experiment: Experiment, measure: bool = True, **labels: Any) -> pd.DataFrame:
    """One row per stored sample of the job: problem, status, metrics, costs, image path, configuration.

    Args:
        experiment: the job.
        measure: evaluate what was not evaluated before, and store it; otherwise such values are NaN.
        **labels: constant columns, such as the sweep's keys.
    """
    folder = experiment.store.sample_dir
    samples = [Sample(p, r, folder(experiment.config_hash, p)) for p, r in experiment.stored().items()]
    values = _values(experiment, [s for s in samples if s.record.status == "ok"], measure)
    rows = [
        {
            **labels,
            **dataclasses.asdict(sample.problem),
            "status": sample.record.status,
            "failure": sample.record.failure,
            **{name: by_problem.get(sample.problem, np.nan) for name, by_problem in values.items()},
            "nfe_fwd": sample.record.nfe_fwd,
            "nfe_bwd": sample.record.nfe_bwd,
            "seconds": sample.record.seconds,
            "peak_memory_mb": sample.record.peak_memory_mb,
            "image": str(sample.image),
            "config": experiment.generation_config,
            "config_hash": experiment.config_hash,
        }
        for sample in samples
    ]
    return pd.DataFrame(rows)


def _values(
    experiment: Experiment, samples: Sequence[Sample], measure: bool
) -> dict[str, dict[TextToImage, float]]:
    """Every metric of the job by name and problem, evaluated in the job's fixed batches."""
    config, store = experiment.job.config, experiment.store
    batches = [[s for s in samples if s.problem in batch.problems] for batch in experiment.batches]
    values: dict[str, dict[TextToImage, float]] = {}
    for name, metric in experiment.job.metrics().items():
        metric_hash = digest({"config": config["metrics"][name], "weights": metric.fingerprint()})
        values[name] = {}
        for batch in filter(None, batches):
            batch_hash = digest([[s.record.files["image.png"], s.record.problem] for s in batch])
            measured = store.read_metric(metric_hash, batch_hash)
            if measured is None and measure:
                measured = _measure(metric, batch, device(config["device"]))
                store.write_metric(metric_hash, batch_hash, measured)
            if measured is not None:
                values[name].update(zip((s.problem for s in batch), measured, strict=True))
    return values


def _measure(metric: Metric, samples: Sequence[Sample], where: torch.device) -> list[float]:
    images = torch.stack([_read_image(sample.image) for sample in samples]).to(where)
    return [
        float(value) for value in metric.evaluate(images, [sample.problem for sample in samples]).tolist()
    ]


def _read_image(path: Path) -> Tensor:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
