"""Truncation and the one-step estimate: what they drop, and what they keep."""

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.analytic import Gaussian, TanhNetwork
from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.diffusion.schedules import ScaledLinear
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainRun
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.direct import Direct
from guidebench.gradients.one_step import OneStepEstimate
from guidebench.gradients.truncated import Truncated
from guidebench.samplers.base import draw_noises
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.dpm_solver import DPMSolver
from guidebench.samplers.edict import EDICT
from guidebench.samplers.heun import Heun

SD = ScaledLinear()
F64 = torch.float64
NETWORK = TanhNetwork(SD, 4, cond_dim=3)
PARAMS = tuple(NETWORK.parameters())


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def quartic(final: tuple[Tensor, ...]) -> Tensor:
    return ((final[0] - 0.5) ** 2).sum(1) + 0.1 * (final[0] ** 4).sum(1)


@pytest.mark.parametrize("sampler", [DDIM(8), EDICT(8), DPMSolver(8), Heun(6), DDIM(8, eta=0.5)], ids=repr)
def test_truncation_to_everything_is_exact(sampler):
    chain = sampler.chain(SD)
    state, cond = chain.init(randn(2, 4, seed=1)), randn(2, 3, seed=2).requires_grad_()
    noises = draw_noises(chain, lambda: randn(2, 4, seed=3))
    arguments = dict(cond=cond, params=PARAMS, noises=noises)
    truth = Direct().value_and_grad(ChainRun(chain, NETWORK, state, **arguments), quartic)
    for strategy in (Truncated(chain.n_stages), Truncated(1000), Checkpointed()):
        ours = strategy.value_and_grad(ChainRun(chain, NETWORK, state, **arguments), quartic)
        for a, b in zip((*ours.state_grad, ours.cond_grad, *ours.params_grad),
                        (*truth.state_grad, truth.cond_grad, *truth.params_grad), strict=True):  # fmt: skip
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_truncation_is_backpropagation_with_the_early_predictions_detached():
    chain, last_k = EDICT(8).chain(SD), 3
    x_T, cond = randn(2, 4, seed=1), randn(2, 3, seed=2)
    leaves, leaf_cond = (
        tuple(s.clone().requires_grad_() for s in chain.init(x_T)),
        cond.clone().requires_grad_(),
    )
    state = leaves
    for k in range(chain.n_stages):
        eps = NETWORK(*chain.query(state, k), leaf_cond)
        state = chain.update(state, eps.detach() if k < chain.n_stages - last_k else eps, k)
    truth = torch.autograd.grad(quartic(state).sum(), (*leaves, leaf_cond))
    counted = CountedModel(NETWORK)
    ours = Truncated(last_k).value_and_grad(
        ChainRun(chain, counted, chain.init(x_T), cond=cond.requires_grad_()), quartic
    )
    for a, b in zip((*ours.state_grad, ours.cond_grad), truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert counted.cost == Cost(chain.n_stages, last_k) == Truncated(last_k).cost(chain)


def test_no_network_at_all_leaves_the_product_of_the_chain():
    chain, counted = DDIM(8).chain(SD), CountedModel(NETWORK)
    result = Truncated(0).value_and_grad(
        ChainRun(chain, counted, (randn(2, 4, seed=1),)), lambda s: s[0].sum(1)
    )
    gain = SD.alpha(chain.times[-1]) / SD.alpha(chain.times[0])
    torch.testing.assert_close(result.state_grad[0], torch.full((2, 4), gain, dtype=F64))
    assert counted.cost == Cost(chain.n_stages, 0)


@pytest.mark.parametrize("sampler", [DDIM(8), EDICT(8), DPMSolver(8)], ids=repr)
def test_one_step_estimate_is_the_posterior_mean(sampler):
    """On Gaussian data x0_hat = mean + alpha v / (alpha^2 v + sigma^2) (x - alpha mean)."""
    mean, variance = torch.tensor([0.3, -1.0], dtype=F64), torch.tensor([0.5, 2.0], dtype=F64)
    chain, counted = sampler.chain(SD), CountedModel(Gaussian(SD, mean, variance))
    x_T = randn(3, 2, seed=1)
    result = OneStepEstimate().value_and_grad(
        ChainRun(chain, counted, chain.init(x_T)), lambda s: s[0].square().sum(1)
    )
    alpha, sigma = SD.alpha(chain.times[0]), SD.sigma(chain.times[0])
    slope = alpha * variance / (alpha**2 * variance + sigma**2)
    x0_hat = mean + slope * (x_T - alpha * mean)
    torch.testing.assert_close(result.state[0], x0_hat, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(sum(result.state_grad), 2 * x0_hat * slope, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(result.value, x0_hat.square().sum(1))
    assert counted.cost == Cost(1, 1) == OneStepEstimate().cost(chain)


def test_one_step_gradients_of_conditioning_and_parameters():
    chain, cond = DDIM(8).chain(SD), randn(2, 3, seed=2).requires_grad_()
    x_T = randn(2, 4, seed=1)
    result = OneStepEstimate().value_and_grad(
        ChainRun(chain, NETWORK, (x_T,), cond=cond, params=PARAMS), quartic
    )
    t = chain.times[0]
    x0_hat = (x_T - SD.sigma(t) * NETWORK(x_T, t, cond)) / SD.alpha(t)
    truth = torch.autograd.grad(quartic((x0_hat,)).sum(), (cond, *PARAMS))
    for a, b in zip((result.cond_grad, *result.params_grad), truth, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_refusals():
    with pytest.raises(ConfigError, match="last_k"):
        Truncated(-1)
