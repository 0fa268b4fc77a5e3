import math

import pytest
import torch

from guidebench.diffusion.analytic import Gaussian, GaussianMixture, TanhNetwork
from guidebench.diffusion.schedules import ContinuousVP, ScaledLinear

SD = ScaledLinear()
MEANS = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
X = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("t", [0.0, 400.0, 999.0])
def test_mixture_predicts_minus_sigma_times_the_score(t):
    cond = torch.tensor([[0.0, 1.0, -2.0]], dtype=torch.float64).expand(5, 3)
    log_weights = torch.tensor([0.1, -0.4, 0.3], dtype=torch.float64)
    model = GaussianMixture(SD, MEANS, 0.3, log_weights)
    alpha_t, sigma_t = SD.alpha(t), SD.sigma(t)
    x = X.clone().requires_grad_()
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=cond[0] + log_weights),
        torch.distributions.MultivariateNormal(
            alpha_t * MEANS,
            (alpha_t**2 * 0.3 + sigma_t**2) * torch.eye(2, dtype=torch.float64).expand(3, 2, 2),
        ),
    )
    (score,) = torch.autograd.grad(mixture.log_prob(x).sum(), x)
    torch.testing.assert_close(model(X, t, cond), -sigma_t * score, rtol=1e-10, atol=1e-12)


def test_guidance_is_uncond_plus_scale_times_the_difference():
    cond = torch.tensor([[0.0, -math.inf, -math.inf]], dtype=torch.float64).expand(5, 3)
    plain, guided = GaussianMixture(SD, MEANS, 0.3), GaussianMixture(SD, MEANS, 0.3, cfg_scale=7.5)
    uncond, conditional = plain(X, 500.0), plain(X, 500.0, cond)
    torch.testing.assert_close(
        guided(X, 500.0, cond), uncond + 7.5 * (conditional - uncond), rtol=1e-12, atol=1e-13
    )
    assert not torch.allclose(uncond, conditional)
    assert torch.equal(guided(X, 500.0), uncond)


def test_one_component_is_a_gaussian():
    model = Gaussian(SD, MEANS[0], torch.full((2,), 0.3, dtype=torch.float64))
    torch.testing.assert_close(GaussianMixture(SD, MEANS[:1], 0.3)(X, 300.0), model(X, 300.0))
    shifted = Gaussian(SD, MEANS[0] + 1, torch.full((2,), 0.3, dtype=torch.float64))
    torch.testing.assert_close(model(X, 300.0, torch.ones(5, 2)), shifted(X, 300.0))


def test_draws_have_the_mixtures_moments():
    draws = GaussianMixture(SD, MEANS, 0.3).sample(20000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.mean(0), MEANS.mean(0), rtol=0, atol=0.03)
    expected = 0.3 + MEANS.var(0, unbiased=False)
    torch.testing.assert_close(draws.var(0), expected, rtol=0.05, atol=0)


def test_network_is_seeded_and_uses_time_and_cond():
    model = TanhNetwork(ContinuousVP(), 2, cond_dim=3, seed=4)
    cond = torch.ones(5, 3, dtype=torch.float64)
    assert torch.equal(model(X, 0.5, cond), TanhNetwork(ContinuousVP(), 2, cond_dim=3, seed=4)(X, 0.5, cond))
    assert not torch.allclose(model(X, 0.5, cond), model(X, 0.6, cond))
    assert not torch.allclose(model(X, 0.5, cond), model(X, 0.5))
    single = TanhNetwork(ContinuousVP(), 2, cond_dim=3, seed=4, dtype=torch.float32)
    assert torch.equal(single.w1, model.w1.float())
