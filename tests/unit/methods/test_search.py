"""Methods that sample more often than once and choose: against the laws of what they choose."""

import math

import pytest
import torch
from scipy import stats

from guidebench.losses.function import FunctionLoss
from guidebench.methods.base import Generation, Method, Setup
from guidebench.methods.none import Unguided
from guidebench.methods.search.best_of_n import BestOfN
from guidebench.methods.search.resampling import Resampling
from guidebench.models.closed_form import ClosedForm
from guidebench.problems import Problem
from guidebench.samplers.ddim import DDIM

N_PROBLEMS = 3000
"""Draws of a law that is held against its closed form."""


def undifferentiable(x: torch.Tensor) -> torch.Tensor:
    """l(x) = x_1, by way of numpy."""
    return torch.from_numpy(x.numpy()[:, 0].copy())


def setup(loss: object, n_steps: int = 4, eta: float = 0.0) -> Setup:
    """N(0, 1) in one dimension: sampled, N(0, s^2) with an s a little below 1."""
    model = ClosedForm("gaussian", dim=1)
    model.load("cpu")
    return Setup(model, DDIM(n_steps=n_steps, eta=eta), FunctionLoss(loss, "tensors"))  # type: ignore[arg-type]


def generate(method: Method, made: Setup, n: int = N_PROBLEMS) -> Generation:
    return method.generate([Problem(f"case-{i}", 0) for i in range(n)], made)


def spread(made: Setup) -> float:
    """s, from the chain's own linear algebra."""
    chain = made.chain()
    x = torch.ones(1, 1)
    for k in range(chain.n_stages):
        (x,) = chain.update((x,), made.model.eps(x, chain.times[k], None), k)
    return float(x)


@pytest.mark.parametrize("n", [2, 8])
def test_best_of_n_has_the_law_of_the_least_of_n(n: int) -> None:
    made = setup(undifferentiable)
    found, s = generate(BestOfN(n), made).latents[:, 0].numpy(), spread(made)
    least = stats.kstest(found, lambda x: 1 - stats.norm.sf(x / s) ** n)
    assert least.pvalue > 1e-3
    assert stats.kstest(found, lambda x: stats.norm.cdf(x / s)).pvalue < 1e-9  # else the first says nothing


@pytest.mark.parametrize("method", [BestOfN(1), Resampling(1), Resampling(8, scale=0.0)])
def test_the_first_sample_is_the_unguided_one(method: Method) -> None:
    made = setup(undifferentiable, eta=1.0)
    plain, found = generate(Unguided(), made, 3), generate(method, made, 3)
    assert torch.equal(plain.latents, found.latents) and plain.cost == found.cost == found.spent


def test_resampling_draws_by_weight() -> None:
    # Of N samples, K ~ Bin(N, 1/2) lie left of zero: P[left] = E[K / (K + (N - K) exp(-c))].
    n, c = 4, 1.5
    made = setup(lambda x: c / 2 * (x[:, 0] > 0).to(x))
    found = generate(Resampling(n, scale=2.0), made)
    expected = sum(stats.binom.pmf(k, n, 0.5) * k / (k + (n - k) * math.exp(-c)) for k in range(1, n + 1))
    left = int((found.latents < 0).sum())
    assert stats.binomtest(left, N_PROBLEMS, expected).pvalue > 1e-3
    weights = torch.exp(-2 * found.history["loss"])
    torch.testing.assert_close(found.history["ess"][:, 0], weights.sum(1).square() / weights.square().sum(1))


def test_a_sample_that_is_not_finite_is_not_chosen() -> None:
    made = setup(lambda x: torch.where(x[:, 0] < 0, torch.nan, x[:, 0]))
    assert (generate(BestOfN(16), made, 50).latents > 0).all()
    failed = generate(BestOfN(2), setup(lambda x: x[:, 0] * torch.nan), 3)
    assert set(failed.failures) == {0, 1, 2}
