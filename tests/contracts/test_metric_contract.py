"""What every metric promises: discovered from conf/metric."""

import numpy as np
import pytest
import torch
import yaml
from components import TINY_RECOGNISERS, choices, each, job, problems
from torch import Tensor

from guidebench.metrics.base import Measure, Metric, SetMetric
from guidebench.runner.components import component_class
from guidebench.runner.folders import shipped
from guidebench.samples import KINDS

_CLASSES = {
    name: component_class(
        yaml.safe_load((shipped("conf") / "metric" / f"{name}.yaml").read_text())["_target_"], name
    )
    for name in choices("metric")
}
_WITHOUT_FILES = {
    "text_motion_distance": ["metrics.contract.evaluator.random_weights=true"],
    "trait_distance": ["metrics.contract.regressor.random_weights=true"],
    **dict.fromkeys(
        ["mmpmr", "match_threshold", "parent_similarity", "morphing_attack_potential"], TINY_RECOGNISERS
    ),
}
each_single = pytest.mark.parametrize("name", [n for n, c in _CLASSES.items() if issubclass(c, Metric)])
each_set = pytest.mark.parametrize("name", [n for n, c in _CLASSES.items() if issubclass(c, SetMetric)])


@pytest.fixture
def metric(
    name: str,
    clip_directories: dict[str, str],
    head_directories: dict[str, str],
    classifier_directories: dict[str, str],
) -> Measure:
    return job(
        f"networks.score_clip.directory={clip_directories['score']}",
        f"networks.score_aesthetic.clip.directory={clip_directories['score']}",
        f"networks.score_aesthetic.source={head_directories['score']}",
        f"networks.judge_classifier.directory={classifier_directories['judge']}",
        f"networks.features.directory={classifier_directories['features']}",
        f"networks.perceptual.network.directory={classifier_directories['features']}",
        f"+metric@metrics.contract={name}",
        *_WITHOUT_FILES.get(name, ()),
    ).metrics()["contract"]


@pytest.fixture
def images(metric: Measure) -> Tensor:
    """Samples of the kind that the metric takes."""
    generator = torch.Generator().manual_seed(0)
    if metric.kind == "motion":
        root_and_features = 3 + 263
        return 0.1 * torch.randn(4, 12, root_and_features, generator=generator).cumsum(1)
    return torch.rand(4, 3, 64, 64, generator=generator)


@each_single
def test_one_finite_number_per_image_that_depends_on_it_alone(metric: Metric, images: Tensor) -> None:
    some = problems((*metric.reads, "path") if metric.kind == "motion" else metric.reads)
    before = images.clone()
    values = metric.evaluate(images.requires_grad_(), some)
    assert values.shape == (4,) and values.is_floating_point() and not values.requires_grad
    assert values.isfinite().all()
    assert torch.equal(images, before)
    for row in range(4):
        alone = metric.evaluate(images[row : row + 1], some[row : row + 1])
        torch.testing.assert_close(alone[0], values[row], atol=1e-3, rtol=1e-4)


@each_set
def test_one_row_of_features_per_image_that_depends_on_it_alone(metric: SetMetric, images: Tensor) -> None:
    before = images.clone()
    features = metric.features(images.requires_grad_())
    assert features.ndim == 2 and len(features) == 4 and not features.requires_grad
    assert features.isfinite().all() and (features[0] != features[1]).any()
    assert torch.equal(images, before)
    for row in range(4):
        torch.testing.assert_close(
            metric.features(images[row : row + 1])[0], features[row], atol=1e-4, rtol=1e-4
        )


@each_set
def test_the_value_of_a_set_does_not_depend_on_its_order(metric: SetMetric) -> None:
    features, reference = np.random.default_rng(0).dirichlet(np.ones(6), (2, 20))
    value = metric.value(features, reference)
    assert isinstance(value, float) and np.isfinite(value)
    # the fit of a singular covariance has eigenvalues of rounding, of which FID takes the root
    assert metric.value(features[::-1], reference) == pytest.approx(value, rel=1e-9, abs=1e-8)
    assert metric.value(features[:10], reference) != value
    assert np.isnan(metric.value(features[:0], reference))
    assert isinstance(metric.caveat(20, 6), str)


@each("metric")
def test_declarations(metric: Measure) -> None:
    assert isinstance(metric.higher_is_better, bool)
    assert isinstance(metric.unit, str) and metric.paper and metric.kind in KINDS and metric.part
    assert metric.protocol and "\n" not in metric.protocol
    assert metric.fingerprint()
    assert all(reader.network_id for reader in metric.readers)


@each("metric")
def test_the_protocol_names_every_network(metric: Measure) -> None:
    for reader in metric.readers:
        assert reader.network_id in metric.protocol
