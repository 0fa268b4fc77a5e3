"""Methods that sample more often than once and choose: against the laws of what they choose."""

import math

import pytest
import torch
from scipy import stats

from guidebench.diffusion.schedules import Linear
from guidebench.gradients.direct import Direct
from guidebench.losses.function import FunctionLoss
from guidebench.methods.base import Generation, Method, Setup
from guidebench.methods.end_to_end.dno import DNO, norm_penalty, probability_penalty
from guidebench.methods.end_to_end.pcnl import PCNL
from guidebench.methods.none import Unguided
from guidebench.methods.search.best_of_n import BestOfN
from guidebench.methods.search.fk_steering import FKSteering, systematic
from guidebench.methods.search.noise_search import NoiseSearch
from guidebench.methods.search.resampling import Resampling
from guidebench.methods.search.twisted_smc import TwistedSMC
from guidebench.models.closed_form import ClosedForm
from guidebench.problems import Problem
from guidebench.samplers.base import sample
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
    return Setup(model, DDIM(n_steps=n_steps, eta=eta), FunctionLoss(loss, "tensors"), Direct())  # type: ignore[arg-type]


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


def tilted(s: float, weight: float, centre: float) -> tuple[float, float]:
    """Mean and variance of N(0, s^2) exp(-weight (x - centre)^2 / 2)."""
    variance = 1 / (1 / s**2 + weight)
    return variance * weight * centre, variance


@pytest.mark.parametrize(
    ("method", "n_problems"),
    [
        (FKSteering(24, chosen="draw"), 300),
        (FKSteering(24, chosen="draw", every=3, resample_below=0.0), 300),
        (TwistedSMC(24), 300),
        (PCNL(n_opt=30, delta=0.5), 1500),
        (PCNL(n_opt=30, delta=0.5, langevin=False), 1500),
    ],
)
def test_the_target_is_sampled(method: Method, n_problems: int) -> None:
    weight, centre = 4.0, 1.0
    smc = isinstance(method, FKSteering)
    made = setup(lambda x: weight / 2 * (x[:, 0] - centre).square(), n_steps=8, eta=float(smc))
    prior = generate(Unguided(), setup(undifferentiable, n_steps=8, eta=float(smc))).latents
    mean, variance = tilted(float(prior.std()), weight, centre)
    found = generate(method, made, n_problems)
    law = stats.norm(mean, math.sqrt(variance)).cdf
    assert stats.kstest(found.latents[:, 0].numpy(), law).pvalue > 1e-3
    assert found.cost == found.spent
    if smc:
        assert (found.history["ess"] <= 24 * (1 + 1e-5)).all() and found.history["ess"].min() < 20


def test_guided_particles_alone_miss_the_target() -> (
    None
):  # else the test above says nothing of the correction
    made = setup(lambda x: 2.0 * (x[:, 0] - 1.0).square(), n_steps=40, eta=1.0)
    mean, variance = tilted(1.0, 4.0, 1.0)
    found = generate(TwistedSMC(1), made, 300).latents[:, 0].numpy()
    assert stats.kstest(found, stats.norm(mean, math.sqrt(variance)).cdf).pvalue < 1e-3


def test_a_particle_is_weighed_for_its_guidance() -> None:
    chain = DDIM(n_steps=5, eta=1.0).chain(Linear())
    k, x, noise = 2, torch.randn(6, 3).double(), torch.randn(6, 3).double()
    eps, change = torch.randn(6, 3).double(), torch.randn(6, 3).double()
    (x_u,) = chain.update((x,), eps + change, k, noise)
    std = chain.steps[k].c
    plain, guided = (
        torch.distributions.Normal(chain.update((x,), e, k)[0], std).log_prob(x_u).sum(1)
        for e in (eps, eps + change)
    )
    torch.testing.assert_close(TwistedSMC().correction(chain, k, change, noise), plain - guided)


def test_systematic_draws_keep_every_weight_to_a_particle() -> None:
    weights = torch.softmax(3 * torch.randn(7, 500, generator=torch.Generator().manual_seed(0)), dim=0)
    uniform = torch.rand(500, generator=torch.Generator().manual_seed(1))
    counts = torch.stack([(systematic(weights, uniform) == i).sum(0) for i in range(7)])
    assert ((counts - 7 * weights).abs() < 1 + 1e-4).all()
    many = torch.stack([(systematic(weights, (uniform + i / 99) % 1) == 0).sum(0) for i in range(99)])
    torch.testing.assert_close(many.double().mean(0), 7 * weights[0].double(), atol=0.03, rtol=0)


def test_what_is_not_finite_is_not_gone_on_from() -> None:
    made = setup(lambda x: torch.where(x[:, 0] < 0, torch.nan, x[:, 0]), eta=1.0)
    found = generate(FKSteering(12), made, 30)
    assert not found.failures and (found.latents > 0).all()
    assert set(generate(FKSteering(2), setup(lambda x: x[:, 0] * torch.nan), 3).failures) == {0, 1, 2}


def test_the_search_around_fresh_noise_is_the_best_of_n() -> None:
    made = setup(undifferentiable)
    found, s = generate(NoiseSearch(n_opt=2, n_candidates=3, radius=1.0), made, 1500), spread(made)
    least = stats.kstest(found.latents[:, 0].numpy(), lambda x: 1 - stats.norm.sf(x / s) ** 7)
    assert least.pvalue > 1e-3
    torch.testing.assert_close(found.history["loss"].amin(1), found.latents[:, 0])


def test_the_search_climbs_in_small_steps() -> None:
    losses = generate(NoiseSearch(n_opt=6, n_candidates=2, radius=0.2), setup(undifferentiable), 200).history[
        "loss"
    ]
    best = losses.cummin(1).values
    assert ((losses[:, 1:] - best[:, :-1]).abs().max() < 1.5) and (
        best[:, -1] < best[:, 0] - 0.3
    ).float().mean() > 0.7


def test_the_walk_is_in_detailed_balance() -> None:
    method = PCNL(delta=0.3)
    g = torch.Generator().manual_seed(0)
    u, v, grad_u, grad_v = torch.randn(4, 5, 3, generator=g, dtype=torch.float64)
    phi_u, phi_v = torch.randn(2, 5, generator=g, dtype=torch.float64)
    zero, std = torch.zeros_like(u), math.sqrt(8 * 0.3) / 2.3

    def log_flow(a: torch.Tensor, b: torch.Tensor, phi: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        step = torch.distributions.Normal(method.proposal(a, grad, zero), std).log_prob(b)
        return -phi - a.square().sum(1) / 2 + step.sum(1)

    expected = log_flow(v, u, phi_v, grad_v) - log_flow(u, v, phi_u, grad_u)
    found = method.rho(u, v, phi_u, grad_u) - method.rho(v, u, phi_v, grad_v)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_dno_is_adam_on_all_the_noise(eta: float) -> None:
    model, n_opt = ClosedForm("gaussian", dim=4), 5
    model.load("cpu")
    loss = FunctionLoss(lambda x: (x - 2.0).square().sum(1), "tensors")
    made = Setup(model, DDIM(n_steps=4, eta=eta), loss, Direct())
    found = generate(DNO(rate=0.05, n_opt=n_opt, regulariser="norm", weight=0.1), made, 2)
    chain, streams = made.chain(), made.streams([Problem(f"case-{i}", 0) for i in range(2)])
    x_T, noises = made.x_T(streams), made.noises(chain, streams)
    z = [x.clone().requires_grad_() for x in (x_T, *(n for n in noises if n is not None))]
    adam = torch.optim.Adam(z, lr=0.05)

    def sampled() -> torch.Tensor:
        given = iter(z[1:])
        filled = [None if n is None else next(given) for n in noises]
        return chain.output(sample(chain, model.eps, chain.init(z[0]), noises=filled))

    for _ in range(n_opt):
        adam.zero_grad()
        whole = torch.cat(z, dim=1)
        log_norm = stats_chi(whole.norm(dim=1), whole.shape[1])
        ((sampled() - 2.0).square().sum() - 0.1 * log_norm.sum()).backward()
        adam.step()
    torch.testing.assert_close(found.latents, sampled().detach(), atol=1e-5, rtol=1e-5)


def stats_chi(r: torch.Tensor, d: int) -> torch.Tensor:
    """The log-density of the chi law up to a constant."""
    return (d - 1) * r.log() - r.square() / 2


def test_the_penalties_are_their_closed_forms() -> None:
    r = torch.tensor([0.5, 2.0, 9.0], dtype=torch.float64)
    z = torch.nn.functional.one_hot(torch.tensor([0, 3, 1]), 12).double() * r[:, None]
    expected = torch.from_numpy(stats.chi(12).logpdf(r.numpy()))
    torch.testing.assert_close(norm_penalty(z).diff(), -expected.diff())
    # Where all elements are c: |mean|^2 = 2 c^2, and the covariance's distance to I is max(|2 c^2 - 1|, 1).
    c, m = 1.5, 50
    penalty = probability_penalty(torch.full((2 * m,), c, dtype=torch.float64), 2)
    mean = min(0.0, math.log(4) - m * 2 * c**2 / 4)
    far = math.sqrt(1 + 2 * c**2 - 1) - 1 - math.sqrt(2 / m)
    assert float(penalty) == pytest.approx(-mean - min(0.0, math.log(2) - m * far**2 / 2), rel=1e-9)
    noise = torch.randn(2000, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (grad,) = torch.autograd.grad(probability_penalty(noise, 2), noise)
    assert not grad.any()  # flat where it looks like noise
