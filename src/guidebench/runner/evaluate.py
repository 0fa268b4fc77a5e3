"""Evaluate stored samples and lay them out as one table of records. A new metric never needs new samples."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from guidebench.devices import device
from guidebench.metrics.base import FloatArray, Metric, SetMetric
from guidebench.pixels import to_tensor
from guidebench.problems import Problem
from guidebench.runner.experiment import Experiment
from guidebench.runner.identity import digest, features_identity, identity, reference_identity
from guidebench.runner.job import Job
from guidebench.runner.store import Record
from guidebench.samples import KINDS


@dataclass(frozen=True)
class MetricOfSet:
    """Features (n, d) of samples -> the value of a metric of whole sets.

    Args:
        metric: the metric.
        reference: features (m, d) of its reference images.
    """

    metric: SetMetric
    reference: FloatArray

    def __call__(self, features: FloatArray) -> float:
        return self.metric.value(features, self.reference)

    def leaving_out(self, features: FloatArray, codes: NDArray[np.intp]) -> FloatArray:
        """The values without each group of samples: codes (n,), 0 to G - 1 -> (G,)."""
        return self.metric.leaving_out(features, self.reference, codes)


@dataclass(frozen=True)
class Sample:
    """A stored sample of an experiment."""

    problem: Problem
    record: Record
    folder: Path

    @property
    def files(self) -> dict[str, str]:
        """The file of each of its parts; none where it failed."""
        return {part: str(self.folder / self.record.file(part)) for part in self.record.parts}


def evaluate(experiment: Experiment, measure: bool = True, **labels: Any) -> pd.DataFrame:
    """One row per stored sample of the job: problem, status, metrics, costs, files, configuration.

    Columns: the labels; `case_id`, `seed`, `caption`; `problem.<field>` of the problem's own; `status`, `failure`; each
    metric by its name; `nfe_fwd`, `nfe_bwd`, `spent_fwd`, `spent_bwd`, `seconds`, `peak_memory_mb`; `parts`, the file
    of each part by name; `config` and `config_hash`. A metric of whole sets has a column of feature rows, float64 (d,),
    from which `set_values` makes values.

    Args:
        experiment: the job.
        measure: evaluate what was not evaluated before, and store it; otherwise such values are missing.
        **labels: constant columns, such as the sweep's keys.
    """
    folder = experiment.store.sample_dir
    samples = [Sample(p, r, folder(experiment.config_hash, p)) for p, r in experiment.stored().items()]
    values = _values(experiment, [s for s in samples if s.record.status == "ok"], measure)
    rows = [
        {
            **labels,
            "case_id": sample.problem.case_id,
            "seed": sample.problem.seed,
            "caption": sample.problem.caption,
            **{f"problem.{name}": value for name, value in sample.problem.record().items()},
            "status": sample.record.status,
            "failure": sample.record.failure,
            **{name: by_problem.get(sample.problem, np.nan) for name, by_problem in values.items()},
            "nfe_fwd": sample.record.nfe_fwd,
            "nfe_bwd": sample.record.nfe_bwd,
            "spent_fwd": sample.record.spent_fwd,
            "spent_bwd": sample.record.spent_bwd,
            "seconds": sample.record.seconds,
            "peak_memory_mb": sample.record.peak_memory_mb,
            "parts": sample.files,
            "config": experiment.generation_config,
            "config_hash": experiment.config_hash,
        }
        for sample in samples
    ]
    return pd.DataFrame(rows)


def set_values(experiment: Experiment) -> dict[str, MetricOfSet]:
    """The job's metrics of whole sets, by name; those whose reference images were never measured are left out."""
    metrics = experiment.job.metrics()
    references = {
        n: _reference(experiment, n, m, False) for n, m in metrics.items() if isinstance(m, SetMetric)
    }
    return {
        name: MetricOfSet(metrics[name], reference)
        for name, reference in references.items()
        if reference is not None
    }


def check_references(job: Job) -> None:
    """See that the reference images of the job's set metrics are there, before samples are made in vain.

    Raises:
        DataError: they cannot be found; says what to do.
    """
    for metric in job.metrics().values():
        if isinstance(metric, SetMetric):
            _ = metric.reference


def check_problems(experiment: Experiment) -> None:
    """See that every metric can measure what the job asks for, before samples are made in vain.

    Raises:
        ConfigError, DataError: one cannot; says what to do.
    """
    for metric in experiment.job.metrics().values():
        metric.check(experiment.problems)


def summary(experiment: Experiment, records: pd.DataFrame) -> dict[str, float]:
    """Every metric over all samples of a job: the mean, or the value of the set."""
    values = dict.fromkeys(experiment.job.config["metrics"], np.nan)
    sets = set_values(experiment)
    for name in values:
        measured = records[name].dropna()
        if len(measured):
            values[name] = sets[name](np.stack(measured)) if name in sets else measured.mean()
    return values


def _values(
    experiment: Experiment, samples: Sequence[Sample], measure: bool
) -> dict[str, dict[Problem, float | FloatArray]]:
    """Every metric of the job by name and problem, evaluated in the job's fixed batches."""
    by_problem = {sample.problem: sample for sample in samples}
    batches = [[by_problem[p] for p in batch.problems if p in by_problem] for batch in experiment.batches]
    values: dict[str, dict[Problem, float | FloatArray]] = {}
    for name, metric in experiment.job.metrics().items():
        values[name] = {}
        if isinstance(metric, SetMetric) and (
            not samples or _reference(experiment, name, metric, measure) is None
        ):
            continue
        for batch in filter(None, batches):
            measured: Sequence[float] | FloatArray | None = (
                _features(experiment, name, metric, batch, measure)
                if isinstance(metric, SetMetric)
                else _numbers(experiment, name, metric, batch, measure)
            )
            if measured is not None:
                values[name].update(zip((s.problem for s in batch), measured, strict=True))
    return values


def _numbers(
    experiment: Experiment, name: str, metric: Metric, batch: Sequence[Sample], measure: bool
) -> list[float] | None:
    """A metric's value of each sample of a batch, from the store where it was measured before."""
    config = identity(experiment.job.config["metrics"][name])
    metric_hash = digest({"config": config, "weights": metric.fingerprint()})
    batch_hash = _batch_hash(batch, metric.part)
    numbers = experiment.store.read_metric(metric_hash, batch_hash)
    if numbers is None and measure:
        measured = metric.evaluate(
            _values_of(experiment, batch, metric.part), [sample.problem for sample in batch]
        )
        numbers = [float(number) for number in measured.tolist()]
        experiment.store.write_metric(metric_hash, batch_hash, numbers)
    return numbers


def _features(
    experiment: Experiment, name: str, metric: SetMetric, batch: Sequence[Sample], measure: bool
) -> FloatArray | None:
    """The features (b, d) of a batch, from the store where they were computed before."""
    return _stored_features(
        experiment,
        name,
        metric,
        _batch_hash(batch, metric.part),
        lambda: metric.features(_values_of(experiment, batch, metric.part)),
        measure,
    )


def _reference(experiment: Experiment, name: str, metric: SetMetric, measure: bool) -> FloatArray | None:
    """The features (m, d) of a metric's reference images; None where they are not stored and not to be measured."""
    pictures, size = metric.reference, experiment.job.config["batch_size"]
    if not pictures:
        return np.zeros((0, 0))

    def features() -> Tensor:
        where = device(experiment.job.config["device"])
        parts = (pictures[start : start + size] for start in range(0, len(pictures), size))
        return torch.cat(
            [metric.features(to_tensor([picture.load() for picture in part], where)) for part in parts]
        )

    node = experiment.job.config["metrics"][name]
    which = digest(reference_identity(type(metric), node, [picture.name for picture in pictures]))
    return _stored_features(experiment, name, metric, f"reference-{which}", features, measure)


def _stored_features(
    experiment: Experiment,
    name: str,
    metric: SetMetric,
    of: str,
    features: Callable[[], Tensor],
    measure: bool,
) -> FloatArray | None:
    node = experiment.job.config["metrics"][name]
    features_hash = digest(features_identity(type(metric), node, metric.fingerprint()))
    stored = experiment.store.read_features(features_hash, of)
    if stored is None and measure:
        experiment.store.write_features(features_hash, of, features().cpu().numpy())
        stored = experiment.store.read_features(features_hash, of)
    return stored


def _batch_hash(batch: Sequence[Sample], part: str) -> str:
    return digest([[s.record.files[s.record.file(part)], s.record.problem] for s in batch])


def _values_of(experiment: Experiment, batch: Sequence[Sample], part: str) -> Any:
    """A part of the samples of a batch, as a metric sees it."""
    kind = KINDS[batch[0].record.parts[part]]
    values = [kind.load(Path(sample.files[part])) for sample in batch]
    return kind.batch(values, device(experiment.job.config["device"]))
