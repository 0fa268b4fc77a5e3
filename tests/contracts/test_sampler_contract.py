"""What every sampler and every gradient strategy promises: discovered from conf/."""

from itertools import pairwise

import pytest
import torch
from components import FIXED_COST, choices, each, job
from torch import Tensor

from guidebench.diffusion.analytic import TanhNetwork
from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.diffusion.schedules import ScaledLinear
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainRun, GradientStrategy
from guidebench.samplers.base import ReversibleChain, Sampler, draw_noises, invert, sample

SCHEDULE = ScaledLinear()
NETWORK = TanhNetwork(SCHEDULE, 4).requires_grad_(False)


def normal(seed: int) -> Tensor:
    return torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


FITTED = {"heun_stochastic": ["sampler.s_tmax=10"]}
"""Its own 50 is for ADM's noise levels: churn would lead beyond this schedule's highest, 14.6."""


def sampler_of(name: str, n_steps: int = 5, *others: str) -> Sampler:
    return job(f"sampler={name}", f"sampler.n_steps={n_steps}", *FITTED.get(name, []), *others).build(
        "sampler"
    )


def strategy_of(name: str) -> GradientStrategy:
    """Without `keep_graphs: auto`, which spends what memory allows and declares the worst case."""
    return job(f"gradient={name}", *FIXED_COST.get(name, [])).build("gradient")


@each("sampler")
@pytest.mark.parametrize("n_steps", [4, 5])
def test_a_chain_keeps_what_its_sampler_declares(name: str, n_steps: int) -> None:
    sampler = sampler_of(name, n_steps)
    chain = sampler.chain(SCHEDULE)
    assert len(chain.times) == n_steps + 1
    assert all(later <= earlier for earlier, later in pairwise(chain.times))
    assert chain.times[-1] < chain.times[0]
    assert 0 < chain.n_stages <= sampler.nfe_per_step * n_steps
    assert any(chain.needs_noise(k) for k in range(chain.n_stages)) == sampler.is_stochastic
    assert isinstance(chain, ReversibleChain) == sampler.is_reversible
    assert sampler.order >= 1 and sampler.paper


@each("sampler")
def test_sampling_asks_once_per_stage_and_draws_nothing_itself(name: str) -> None:
    chain = sampler_of(name).chain(SCHEDULE)
    counted = CountedModel(NETWORK)
    seeds = iter(range(100))
    noises = draw_noises(chain, lambda: normal(next(seeds)))
    state = torch.get_rng_state()
    x_T = SCHEDULE.prior_std * normal(1000)
    x0 = chain.output(sample(chain, counted, chain.init(x_T), noises=noises))
    assert counted.cost == Cost(nfe_fwd=chain.n_stages)
    assert x0.shape == (3, 4) and x0.dtype == torch.float64 and x0.isfinite().all()
    assert torch.equal(x0, chain.output(sample(chain, NETWORK, chain.init(x_T), noises=noises)))
    alone = sample(chain, NETWORK, chain.init(x_T[1:2]), noises=[w if w is None else w[1:2] for w in noises])
    torch.testing.assert_close(chain.output(alone)[0], x0[1], atol=1e-10, rtol=1e-10)
    assert torch.equal(state, torch.get_rng_state())


@each("sampler")
def test_a_reversible_chain_is_undone(name: str) -> None:
    sampler = sampler_of(name)
    chain = sampler.chain(SCHEDULE)
    start = chain.init(SCHEDULE.prior_std * normal(0))
    if not sampler.is_reversible:
        with pytest.raises(ConfigError, match="cannot be undone"):
            invert(chain, NETWORK, start)
        return
    back = invert(chain, NETWORK, sample(chain, NETWORK, start))
    for found, expected in zip(back, start, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@each("gradient")
@pytest.mark.parametrize("sampler", choices("sampler"))
@pytest.mark.filterwarnings(
    "ignore:AdjointDEIS"
)  # five steps are too few for it, and enough to count and compare
def test_a_gradient_is_what_its_strategy_declares(name: str, sampler: str) -> None:
    strategy = strategy_of(name)
    chain = sampler_of(sampler).chain(SCHEDULE)
    seeds = iter(range(100))
    noises = draw_noises(chain, lambda: normal(next(seeds)))
    start = chain.init(SCHEDULE.prior_std * normal(1000))

    def objective(final: tuple[Tensor, ...]) -> Tensor:
        return (chain.output(final) - 0.5).square().sum(1)

    counted = CountedModel(NETWORK)
    try:
        result = strategy.value_and_grad(ChainRun(chain, counted, start, noises=noises), objective)
    except ConfigError as refused:
        advised = any(advice in str(refused) for advice in ("choose ", "set "))
        holds_for_every_chain = strategy.is_exact and not strategy.needs_reversible
        if not advised or holds_for_every_chain:
            raise
        return
    assert counted.cost == strategy.cost(chain)
    torch.testing.assert_close(result.value, objective(result.state))
    for gradient, member in zip(result.state_grad, start, strict=True):
        assert gradient.shape == member.shape and gradient.isfinite().all() and not gradient.requires_grad
    if strategy.is_exact:
        leaves = tuple(s.clone().requires_grad_() for s in start)
        value = objective(sample(chain, NETWORK, leaves, noises=noises))
        truth = torch.autograd.grad(value.sum(), leaves, allow_unused=True)
        torch.testing.assert_close(result.value, value.detach())
        for gradient, exact in zip(result.state_grad, truth, strict=True):
            exact = torch.zeros_like(gradient) if exact is None else exact
            torch.testing.assert_close(gradient, exact, atol=1e-9, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:AdjointDEIS")
@each("gradient")
def test_every_strategy_works_with_ddim_or_edict(name: str) -> None:
    """So that the contract above is skipped throughout for none."""
    strategy = strategy_of(name)
    chain = sampler_of("edict" if strategy.needs_reversible else "ddim").chain(SCHEDULE)
    result = strategy.value_and_grad(
        ChainRun(chain, NETWORK, chain.init(normal(0))), lambda final: final[0].sum(1)
    )
    assert result.state_grad[0].abs().sum() > 0


def test_keeping_graphs_costs_no_more_than_declared() -> None:
    strategy: GradientStrategy = job("gradient=checkpointed").build("gradient")
    chain, counted = sampler_of("ddim").chain(SCHEDULE), CountedModel(NETWORK)
    strategy.value_and_grad(ChainRun(chain, counted, chain.init(normal(0))), lambda final: final[0].sum(1))
    assert counted.cost.nfe_bwd == strategy.cost(chain).nfe_bwd
    assert counted.cost.nfe_fwd < strategy.cost(chain).nfe_fwd  # there is memory for so small a network


@each("sampler")
def test_a_step_moves_by_what_is_added_to_the_noise_over_its_gain(name: str) -> None:
    sampler = sampler_of(name)
    times = sampler.times(SCHEDULE)
    for i in (0, 2):
        chain = sampler.chain(SCHEDULE, times[i : i + 2])
        noises = draw_noises(chain, lambda: normal(9))
        ends = []
        for shift in (0.0, 0.25):
            state = chain.init(normal(1))
            for k in range(chain.n_stages):
                chain.query(state, k)
                state = chain.update(state, normal(2) + shift / chain.gain(k), k, noises[k])
            ends.append(chain.output(state))
        torch.testing.assert_close(ends[1], ends[0] + 0.25, rtol=1e-10, atol=1e-10)


@each("sampler")
@pytest.mark.parametrize("step", [0, 2])
def test_a_step_taken_back_has_the_noise_of_where_it_began(name: str, step: int) -> None:
    x_0 = torch.tensor([0.5, -2.0, 30.0, 0.0], dtype=torch.float64)
    churned = name == "heun_stochastic"  # `init` takes pure noise for granted, and `after` is not
    sampler = sampler_of(name, 5, *["sampler.s_churn=0"] * churned)
    chain = sampler.chain(SCHEDULE)
    u, first = chain.times[step + 1], next(k for k in range(chain.n_stages) if chain.step_of(k) == step)
    generator = torch.Generator().manual_seed(1)

    def draw() -> Tensor:
        return torch.randn(5000, 4, dtype=torch.float64, generator=generator)

    after = sampler.chain(SCHEDULE, chain.times[step + 1 :]).init(
        SCHEDULE.alpha(u) * x_0 + SCHEDULE.sigma(u) * draw()
    )
    x_t, t = chain.query(chain.rewind(after, step, draw()), first)
    noise = (x_t - SCHEDULE.alpha(t) * x_0) / SCHEDULE.sigma(t)
    assert float(noise.mean(0).abs().max()) < 0.06 and float(noise.std()) == pytest.approx(1.0, abs=0.03)
