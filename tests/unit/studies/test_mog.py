"""The mixture-of-Gaussians study against closed forms and the numbers that an independent implementation measured."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.schedules import EDM, Linear
from guidebench.runner.tables import compose_table
from guidebench.studies.mog import MixtureOfGaussians
from guidebench.studies.two_gaussians import (
    Quadrature,
    estimated_gradient,
    exact_gradient,
    gaussian_kl,
    mixture,
    normal_of,
    wrong_side,
)

VE = EDM()


def study(*overrides: str) -> MixtureOfGaussians:
    loaded = compose_table("lgd/mog", overrides).study
    assert isinstance(loaded, MixtureOfGaussians)
    return loaded


def kl(x: Tensor) -> float:
    return float(gaussian_kl(-1.0, 0.2, x.mean(1), x.std(1)).mean())


@pytest.mark.parametrize("sigma", [0.1, 1.0, 80.0])
def test_the_oracle_is_the_gradient_of_the_probability_of_the_left_component(sigma: float) -> None:
    x = torch.linspace(-3, 3, 31, dtype=torch.float64)[:, None] * math.sqrt(1 + sigma**2)
    v = 0.04 + sigma**2
    # sigmoid(2 x / v), the probability of the right one
    closed = -(2 / v) * torch.sigmoid(2 * x / v)
    torch.testing.assert_close(exact_gradient(VE, x, sigma), closed, rtol=1e-9, atol=1e-13)
    x0_hat = (0.04 * x + sigma**2 * torch.tanh(x / v)) / v
    model = mixture(VE)
    torch.testing.assert_close(x - sigma * model(x, sigma), x0_hat, rtol=1e-10, atol=1e-12)
    jacobian = (0.04 + sigma**2 / v / torch.cosh(x / v) ** 2) / v
    torch.testing.assert_close(model.x0_variance(x, sigma), sigma**2 * jacobian, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("t", [30.0, 500.0])
def test_the_posterior_variance_is_tweedies(t: float) -> None:
    """Var[x_0 | x_t] = sigma_t^2 / alpha_t d x0_hat / d x_t."""
    schedule = Linear()
    x = torch.linspace(-2, 2, 11, dtype=torch.float64)[:, None].requires_grad_()
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    (slope,) = torch.autograd.grad(((x - sigma * mixture(schedule)(x, t)) / alpha).sum(), x)
    expected = sigma**2 / alpha * slope
    torch.testing.assert_close(mixture(schedule).x0_variance(x.detach(), t), expected, rtol=1e-9, atol=1e-12)


def test_the_loss_is_minus_the_log_of_that_probability() -> None:
    x = torch.linspace(-1, 1, 21, dtype=torch.float64)[:, None]
    densities = [torch.distributions.Normal(mean, 0.2).log_prob(x[:, 0]) for mean in (-1.0, 1.0)]
    expected = torch.logaddexp(*densities) - densities[0]
    torch.testing.assert_close(wrong_side(x), expected, rtol=1e-6, atol=1e-9)


def test_kl_is_that_of_torch() -> None:
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(-1.0, 0.2), normal(-0.7, 0.5))
    assert float(gaussian_kl(-1.0, 0.2, -0.7, 0.5)) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize(
    ("n_steps", "std", "kl"),
    [
        (10, 0.139578, 0.166972),
        (20, 0.168652, 0.032747),
        (50, 0.187198, 0.004653),
        (1000, 0.199342, 8.9e-5),
    ],
)
def test_the_oracles_samples_have_the_deviation_of_the_closed_form(
    n_steps: int, std: float, kl: float
) -> None:
    """DDIM on one Gaussian multiplies x - mean by (0.04 + s s') / (0.04 + s^2) per step."""
    runs = 400 if n_steps < 1000 else 40
    found = study(f"source.samplers.EDM.n_steps={n_steps}", f"source.runs={runs}").samples("EDM", "oracle")
    product = math.prod((0.04 + s * u) / (0.04 + s**2) for s, u in _levels(n_steps))
    assert 80 * product == pytest.approx(std, abs=1e-6)
    assert float(gaussian_kl(-1.0, 0.2, -1 + product, 80 * product)) == pytest.approx(kl, abs=1e-6)
    error = std / math.sqrt(2 * found.numel())
    assert float(found.std()) == pytest.approx(std, abs=4 * error)
    assert float(found.mean()) == pytest.approx(-1 + product, abs=4 * std / math.sqrt(found.numel()))


def _levels(n_steps: int) -> list[tuple[float, float]]:
    ramp = [
        (80 ** (1 / 7) + i / (n_steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(n_steps)
    ]
    return list(zip(ramp, [*ramp[1:], 0.0], strict=True))


@pytest.mark.parametrize(
    ("method", "expected", "tolerance"),
    [
        ("oracle", 0.046, 0.011),
        ("lgd_dps", 2.05, 0.20),
        ("lgd_mc_1", 3.69, 0.25),
        ("lgd_mc_5", 1.15, 0.06),
        ("lgd_mc_10", 0.69, 0.08),
        ("lgd_mc_20", 0.258, 0.06),
        ("lgd_mc_100", 0.101, 0.022),
        ("stratified_20", 0.084, 0.03),
        ("exact_variance_20", 0.160, 0.05),
    ],
)
def test_kl_of_200_runs(method: str, expected: float, tolerance: float) -> None:
    assert kl(study("source.runs=200").samples("EDM", method)) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("method", "expected", "tolerance"), [("lgd_dps", 3.31, 0.25), ("lgd_mc_10", 0.274, 0.08)]
)
def test_kl_on_the_other_schedule(method: str, expected: float, tolerance: float) -> None:
    assert kl(study("source.runs=200").samples("VP", method)) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    ("method", "near", "far"),
    [
        ("lgd_dps", (15.7, 4.0), (26.0, 1.1)),
        ("lgd_mc_100", (0.66, 0.06), (0.417, 0.02)),
        ("quadrature", (0.600, 0.08), (0.1708, 0.0005)),
    ],
)
def test_the_gradients_errors(method: str, near: tuple[float, float], far: tuple[float, float]) -> None:
    records = study("source.gradient_draws=4", "source.gradient_repeats=8")._gradient_records(method)
    assert float(records["error_1"].mean()) == pytest.approx(near[0], abs=near[1])
    assert float(records["error_80"].mean()) == pytest.approx(far[0], abs=far[1])


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [1.0, 3.0, 80.0])
def test_a_million_draws_are_the_quadrature(sigma: float) -> None:
    x_t = torch.tensor([[-1.0], [0.2], [1.3]], dtype=torch.float64) * math.sqrt(1 + sigma**2) / 1.5
    method = study(
        "source.methods.lgd_mc_1000.n_mc=1000000", "source.methods.lgd_mc_1000.chunk=100000"
    ).methods["lgd_mc_1000"]
    found = estimated_gradient(method, VE, x_t, sigma, normal_of(torch.Generator().manual_seed(0), 3))
    expected = estimated_gradient(Quadrature(10_001), VE, x_t, sigma, normal_of(torch.Generator(), 3))
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0)


def test_the_study_repeats_itself_and_says_what_it_found(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    few = ["runs=2", "points=20", "gradient_points=20", "gradient_repeats=2"]
    small = study("size=smoke", *(f"source.{setting}" for setting in few))
    first, again = (small.run(lambda what: None) for _ in range(2))
    for name, records in first.records.items():
        assert set(records["row"]) >= {"lgd_dps", "lgd_mc_100"}
        assert records.equals(again.records[name])
    assert first.claims == again.claims and all("Verdict:" in claim for claim in first.claims)
    paths = small.draw(first, tmp_path, "mog")
    texts = [path.read_text() for path in paths]
    assert len(paths) == 3 and all("<svg" in text for text in texts)
    assert [path.read_text() for path in small.draw(first, tmp_path, "mog")] == texts
