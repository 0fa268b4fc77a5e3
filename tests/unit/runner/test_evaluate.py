"""Stored samples to records: images and motions, metrics of samples and of sets, each measured once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from guidebench.metrics.base import Measure
from guidebench.metrics.feature_distance import FID, KID
from guidebench.metrics.psnr import PSNR
from guidebench.models.readers.features import FeatureNetwork
from guidebench.pixels import to_tensor, to_uint8
from guidebench.problems import ClassConditional, Picture, Problem, Restoration
from guidebench.runner.evaluate import evaluate, set_values, summary
from guidebench.runner.experiment import Experiment
from guidebench.runner.store import Record, Store
from guidebench.samples import Part, SampleKind


class Means(FeatureNetwork):
    """Mean colour as features; counts the images it saw."""

    network_id = "means"
    seen = 0

    def fingerprint(self) -> str:
        return "means"

    def load(self, device: object) -> None: ...

    def pooled(self, images: Tensor) -> Tensor:
        Means.seen += len(images)
        return images.mean((2, 3))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)


class Pictures:
    name = "six pictures"

    def pictures(self) -> Sequence[Picture]:
        return [Picture(f"p{i}", partial(picture, 100 + i)) for i in range(6)]


class Speed(PSNR):
    """Of motions: mean absolute difference of frames."""

    kind = "motion"
    reads = ()

    def evaluate(self, images: Tensor, problems: Sequence[Problem]) -> Tensor:
        return images.diff(dim=1).abs().mean((1, 2))


@dataclass
class Job:
    measures: dict[str, Measure]
    config: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.config = {
            "metrics": {name: {} for name in self.measures},
            "batch_size": 2,
            "device": "cpu",
            "save_latents": False,
            "retry_failed": False,
        }

    seeds = (0,)

    def metrics(self) -> dict[str, Measure]:
        return self.measures


def stored_experiment(
    root: Path, problems: list[Any], samples: list[Tensor | None], measures: dict[str, Measure]
) -> Experiment:
    """An experiment whose samples are stored already; None failed."""
    experiment = object.__new__(Experiment)
    experiment.job, experiment.store = Job(measures), Store(root)  # type: ignore[assignment]
    experiment._whole = {}
    experiment.config_hash, experiment.generation_config, experiment.problems = (
        "hash",
        {"method": "x"},
        problems,
    )
    for problem, sample in zip(problems, samples, strict=True):
        status = "failed" if sample is None else "ok"
        record = Record(problem.record(), "hash", status, "", 1, 0, 0.1, 1.0, {}, {})
        kind: SampleKind = "image" if sample is not None and sample.ndim == 3 else "motion"
        parts = {} if sample is None else {"sample": Part(kind, sample)}
        experiment.store.write("hash", {}, problem, record, parts)
    return experiment


@pytest.fixture
def restored(tmp_path: Path) -> Experiment:
    Means.seen = 0
    problems = [Restoration(f"c{i}", 0, Picture(f"p{i}", partial(picture, i))) for i in range(5)]
    samples = [None if i == 3 else to_tensor([picture(i)])[0] for i in range(5)]
    sets = {"fid": FID(Means(), Pictures()), "kid": KID(Means(), Pictures())}
    return stored_experiment(tmp_path, problems, samples, {"psnr": PSNR(), **sets})


def test_metrics_of_samples_and_of_sets(restored: Experiment) -> None:
    records = evaluate(restored, method="none")
    assert records["psnr"].tolist()[:3] == pytest.approx([100.0] * 3) and np.isnan(records["psnr"][3])
    present = records["fid"].dropna()
    assert present.index.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(present[2], picture(2).mean((0, 1)) / 255, rtol=1e-6)
    reference = np.stack([picture(100 + i).mean((0, 1)) / 255 for i in range(6)])
    features = np.stack(present.tolist())
    expected = FID(Means(), Pictures()).value(features, reference)
    assert set_values(restored)["fid"](features) == pytest.approx(expected, rel=1e-4)
    assert summary(restored, records)["fid"] == pytest.approx(expected, rel=1e-4)
    assert summary(restored, records)["psnr"] == pytest.approx(100)
    assert records["caption"].tolist() == [f"p{i}" for i in range(5)]
    assert records["problem.reference"].tolist() == [f"p{i}" for i in range(5)]
    assert records["parts"][3] == {} and Path(records["parts"][0]["sample"]).is_file()


def test_features_are_computed_once_and_shared(restored: Experiment) -> None:
    evaluate(restored)
    assert Means.seen == 4 + 6  # samples and reference pictures, for FID and KID together
    again = evaluate(restored, measure=False)
    assert Means.seen == 10 and again["kid"].notna().sum() == 4


def test_what_was_never_measured_is_missing(restored: Experiment) -> None:
    records = evaluate(restored, measure=False)
    assert records[["psnr", "fid", "kid"]].isna().all(axis=None) and set_values(restored) == {}
    assert np.isnan(list(summary(restored, records).values())).all() and Means.seen == 0


def test_damaged_features_are_computed_again(restored: Experiment) -> None:
    evaluate(restored)
    for path in restored.store.root.glob("metrics/*/*.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert set_values(restored) == {}
    before = Means.seen
    assert evaluate(restored)["fid"].notna().sum() == 4 and Means.seen == before + 10


def test_motions_are_kept_as_they_are(tmp_path: Path) -> None:
    problems = [ClassConditional(f"c{i}", 0, i, f"walk {i}") for i in range(3)]
    motions = [torch.randn(5, 3, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    experiment = stored_experiment(tmp_path, problems, list(motions), {"speed": Speed()})
    records = evaluate(experiment)
    assert records["speed"].tolist() == pytest.approx([float(m.diff(dim=0).abs().mean()) for m in motions])
    assert records["caption"].tolist() == ["walk 0", "walk 1", "walk 2"]
    record = experiment.store.read("hash", problems[0])
    assert record is not None and record.parts == {"sample": "motion"}
    stored = np.load(records["parts"][0]["sample"])
    assert stored.dtype == np.float32 and (stored == motions[0].numpy()).all()


def test_pixels_survive_the_way_through_files(tmp_path: Path) -> None:
    images = torch.rand(3, 3, 5, 4) * 1.2 - 0.1
    arrays = to_uint8(images)
    assert arrays.shape == (3, 5, 4, 3)
    torch.testing.assert_close(to_tensor(list(arrays)), images.clamp(0, 1), atol=0.5 / 255 + 1e-6, rtol=0)
    assert (to_uint8(to_tensor(list(arrays))) == arrays).all()
