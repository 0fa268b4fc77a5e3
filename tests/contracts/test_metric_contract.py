"""What every metric promises: discovered from conf/metric."""

import pytest
import torch
from components import each, job, problems
from torch import Tensor

from guidebench.metrics.base import Metric


@pytest.fixture
def metric(name: str, clip_directories: dict[str, str]) -> Metric:
    score = f"score_clip.directory={clip_directories['score']}"
    return job(score, f"+metric@metrics.contract={name}").metrics()["contract"]


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@each("metric")
def test_one_finite_number_per_image_that_depends_on_it_alone(metric: Metric, images: Tensor) -> None:
    some = problems(("TextToImage",))
    before = images.clone()
    values = metric.evaluate(images.requires_grad_(), some)
    assert values.shape == (4,) and values.is_floating_point() and not values.requires_grad
    assert values.isfinite().all()
    assert torch.equal(images, before)
    for row in range(4):
        alone = metric.evaluate(images[row : row + 1], some[row : row + 1])
        torch.testing.assert_close(alone[0], values[row], atol=1e-3, rtol=1e-4)


@each("metric")
def test_declarations(metric: Metric) -> None:
    assert isinstance(metric.higher_is_better, bool)
    assert isinstance(metric.unit, str) and metric.paper
    assert metric.protocol and "\n" not in metric.protocol
    assert metric.fingerprint()
    assert all(isinstance(name, str) and name for name in metric.networks)


@each("metric")
def test_the_protocol_names_every_network(metric: Metric) -> None:
    for network in metric.networks:
        assert network in metric.protocol
