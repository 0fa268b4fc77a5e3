"""Estimates of log p(y | x_t) and of its gradient, against autograd, closed forms and quadrature."""

import math

import pytest
import torch
from torch import Tensor

from guidebench.errors import ConfigError
from guidebench.measuring import peak_memory
from guidebench.methods.posterior.likelihood import at_point, draw_noise, monte_carlo


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def loss(x: Tensor) -> Tensor:
    """(n, b, d) -> (n, b), neither convex nor quadratic."""
    return (x.sin() + 0.3 * x**2).sum(-1) + x[..., 0] * x[..., 1]


X0, NOISE = normal(5, 3, seed=1), normal(20, 5, 3, seed=2)


def test_is_the_gradient_of_the_log_of_the_mean_of_the_likelihoods() -> None:
    leaf = X0.clone().requires_grad_()
    log_p = torch.logsumexp(-loss(leaf + 0.7 * NOISE), 0) - math.log(20)
    (grad,) = torch.autograd.grad(log_p.sum(), leaf)
    found = monte_carlo(loss, X0, NOISE, 0.7)
    torch.testing.assert_close(found.grad, grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.log_p, log_p.detach(), rtol=1e-12, atol=1e-12)
    weights = torch.softmax(-loss(X0 + 0.7 * NOISE), 0)
    torch.testing.assert_close(found.ess, 1 / weights.square().sum(0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("chunk", [1, 3, 7, 20, 100])
def test_chunks_change_nothing(chunk: int) -> None:
    whole = monte_carlo(lambda x: 30 * loss(x), X0, NOISE, 0.7)
    parts = monte_carlo(lambda x: 30 * loss(x), X0, NOISE, 0.7, chunk)
    for found, expected in zip(vars(parts).values(), vars(whole).values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_memory_is_that_of_a_chunk() -> None:
    x0_hat, noise = torch.zeros(2, 3, 64, 64), torch.zeros(100, 2, 3, 64, 64)

    def costly(x: Tensor) -> Tensor:
        return torch.stack([(k * x).sin().square() for k in range(4)]).sum((0, 3, 4, 5))

    def peak(n: int, chunk: int) -> int:
        return peak_memory(lambda: monte_carlo(costly, x0_hat, noise[:n], 1.0, chunk), x0_hat.device)

    assert peak(100, 100) > 8 * peak(10, 10)
    assert peak(100, 10) == pytest.approx(peak(10, 10), rel=0.2)


def test_without_spread_it_is_the_loss_at_the_point_whatever_n() -> None:
    point = at_point(loss, X0)
    leaf = X0.clone().requires_grad_()
    (grad,) = torch.autograd.grad(-loss(leaf[None]).sum(), leaf)
    torch.testing.assert_close(point.grad, grad, rtol=1e-12, atol=0)
    torch.testing.assert_close(point.log_p, -loss(X0[None])[0], rtol=1e-12, atol=0)
    assert torch.equal(point.ess, torch.ones_like(point.ess))
    for n in (1, 4, 20):
        torch.testing.assert_close(
            monte_carlo(loss, X0, NOISE[:n], 0.0).grad, point.grad, rtol=1e-12, atol=1e-12
        )


def test_equal_draws_count_once() -> None:
    """Dividing by n a second time would show here."""
    one = monte_carlo(loss, X0, NOISE[:1], 0.7)
    many = monte_carlo(loss, X0, NOISE[:1].expand(9, 5, 3), 0.7)
    torch.testing.assert_close(many.grad, one.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(many.log_p, one.log_p, rtol=1e-12, atol=1e-12)


def test_a_constant_in_the_loss_does_not_matter_but_its_scale_does() -> None:
    found = monte_carlo(lambda x: loss(x) + 1e4, X0, NOISE, 0.7)
    expected = monte_carlo(loss, X0, NOISE, 0.7)
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-10)
    scaled = monte_carlo(lambda x: 2 * loss(x), X0, NOISE, 0.7)
    assert not torch.allclose(scaled.grad, 2 * expected.grad, rtol=1e-2)


def test_large_losses_are_finite_in_single_precision() -> None:
    x = normal(4, 3, dtype=torch.float32)
    noise = normal(8, 4, 3, dtype=torch.float32, seed=3)
    found = monte_carlo(lambda x: 200 + 5 * torch.sigmoid(x.sum(-1)), x, noise, 1.0)
    assert found.grad.isfinite().all() and found.log_p.isfinite().all() and found.grad.abs().min() > 0
    assert torch.exp(-torch.tensor(200.0)) == 0  # what a plain mean of the likelihoods would take the log of


def test_a_row_does_not_depend_on_its_batch() -> None:
    whole = monte_carlo(loss, X0, NOISE, 0.7)
    for row in range(5):
        alone = monte_carlo(loss, X0[row : row + 1], NOISE[:, row : row + 1], 0.7)
        torch.testing.assert_close(alone.grad[0], whole.grad[row], rtol=1e-13, atol=1e-14)


def test_a_loss_that_mixes_the_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match="one number per sample"):
        at_point(lambda x: loss(x).mean(1), X0)


def test_the_error_falls_with_the_root_of_n_where_the_gaussian_is_exact() -> None:
    """Prior N(0, I), y = H x + sigma_y noise: r_t = sigma / sqrt(1 + sigma^2) is the exact posterior deviation."""
    sigma, sigma_y, repeats = 1.3, 0.8, 200
    H, x_t = 0.4 * normal(3, 6, seed=4), math.sqrt(1 + sigma**2) * normal(6, seed=6)
    y = H @ normal(6, seed=7) + sigma_y * normal(3, seed=5)
    x0_hat, r = x_t / (1 + sigma**2), sigma / math.sqrt(1 + sigma**2)
    covariance = sigma_y**2 * torch.eye(3, dtype=torch.float64) + r**2 * H @ H.T
    exact = H.T @ torch.linalg.solve(covariance, y - H @ x0_hat)

    def squared_error(x: Tensor) -> Tensor:
        return (y - x @ H.T).square().sum(-1) / (2 * sigma_y**2)

    def error(n: int) -> float:
        noise = normal(n, repeats, 6, seed=n)
        found = monte_carlo(squared_error, x0_hat.expand(repeats, 6), noise, r, chunk=2000).grad
        return float((found - exact).square().sum(1).mean().sqrt() / exact.norm())

    errors = [error(n) for n in (100, 1000, 10_000)]
    slope = math.log10(errors[2] / errors[0]) / 2
    assert slope == pytest.approx(-0.5, abs=0.05) and errors[2] < 0.05
    point = at_point(squared_error, x0_hat[None]).grad[0]
    assert (point - exact).norm() / exact.norm() > 0.2


@pytest.mark.parametrize("n", [7, 8])
def test_antithetic_draws_come_in_pairs(n: int) -> None:
    calls = iter(range(9))
    draws = draw_noise(lambda m: normal(m, 5, 3, seed=next(calls)), n, "antithetic")
    assert draws.shape == (n, 5, 3)
    assert torch.equal(draws[4:], -draws[: n - 4])


def test_stratified_draws_hit_every_stratum_once_in_an_order_of_their_own() -> None:
    calls = iter(range(9))
    draws = draw_noise(lambda m: normal(m, 200, 3, seed=next(calls)), 16, "stratified")
    strata = (16 * torch.special.ndtr(draws)).floor()
    every = torch.arange(16.0, dtype=torch.float64).view(16, 1, 1)
    assert torch.equal(strata.sort(0).values, every.expand(16, 200, 3))
    assert (strata[:, 0] != strata[:, 1]).any() and (strata[..., 0] != strata[..., 1]).any()
    assert abs(float(draws.std()) - 1) < 0.03 and abs(float((draws[0] * draws[1]).mean())) < 0.2
