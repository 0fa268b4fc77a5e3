import math

import pytest
import torch

from guidebench.diffusion.prediction import Prediction


@pytest.mark.parametrize("alpha_sigma", [(0.8, 0.6), (1.0, 3.0), (0.3, 0.7)], ids=["VP", "VE", "flow"])
@pytest.mark.parametrize("kind", ["eps", "x0", "v", "flow", "score"])
def test_every_parameterisation_tells_the_same(kind, alpha_sigma):
    alpha_t, sigma_t = alpha_sigma
    x0, eps = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    truth = {
        "x0": x0,
        "eps": eps,
        "v": alpha_t * eps - sigma_t * x0,
        "score": -eps / sigma_t,
        "flow": eps - x0,
    }
    told = Prediction(kind, truth[kind], alpha_t * x0 + sigma_t * eps, alpha_t, sigma_t)
    for name, expected in truth.items():
        torch.testing.assert_close(getattr(told, name), expected, rtol=0, atol=1e-13)


def test_score_is_the_gradient_of_the_log_density():
    x, alpha_t, sigma_t = torch.tensor([0.7], dtype=torch.float64, requires_grad=True), 0.5, math.sqrt(0.75)
    variance = alpha_t**2 * 0.3 + sigma_t**2
    (score,) = torch.autograd.grad(-((x - alpha_t) ** 2) / (2 * variance), x)
    x0_hat = 1.0 + alpha_t * 0.3 / variance * (x - alpha_t)  # posterior mean of N(1, 0.3)
    torch.testing.assert_close(Prediction("x0", x0_hat, x, alpha_t, sigma_t).score, score)


@pytest.mark.parametrize("kind", ["x0", "v", "flow"])
def test_in_pure_noise_a_sampler_is_told_the_sample(kind):
    x0, x_t = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value = {"x0": x0, "v": -x0, "flow": x_t - x0}[kind]
    prediction = Prediction(kind, value, x_t, 0.0, 1.0)
    torch.testing.assert_close(prediction.told, x0)
    torch.testing.assert_close(prediction.eps, x_t)
    again = Prediction.of_told(prediction.told, x_t, 0.0, 1.0)
    torch.testing.assert_close(again.x0, x0)
    torch.testing.assert_close(again.eps, x_t)


def test_unknown_kind():
    with pytest.raises(ValueError, match="unknown parameterisation"):
        _ = Prediction("noise", torch.ones(1), torch.ones(1), 0.8, 0.6).eps
