"""Direct, checkpointed and reversible against autograd's own loop, finite differences and closed forms."""

import gc
import math
import weakref

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.analytic import Gaussian, GaussianMixture, TanhNetwork
from guidebench.diffusion.cost import CountedModel
from guidebench.diffusion.grids import Leading, Linspace
from guidebench.diffusion.schedules import Linear, ScaledLinear
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainGradient, ChainRun
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.direct import Direct
from guidebench.gradients.reversible import Reversible
from guidebench.gradients.stage import scaled_vjp
from guidebench.samplers.base import draw_noises, sample
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.edict import EDICT

SD = ScaledLinear()
F64 = torch.float64
CHAINS = [
    pytest.param(EDICT(10), 0, id="edict even"),
    pytest.param(EDICT(25), 0, id="edict odd"),
    pytest.param(EDICT(50), 35, id="edict truncated odd"),
    pytest.param(EDICT(50, Leading(1)), 38, id="edict truncated even"),
    pytest.param(DDIM(10), 0, id="ddim"),
]
STRATEGIES = [Checkpointed(), Checkpointed(keep_graphs=3), Checkpointed(keep_graphs="auto"), Reversible()]


def randn(*shape: int, seed: int, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def mixture(cfg_scale: float, dtype: torch.dtype = F64) -> tuple[GaussianMixture, Tensor]:
    cond = torch.full((3, 8), -math.inf, dtype=dtype)
    cond[:, :2] = 0.0
    return GaussianMixture(SD, randn(8, 64, seed=0, dtype=dtype), 0.25, cfg_scale=cfg_scale), cond


def quartic(final: tuple[Tensor, ...]) -> Tensor:
    return sum(((x - 0.5) ** 2).sum(1) + 0.1 * (x**4).sum(1) for x in final)


def oracle(chain, model, state, objective, others=(), **kwargs) -> tuple[Tensor, ...]:
    """Autograd through the sampling loop, independent of `guidebench.gradients`."""
    leaves = [s.clone().requires_grad_() for s in state]
    loss = objective(sample(chain, model, tuple(leaves), **kwargs)).sum()
    return torch.autograd.grad(loss, [*leaves, *others])


def distance(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize(("sampler", "start"), CHAINS)
@pytest.mark.parametrize("cfg_scale", [1.0, 7.5])
def test_equal_autograd(sampler, start, cfg_scale, strategy):
    if strategy.needs_reversible and not sampler.is_reversible:
        pytest.skip("DDIM cannot be undone")
    model, cond = mixture(cfg_scale)
    chain = sampler.chain(SD, times=sampler.times(SD)[start:])
    state = chain.init(randn(3, 64, seed=1))
    expected = oracle(chain, model, state, quartic, cond=cond)
    result = strategy.value_and_grad(ChainRun(chain, model, state, cond=cond), quartic)
    with torch.no_grad():
        assert torch.equal(result.value, quartic(sample(chain, model, state, cond=cond)))
    for ours, truth in zip(result.state_grad, expected, strict=True):
        if isinstance(strategy, Checkpointed):
            assert torch.equal(ours, truth)
        else:
            assert distance(ours, truth) < 1e-11


@pytest.mark.parametrize(
    "sampler", [EDICT(10), DDIM(10), DDIM(10, eta=1.0)], ids=["edict", "ddim", "ddim eta 1"]
)
@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("strategy", [Direct(), *STRATEGIES], ids=repr)
def test_gradients_of_everything_equal_autograd(strategy, scheduled, sampler):
    if strategy.needs_reversible and not sampler.is_reversible:
        pytest.skip("cannot be undone")
    network = TanhNetwork(SD, 4, cond_dim=3)
    params = tuple(network.parameters())
    chain = sampler.chain(SD)
    state = chain.init(randn(3, 4, seed=1))
    if scheduled:
        cond = tuple(randn(3, 3, seed=10 + k).requires_grad_() for k in range(chain.n_stages))
    else:
        cond = randn(3, 3, seed=2).requires_grad_()
    source = iter(range(100, 200))
    noises = draw_noises(chain, lambda: randn(3, 4, seed=next(source)).requires_grad_())
    used = [w for w in noises if w is not None]
    others = [*(cond if scheduled else [cond]), *params, *used]
    expected = oracle(chain, network, state, quartic, others, cond=cond, noises=noises)
    result = strategy.value_and_grad(
        ChainRun(chain, network, state, cond=cond, params=params, noises=noises), quartic
    )
    conds = result.cond_grad if scheduled else [result.cond_grad]
    ours = [
        *result.state_grad,
        *conds,
        *result.params_grad,
        *(g for g in result.noises_grad if g is not None),
    ]
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        assert distance(a, b) < 1e-11
    assert all(p.grad is None for p in params)


@pytest.mark.parametrize("k", [1.0, 2.0])
def test_checkpointed_ddim_is_the_exact_discrete_adjoint(k):
    """a_s = (alpha_t/alpha_s) a + k c J^T a at x_s, a_z += k c J_z^T a, dL/dw = c_w a (specs: adjoint, 1.7)."""
    schedule, network = Linear(), TanhNetwork(Linear(), 4, cond_dim=3)
    eta = (k - 1.0) ** 0.5
    chain = DDIM(12, Linspace(), eta).chain(schedule)
    cond = randn(3, 3, seed=2).requires_grad_()
    noises = draw_noises(chain, lambda: randn(3, 4, seed=5).clone().requires_grad_())
    state = chain.init(randn(3, 4, seed=1))
    states = [state]
    with torch.no_grad():
        final = sample(
            chain, network, state, cond=cond, noises=noises, on_stage=lambda _, s: states.append(s)
        )
    a = 2 * final[0]
    a_z, wrt_noise = torch.zeros_like(cond), []
    for i in reversed(range(chain.n_stages)):
        x, z = states[i][0].clone().requires_grad_(), cond.detach().clone().requires_grad_()
        step = chain.steps[i]
        j_x, j_z = torch.autograd.grad(network(x, chain.times[i], z), (x, z), a)
        a_z = a_z + step.b * j_z
        wrt_noise.insert(0, step.c * a)
        a = step.a * a + step.b * j_x
    result = Checkpointed().value_and_grad(
        ChainRun(chain, network, state, cond=cond, noises=noises), lambda s: s[0].square().sum(1)
    )
    assert distance(result.state_grad[0], a) < 1e-13
    assert distance(result.cond_grad, a_z) < 1e-13
    for ours, truth in zip(result.noises_grad, wrt_noise, strict=True):
        assert (ours is None) == (eta == 0.0)
        assert ours is None or distance(ours, truth) < 1e-13


@pytest.mark.parametrize("strategy", [Direct(), Checkpointed(), Reversible()], ids=repr)
def test_directional_finite_difference(strategy):
    model, cond = mixture(7.5)
    chain = EDICT(10).chain(SD)
    x_T, direction, h = randn(3, 64, seed=1), randn(3, 64, seed=4), 1e-5
    direction = direction / direction.norm()
    result = strategy.value_and_grad(ChainRun(chain, model, chain.init(x_T), cond=cond), quartic)
    with torch.no_grad():
        plus, minus = (
            quartic(sample(chain, model, chain.init(x_T + s * h * direction), cond=cond)).sum()
            for s in (1, -1)
        )
    slope = sum((g * direction).sum() for g in result.state_grad)
    assert slope.item() == pytest.approx(((plus - minus) / (2 * h)).item(), rel=1e-6)


@pytest.mark.parametrize("strategy", [Direct(), Checkpointed(), Reversible()], ids=repr)
def test_gain_without_prediction(strategy):
    chain = EDICT(50).chain(SD)
    state = chain.init(randn(2, 4, seed=1))
    result = strategy.value_and_grad(
        ChainRun(chain, lambda x, t, cond: 0.0 * x, state), lambda s: s[0].sum(1) + s[1].sum(1)
    )
    total = result.state_grad[0] + result.state_grad[1]
    torch.testing.assert_close(
        total, torch.full_like(total, 2 * SD.alpha(0) / SD.alpha(980)), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(
    ("variance", "n_steps", "gain"),
    [(1.0, 20, 0.91261042), (0.25, 20, 0.43387994), (1.0, 10, 0.83175517), (1.0, 5, 0.684)],
)
def test_golden_gains_of_the_discrete_adjoint(variance, n_steps, gain):
    """Closed-form Gaussian, linear table, linspace grid (specs: adjoint, 9.3)."""
    model = Gaussian(Linear(), torch.zeros(1, dtype=F64), torch.tensor([variance], dtype=F64))
    chain = DDIM(n_steps, Linspace()).chain(Linear())
    result = Checkpointed().value_and_grad(
        ChainRun(chain, model, chain.init(torch.ones(1, 1, dtype=F64))), lambda s: s[0].sum(1)
    )
    assert result.state_grad[0].item() == pytest.approx(gain, abs=1e-3 if n_steps == 5 else 1e-7)


@pytest.mark.parametrize("strategy", [Direct(), *STRATEGIES[:2], Reversible()], ids=repr)
@pytest.mark.parametrize("rows", [1, 2])
def test_declared_cost_is_the_counted_cost(strategy, rows):
    model, cond = mixture(7.5 if rows == 2 else 1.0)
    for sampler in (EDICT(50), DDIM(7)):
        if strategy.needs_reversible and not sampler.is_reversible:
            continue
        chain, counted = sampler.chain(SD), CountedModel(model, rows)
        strategy.value_and_grad(
            ChainRun(chain, counted, chain.init(randn(3, 64, seed=1)), cond=cond), quartic
        )
        declared = strategy.cost(chain)
        assert (counted.cost.nfe_fwd, counted.cost.nfe_bwd) == (
            rows * declared.nfe_fwd,
            rows * declared.nfe_bwd,
        )
    if strategy == Reversible() and rows == 2:
        assert (counted.cost.nfe_fwd, counted.cost.nfe_bwd) == (392, 196)


def test_automatic_graphs_follow_the_budget():
    network = TanhNetwork(SD, 4, width=16)
    chain, state = DDIM(10).chain(SD), (randn(300, 4, seed=1),)
    n = chain.n_stages
    # A graph saves the input with its time (5 numbers) and the hidden layer (16); weights are there anyway.
    graph = 8 * 300 * (5 + 16)

    def kept(budget: float) -> int:
        counted = CountedModel(network)
        Checkpointed("auto", budget * 1e-9).value_and_grad(ChainRun(chain, counted, state), quartic)
        return 2 * n - counted.cost.nfe_fwd

    assert kept(1e9) == n - 2  # all but the two stages that were weighed
    assert kept(0) == 0
    assert kept(1.99 * graph) == 0  # two whole graphs would not fit
    assert kept(4.01 * graph) == 3  # and one for the stage under way
    assert kept(3.99 * graph) == 2


@pytest.mark.parametrize("strategy", [Direct(), *STRATEGIES], ids=repr)
def test_rows_do_not_see_their_batch(strategy):
    model, cond = mixture(7.5)
    chain = EDICT(10).chain(SD)
    x_T = randn(3, 64, seed=1) * torch.tensor([[1.0], [1e-3], [3.0]], dtype=F64)
    together = strategy.value_and_grad(ChainRun(chain, model, chain.init(x_T), cond=cond), quartic)
    for i in range(3):
        alone = strategy.value_and_grad(
            ChainRun(chain, model, chain.init(x_T[i : i + 1]), cond=cond[i : i + 1]), quartic
        )
        assert distance(alone.state_grad[0], together.state_grad[0][i : i + 1]) < 1e-11
        assert alone.value.item() == pytest.approx(together.value[i].item(), rel=1e-12)


def test_float32_reversible_follows_checkpointed():
    model, cond = mixture(7.5, torch.float32)
    chain = EDICT(50).chain(SD)
    state = chain.init(randn(3, 64, seed=1, dtype=torch.float32))
    truth: ChainGradient = Checkpointed().value_and_grad(ChainRun(chain, model, state, cond=cond), quartic)
    ours = Reversible().value_and_grad(ChainRun(chain, model, state, cond=cond), quartic)
    assert distance(ours.state_grad[0], truth.state_grad[0]) < 1e-3
    assert torch.cosine_similarity(ours.state_grad[0], truth.state_grad[0]).min() > 0.9999


class HalfNetwork:
    """A network in float16 under float32 latents, as on a GPU."""

    def __init__(self) -> None:
        self.network = TanhNetwork(SD, 8, dtype=torch.float16)

    def __call__(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        return self.network(x_t.half(), t).float()


def test_half_precision_networks_do_not_swallow_small_gradients():
    chain, state = EDICT(10).chain(SD), (randn(2, 8, seed=1).float(),) * 2

    def gradient(strategy, scale: float) -> Tensor:
        return strategy.value_and_grad(
            ChainRun(chain, HalfNetwork(), state), lambda s: scale * s[0].square().sum(1)
        ).state_grad[0]

    large = gradient(Checkpointed(), 1.0)
    assert distance(gradient(Checkpointed(), 2.0**-30) * 2.0**30, large) == 0.0
    assert distance(gradient(Reversible(), 2.0**-30) * 2.0**30, large) < 1e-2
    assert distance(gradient(Direct(), 2.0**-30) * 2.0**30, large) > 0.01  # the control: no scaling there


def test_half_precision_rows_do_not_see_their_batch():
    """A row a billion times smaller than its neighbour keeps its digits."""
    chain, x_T = EDICT(10).chain(SD), randn(2, 8, seed=1).float()
    weight = torch.tensor([1.0, 1e-9])

    def gradient(rows: slice) -> Tensor:
        objective = lambda s: weight[rows] * s[0].square().sum(1)  # noqa: E731
        return (
            Checkpointed()
            .value_and_grad(ChainRun(chain, HalfNetwork(), chain.init(x_T[rows])), objective)
            .state_grad[0]
        )

    assert distance(gradient(slice(0, 2))[1:], gradient(slice(1, 2))) < 1e-3


def test_graphs_are_weighed_once_for_a_network_and_a_batch():
    """The stages that were weighed keep no graph; so a run that keeps all has weighed none."""
    strategy, chain = Checkpointed("auto", 1.0), DDIM(10).chain(SD)
    one, other = (CountedModel(TanhNetwork(SD, 4, width=16)) for _ in range(2))

    def kept(counted: CountedModel, b: int) -> int:
        before = counted.cost
        strategy.value_and_grad(ChainRun(chain, counted, (randn(b, 4, seed=1),)), quartic)
        return 2 * chain.n_stages - (counted.cost - before).nfe_fwd

    n = chain.n_stages
    assert [kept(one, 3), kept(one, 3), kept(one, 3)] == [n - 2, n, n]
    assert [kept(other, 3), kept(other, 3)] == [n - 2, n]
    assert [kept(other, 5), kept(other, 5)] == [n - 2, n]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cotangents_below_the_least_normal_number_keep_their_direction(dtype: torch.dtype) -> None:
    """The inverse of their power of two is no number of that type."""
    x = randn(2, 8, seed=1).to(dtype).requires_grad_()
    tiny = torch.finfo(dtype).tiny
    cotangent = torch.tensor([[2.0**-3], [1.0]], dtype=dtype) * tiny * torch.ones(2, 8, dtype=dtype)
    (grad,) = scaled_vjp((3 * x,), (x,), (cotangent,), per_row=True)
    assert torch.equal(grad, 3 * cotangent) and grad[0].abs().sum() > 0


def test_parameters_in_half_precision_get_the_gradient_of_a_small_cotangent() -> None:
    """The power of two by which it is enlarged, 2^24, is itself beyond half precision."""
    x, weight = randn(2, 8, seed=1).float(), torch.full((8,), 0.5, dtype=torch.float16, requires_grad=True)
    cotangent = torch.full((2, 8), 2.0**-24)
    (grad,) = scaled_vjp(((2**12 * x) * weight.float(),), (weight,), (cotangent,), per_row=False)
    torch.testing.assert_close(grad.float(), 2.0**-12 * x.sum(0), rtol=1e-3, atol=2.0**-24)


def test_stages_are_reported_and_nothing_is_left_behind():
    network = TanhNetwork(SD, 4)
    chain, state = EDICT(5).chain(SD), (randn(2, 4, seed=1),) * 2
    for strategy in (Direct(), Checkpointed(), Checkpointed(2), Reversible()):
        seen: list[int] = []
        result = strategy.value_and_grad(
            ChainRun(chain, network, state, on_stage=lambda k, s, seen=seen: seen.append(k)), quartic
        )
        assert seen == list(range(chain.n_stages))
        assert not any(x.requires_grad for x in (result.value, *result.state, *result.state_grad))
        assert result.cond_grad is None and result.params_grad == ()
    assert all(p.grad is None for p in network.parameters())


def test_works_under_no_grad():
    model, cond = mixture(1.0)
    chain = EDICT(5).chain(SD)
    state = chain.init(randn(3, 64, seed=1))
    with torch.no_grad():
        results = [
            s.value_and_grad(ChainRun(chain, model, state, cond=cond), quartic)
            for s in (Direct(), *STRATEGIES)
        ]
    assert all(distance(r.state_grad[0], results[0].state_grad[0]) < 1e-11 for r in results)


def test_refusals():
    chain = DDIM(5).chain(SD)
    with pytest.raises(ConfigError, match="sampler=edict"):
        Reversible().value_and_grad(ChainRun(chain, lambda x, t, c: x, (torch.ones(1, 2),)), quartic)
    halves = (torch.ones(1, 2, dtype=torch.float16),) * 2
    with pytest.raises(ConfigError, match="float32 latents"):
        Reversible().value_and_grad(ChainRun(EDICT(5).chain(SD), lambda x, t, c: x, halves), quartic)
    for bad in (-1, "all", 2.5):
        with pytest.raises(ConfigError, match="keep_graphs"):
            Checkpointed(bad)


@pytest.mark.parametrize("keep_graphs", ["auto", 0, 3])
def test_nothing_of_a_chain_outlives_its_gradient(keep_graphs: int | str) -> None:
    """A graph that holds itself is invisible to Python's collector: memory would grow with every optimisation step."""
    alive: list[weakref.ref[torch.Tensor]] = []

    def eps_model(x: torch.Tensor, t: float, cond: torch.Tensor | None) -> torch.Tensor:
        hidden = torch.softmax(x * (1 + t / 1000), dim=-1)  # saves its own output
        alive.append(weakref.ref(hidden))
        return torch.tanh(hidden)

    chain, x_T = EDICT(10).chain(SD), randn(2, 8, seed=1).float()
    strategy = Checkpointed(keep_graphs=keep_graphs, memory_budget_gb=1e-3)
    strategy.value_and_grad(ChainRun(chain, eps_model, chain.init(x_T)), lambda s: s[0].square().sum(1))
    gc.collect()
    assert alive and not any(reference() is not None for reference in alive)
