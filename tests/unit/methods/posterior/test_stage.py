"""Injection of a gradient into the step of a sampler, in closed form."""

import math

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.analytic import Gaussian, GaussianMixture
from guidebench.diffusion.schedules import EDM, Cosine, NoiseSchedule, ScaledLinear
from guidebench.errors import ConfigError
from guidebench.methods.posterior.greedy import Greedy
from guidebench.methods.posterior.likelihood import at_point, monte_carlo
from guidebench.methods.posterior.stage import Stage
from guidebench.samplers.base import Chain
from guidebench.samplers.ddim import DDIM

MEANS = torch.tensor([[-1.0, 0.5], [1.0, 0.0], [0.2, -0.7]], dtype=torch.float64)
VP, VE = ScaledLinear(), EDM()
T, U = 700.0, 420.0


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(x: Tensor) -> Tensor:
    return 3 * (x.sin().sum(-1) + x[..., 0] * x[..., 1]) + 20


def chain_of(schedule: NoiseSchedule, t: float, u: float, eta: float = 0.0) -> Chain:
    return DDIM(1, eta=eta).chain(schedule, (t, u))


def stage_of(chain: Chain, x_t: Tensor) -> Stage:
    model = GaussianMixture(chain.schedule, MEANS, 0.2)
    return Stage(chain, 0, x_t, chain.times[0], model, None, loss, lambda n: normal(n, *x_t.shape), True)


def moved(stage: Stage, eps: Tensor) -> Tensor:
    """By how much the step differs from the unguided one."""
    noise = normal(*stage.x_t.shape, seed=9) if stage.chain.needs_noise(0) else None
    steps = [stage.chain.update((stage.x_t,), e, 0, noise)[0] for e in (eps, stage.eps)]
    return steps[0] - steps[1]


def test_pulling_back_is_the_gradient_through_the_network() -> None:
    chain, x_t = chain_of(VP, T, U), normal(4, 2)
    stage = stage_of(chain, x_t)
    leaf = x_t.clone().requires_grad_()
    eps = GaussianMixture(VP, MEANS, 0.2)(leaf, T)
    (grad,) = torch.autograd.grad(-loss((leaf - VP.sigma(T) * eps) / VP.alpha(T)).sum(), leaf)
    found = stage.pull_back(at_point(loss, stage.x0_hat).grad)
    torch.testing.assert_close(found, grad, rtol=1e-12, atol=1e-14)


def test_the_whole_gradient_is_exact_where_the_gaussian_is() -> None:
    """Prior N(0, I), y = H x + 0.8 noise: H^T (0.64 I + r^2 H H^T)^-1 (y - H x0_hat) / (1 + sigma^2), by many draws."""
    sigma, h, y = 1.3, 0.4 * normal(3, 6, seed=4), normal(3, seed=5)
    prior = Gaussian(VE, torch.zeros(6, dtype=torch.float64), torch.ones(6, dtype=torch.float64))
    x_t = math.sqrt(1 + sigma**2) * normal(1, 6, seed=6)

    def observed(x: Tensor) -> Tensor:
        return (y - x @ h.T).square().sum(-1) / (2 * 0.8**2)

    stage = Stage(
        chain_of(VE, sigma, 0.5), 0, x_t, sigma, prior, None, observed, lambda n: normal(n, 1, 6), True
    )
    estimate = monte_carlo(observed, stage.x0_hat, stage.normal(200_000), stage.paper_spread)
    covariance = 0.64 * torch.eye(3, dtype=torch.float64) + sigma**2 / (1 + sigma**2) * h @ h.T
    exact = h.T @ torch.linalg.solve(covariance, y - h @ x_t[0] / (1 + sigma**2)) / (1 + sigma**2)
    torch.testing.assert_close(
        stage.pull_back(estimate.grad)[0], exact, rtol=0, atol=0.02 * exact.norm().item()
    )


@pytest.mark.parametrize(("schedule", "t", "u"), [(VP, T, U), (VE, 3.0, 1.1), (Cosine(), 600.0, 300.0)])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_score_injections_coefficient(schedule: NoiseSchedule, t: float, u: float, eta: float) -> None:
    """eta = 1: (alpha_u^2 - alpha_t^2) / (alpha_t alpha_u), that is beta / sqrt(alpha), or sigma_t^2 - sigma_u^2."""
    stage, g = stage_of(chain_of(schedule, t, u, eta), normal(4, 2)), normal(4, 2, seed=1)
    a_t, a_u, s_t, s_u = schedule.alpha(t), schedule.alpha(u), schedule.sigma(t), schedule.sigma(u)
    if eta == 0.0:
        kappa = s_t * (a_u * s_t / a_t - s_u)
    else:
        kappa = s_t**2 - s_u**2 if schedule is VE else (a_u**2 - a_t**2) / (a_t * a_u)
    torch.testing.assert_close(moved(stage, stage.scored(g)), kappa * g, rtol=1e-10, atol=1e-12)
    x0 = (stage.x_t - s_t * stage.scored(g)) / a_t
    torch.testing.assert_close(x0, stage.x0_hat + s_t**2 / a_t * g, rtol=1e-10, atol=1e-10)


def test_the_last_step_returns_the_guided_estimate() -> None:
    stage, g = stage_of(chain_of(VE, 0.002, 0.0), normal(4, 2)), normal(4, 2, seed=1)
    end = stage.chain.update((stage.x_t,), stage.scored(g), 0)[0]
    torch.testing.assert_close(end, stage.x0_hat + 0.002**2 * g, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_the_additive_injections(eta: float) -> None:
    stage, g = stage_of(chain_of(VP, T, U, eta), normal(4, 2)), normal(4, 2, seed=1)
    a_t, a_u = VP.alpha(T), VP.alpha(U)
    log_p = -torch.tensor([1.0, 4.0, 9.0, 0.0], dtype=torch.float64)
    slopes = torch.tensor([[1 / 2], [1 / 4], [1 / 6], [0.0]], dtype=torch.float64)
    for how, coefficient in (("pigdm_paper", a_t), ("pigdm_code", a_t * a_u), ("dps_norm", slopes)):
        found = moved(stage, stage.injected(g, how, 0.7, log_p))  # type: ignore[arg-type]
        torch.testing.assert_close(found, 0.7 * coefficient * g, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(stage.injected(g, "score", 0.7, log_p), stage.scored(0.7 * g))
    with pytest.raises(ConfigError, match="pigdm_code"):
        stage.injected(g, "scores", 0.7, log_p)  # type: ignore[arg-type]


def test_dps_norm_is_the_gradient_of_the_root_of_the_loss() -> None:
    stage = stage_of(chain_of(VP, T, U), normal(4, 2))
    leaf = stage.x0_hat.clone().requires_grad_()
    (root,) = torch.autograd.grad(-loss(leaf).sqrt().sum(), leaf)
    estimate = at_point(loss, stage.x0_hat)
    found = moved(stage, stage.injected(estimate.grad, "dps_norm", 1.0, estimate.log_p))
    torch.testing.assert_close(found, root, rtol=1e-10, atol=1e-12)


def test_variance_preserving_and_exploding_are_one_process() -> None:
    """x = z / alpha at sigma = s / alpha: same r_t, g_z = g_x / alpha, same step."""
    sigma_t, sigma_u = VP.sigma(T) / VP.alpha(T), VP.sigma(U) / VP.alpha(U)
    z = normal(4, 2)
    vp, ve = stage_of(chain_of(VP, T, U), z), stage_of(chain_of(VE, sigma_t, sigma_u), z / VP.alpha(T))
    assert vp.paper_spread == pytest.approx(ve.paper_spread, rel=1e-12)
    assert vp.paper_spread == pytest.approx(VP.sigma(T), rel=1e-12)
    assert ve.paper_spread == pytest.approx(sigma_t / math.sqrt(1 + sigma_t**2), rel=1e-12)
    torch.testing.assert_close(vp.x0_hat, ve.x0_hat, rtol=1e-10, atol=1e-12)
    g_z, g_x = (
        stage.pull_back(monte_carlo(loss, stage.x0_hat, normal(8, 4, 2, seed=3), stage.paper_spread).grad)
        for stage in (vp, ve)
    )
    torch.testing.assert_close(g_z, g_x / VP.alpha(T), rtol=1e-10, atol=1e-12)
    z_u = vp.chain.update((vp.x_t,), vp.scored(g_z), 0)[0]
    x_u = ve.chain.update((ve.x_t,), ve.scored(g_x), 0)[0]
    torch.testing.assert_close(z_u / VP.alpha(U), x_u, rtol=1e-10, atol=1e-12)
    # what the authors' code of PiGDM adds is the gradient in x
    added = moved(vp, vp.injected(g_z, "pigdm_code", 1.0, torch.zeros(4))) / VP.alpha(U)
    torch.testing.assert_close(added, g_x, rtol=1e-10, atol=1e-10)


def test_the_exact_spread_needs_a_model_that_knows_it() -> None:
    def ignorant(x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        return 0.1 * x_t

    chain, x_t = chain_of(VP, T, U), normal(4, 2)
    stage = Stage(chain, 0, x_t, T, ignorant, None, loss, lambda n: normal(n, *x_t.shape), True)
    with pytest.raises(ConfigError, match=r"method\.spread=paper"):
        stage.posterior_spread()


def test_greedy_keeps_the_best_noise_of_each_row_and_finds_the_minimum() -> None:
    target = normal(4, 2, seed=3)

    def distance(x: Tensor) -> Tensor:
        return (x - target).square().sum(-1)

    model, x_t = GaussianMixture(VP, MEANS, 0.2), normal(4, 2)
    stage = Stage(
        chain_of(VP, T, U), 0, x_t, T, model, None, distance, lambda n: normal(n, *x_t.shape), False
    )

    def reached(method: Greedy) -> Tensor:
        return distance((x_t - VP.sigma(T) * method.guide(stage)) / VP.alpha(T))

    plain = distance(stage.x0_hat)
    assert (reached(Greedy(10.0, 3)) <= plain).all(), "however far the steps overshoot"
    few, many = reached(Greedy(0.01, 5)), reached(Greedy(0.01, 2000))
    assert (few < plain).all() and (many < 1e-6).all()
