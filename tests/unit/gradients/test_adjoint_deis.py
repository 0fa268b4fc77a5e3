"""AdjointDEIS against hand-computed steps, closed forms, the continuous gradient, and its own controls."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.analytic import Gaussian, TanhNetwork
from guidebench.diffusion.cost import CountedModel
from guidebench.diffusion.grids import Explicit, Leading, Linspace, UniformLambda
from guidebench.diffusion.schedules import ContinuousVP, Linear
from guidebench.errors import ConfigError
from guidebench.gradients.adjoint_deis import AdjointDEIS
from guidebench.gradients.adjoint_dpm import AdjointDPM
from guidebench.gradients.base import ChainRun
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.samplers.base import Sampler, draw_noises
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.dpm_solver import DPMSolver
from guidebench.samplers.edict import EDICT
from guidebench.samplers.sde_dpm_solver import SDEDPMSolver

F64 = torch.float64
VP, LINEAR = ContinuousVP(), Linear()
NETWORK = TanhNetwork(VP, 4, cond_dim=3, seed=0)
PARAMS = tuple(NETWORK.parameters())


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


X_T, COND = randn(2, 4, seed=1), randn(2, 3, seed=2)


def distance(ours: Tensor, truth: Tensor) -> float:
    return ((ours - truth).norm() / truth.norm()).item()


def quartic(final: tuple[Tensor, ...]) -> Tensor:
    x = final[0]
    return ((x - 0.5) ** 2).sum(1) + 0.1 * (x**4).sum(1)


def ode_gradient(n_steps: int) -> tuple[Tensor, ...]:
    """d quartic(x_0) / d (x_T, cond, params) of dy/dlam = -exp(-lam) eps(alpha y, t), y = x/alpha, by RK4."""
    x_T, cond = X_T.clone().requires_grad_(), COND.clone().requires_grad_()
    first, last = VP.lam(VP.t_max), VP.lam(VP.t_min)
    y, h = x_T / VP.alpha(VP.t_max), (last - first) / n_steps

    def slope(lam: float, y: Tensor) -> Tensor:
        t = VP.time_of_lam(min(lam, last))
        return -math.exp(-lam) * NETWORK(VP.alpha(t) * y, t, cond)

    for i in range(n_steps):
        lam = first + i * h
        k1 = slope(lam, y)
        k2 = slope(lam + h / 2, y + h / 2 * k1)
        k3 = slope(lam + h / 2, y + h / 2 * k2)
        k4 = slope(lam + h, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return torch.autograd.grad(quartic((VP.alpha(VP.t_min) * y,)).sum(), (x_T, cond, *PARAMS))


@pytest.fixture(scope="module")
def truth() -> tuple[Tensor, ...]:
    return ode_gradient(300)


def gradients(strategy, sampler: Sampler, power: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """(x_T, cond, all parameters) on the smooth network."""
    cond, chain = COND.clone().requires_grad_(), sampler.chain(VP)
    if power is not None:
        chain.noise_power = power
    result = strategy.value_and_grad(
        ChainRun(chain, NETWORK, chain.init(X_T), cond=cond, params=PARAMS), quartic
    )
    assert isinstance(result.cond_grad, Tensor)
    return result.state_grad[0], result.cond_grad, torch.cat([g.flatten() for g in result.params_grad])


def errors(strategy, sampler: Sampler, truth: tuple[Tensor, ...], power: float | None = None) -> list[float]:
    theta = torch.cat([g.flatten() for g in truth[2:]])
    ours = gradients(strategy, sampler, power)
    return [distance(a, b) for a, b in zip(ours, (truth[0], truth[1], theta), strict=True)]


# -- single steps ----------------------------------------------------------------------------------------------------


def linear_eps(slopes: dict[float, float]):
    return lambda x_t, t, cond=None: slopes[t] * x_t


def test_golden_first_order_step():
    """a_s = (alpha_t/alpha_s)(a + c J a) with J taken at the known node."""
    for t, s, coefficient in ((500, 550, -0.4091747710), (0, 50, -0.1685440948), (949, 999, -1.0418976428)):
        chain = DDIM(1, Explicit((s, t))).chain(LINEAR)
        model = linear_eps({float(t): 0.7, float(s): 123.0})
        result = AdjointDEIS().value_and_grad(
            ChainRun(chain, model, (torch.ones(1, 1, dtype=F64),)), lambda x: x[0].sum(1)
        )
        ratio = LINEAR.alpha(t) / LINEAR.alpha(s)
        assert result.state_grad[0].item() == pytest.approx(ratio + 0.7 * coefficient, abs=1e-9)


def test_golden_multistep_step():
    """Nodes 450, 500, 550, J = .7, .6, a = 1.0, 1.1 gives a_s = 1.2668089695: the one test that sees rho inverted.

    The first step is made to arrive at 1.1 by choosing a_r and J_r of the same product J_r a_r = .7.
    """
    ratio, c = LINEAR.transfer(500, 450)
    a_r = 1.1 / ratio - c * 0.7
    model = linear_eps({450.0: 0.7 / a_r, 500.0: 0.6, 550.0: 123.0})
    chain = DDIM(2, Explicit((550, 500, 450))).chain(LINEAR)
    result = AdjointDEIS("deis-2m").value_and_grad(
        ChainRun(chain, model, (torch.ones(1, 1, dtype=F64),)), lambda x: a_r * x[0].sum(1)
    )
    assert result.state_grad[0].item() == pytest.approx(1.2668089695, abs=1e-9)
    lam = [LINEAR.lam(t) for t in (450, 500, 550)]
    assert (lam[1] - lam[0]) / (lam[2] - lam[1]) == pytest.approx(0.9452056042, abs=1e-10)


@pytest.mark.filterwarnings("ignore:AdjointDEIS")
@pytest.mark.parametrize(
    ("strategy", "variance", "n_steps", "gain"),
    [
        (AdjointDEIS(), 1.0, 20, 0.06054839),
        (AdjointDEIS("deis-2m"), 1.0, 20, 2.85190393),
        (AdjointDEIS(variant="official"), 1.0, 20, 0.05973390),
        (AdjointDEIS(), 0.25, 20, 0.02416335),
        (AdjointDEIS("deis-2m"), 0.25, 20, 1.59662627),
        (AdjointDEIS(), 1.0, 10, -0.01773380),
        (AdjointDEIS("deis-2m"), 1.0, 10, 16.23372140),
    ],
    ids=repr,
)
def test_golden_gains_of_gaussian_data(strategy, variance, n_steps, gain):
    """Closed forms at the paper's own numbers of steps, linear table, linspace grid; the ODE's gain is 1."""
    model = Gaussian(LINEAR, torch.zeros(1, dtype=F64), torch.tensor([variance], dtype=F64))
    chain = DDIM(n_steps, Linspace()).chain(LINEAR)
    result = strategy.value_and_grad(
        ChainRun(chain, model, (torch.ones(1, 1, dtype=F64),)), lambda x: x[0].sum(1)
    )
    assert result.state_grad[0].item() == pytest.approx(gain, abs=1e-7)


def test_the_closed_form_gain_of_the_ode():
    model = Gaussian(LINEAR, torch.zeros(2, dtype=F64), torch.tensor([1.0, 0.25], dtype=F64))
    torch.testing.assert_close(
        model.ode_gain(999, 0), torch.tensor([1.0, 0.50008256], dtype=F64), rtol=0, atol=1e-8
    )


# -- order -----------------------------------------------------------------------------------------------------------


def by_lambda(n_steps: int, solver: int = 2) -> DPMSolver:
    return DPMSolver(n_steps, UniformLambda(), solver)


CASES = {
    # name: (adjoint and sampler at M nodes, declared order, range of the slope)
    "deis-1, exact states": (
        lambda m: (AdjointDEIS(n_steps=m, grid=UniformLambda()), by_lambda(4 * m)),
        1,
        (0.9, 1.15),
    ),
    "deis-1, DDIM states": (lambda m: (AdjointDEIS(), DDIM(m, UniformLambda())), 1, (0.85, 1.15)),
    "deis-2m, exact states": (
        lambda m: (AdjointDEIS("deis-2m", n_steps=m, grid=UniformLambda()), by_lambda(4 * m)),
        2,
        (1.75, 2.25),
    ),
    "deis-2m, 2M states": (lambda m: (AdjointDEIS("deis-2m"), by_lambda(m)), 2, (1.75, 2.25)),
    "deis-2m, inverted2": (
        lambda m: (AdjointDEIS("deis-2m", "inverted2", m, UniformLambda()), by_lambda(4 * m)),
        2,
        (1.75, 2.25),
    ),
}


def slopes(case, truth, power: float | None = None) -> list[float]:
    coarse, fine = (errors(*case(m), truth, power) for m in (160, 320))
    return [math.log2(a / b) for a, b in zip(coarse, fine, strict=True)]


@pytest.mark.parametrize("name", CASES)
def test_fitted_order_is_the_declared_one(name, truth):
    case, order, (low, high) = CASES[name]
    assert case(160)[0].order == order
    for slope in slopes(case, truth):
        assert low < slope < high


def test_first_order_states_make_a_first_order_gradient(truth):
    """Second order needs states of second order: DDIM's and inverted1's are not."""
    ddim = slopes(lambda m: (AdjointDEIS("deis-2m"), DDIM(m, UniformLambda())), truth)
    assert all(slope < 1.3 for slope in ddim)
    inverted = slopes(
        lambda m: (AdjointDEIS("deis-2m", "inverted1", m, UniformLambda()), by_lambda(4 * m)), truth
    )
    assert inverted[0] < 1.3
    assert AdjointDEIS("deis-2m", "inverted1").order == 1


def test_dense_states_between_sampling_times(truth):
    """M != N: 120 adjoint nodes between 80 sampling steps, with no evaluation beyond theirs."""
    strategy = AdjointDEIS("deis-2m", "dense", 120, UniformLambda())
    chain, counted = by_lambda(80).chain(VP), CountedModel(NETWORK)
    result = strategy.value_and_grad(ChainRun(chain, counted, chain.init(X_T), cond=COND), quartic)
    assert (counted.cost.nfe_fwd, counted.cost.nfe_bwd) == (200, 120)
    assert distance(result.state_grad[0], truth[0]) < 0.02
    sparse = errors(AdjointDEIS("deis-2m", "dense", 40, UniformLambda()), by_lambda(80), truth)
    assert 0.1 < sparse[0] < 0.4


@pytest.mark.parametrize("wrong", ["k = 2 on an ODE", "wrong sign of h", "inverted ratio"])
def test_negative_controls_do_not_converge(wrong, truth, monkeypatch):
    power = 2.0 if wrong == "k = 2 on an ODE" else None
    if power is None:
        right = ContinuousVP.transfer

        def transfer(self, t, u):
            a, b = right(self, t, u)
            return (a, -b) if wrong == "wrong sign of h" else (1 / a, b)

        sampler = DDIM(320, UniformLambda()).chain(VP)
        monkeypatch.setattr(ContinuousVP, "transfer", transfer)
    else:
        sampler = DDIM(320, UniformLambda()).chain(VP)
        sampler.noise_power = power
    cond = COND.clone().requires_grad_()
    result = AdjointDEIS().value_and_grad(ChainRun(sampler, NETWORK, sampler.init(X_T), cond=cond), quartic)
    assert distance(result.state_grad[0], truth[0]) > 0.3


def test_skipping_an_interval_costs_the_second_order():
    """What the official loop leaves out is of first order in the step."""

    def left_out(m: int) -> float:
        sampler = DPMSolver(m, Linspace())
        paper, official = (
            gradients(AdjointDEIS("deis-2m", variant=v), sampler) for v in ("paper", "official")
        )
        return distance(official[1], paper[1])

    assert AdjointDEIS("deis-2m", variant="official").order == 1
    assert 0.7 < math.log2(left_out(80) / left_out(160)) < 1.3


# -- identities ------------------------------------------------------------------------------------------------------


def test_adjoint_dpm_with_euler_is_deis_1_with_inverted_states():
    sampler = DDIM(25, UniformLambda())
    deis = gradients(AdjointDEIS(states="inverted1"), sampler)
    dpm = gradients(AdjointDPM("euler"), sampler)
    for a, b in zip(deis, dpm, strict=True):
        assert distance(a, b) < 1e-12


@pytest.mark.parametrize(
    ("method", "n_steps", "order", "slack"),
    [("midpoint", 160, 2, 0.2), ("heun", 160, 2, 0.2), ("rk4", 20, 4, 0.6)],
)
def test_runge_kutta_in_rho_has_its_order(method, n_steps, order, slack, truth):
    assert AdjointDPM(method).order == order
    fine = by_lambda(1280)
    pair = [errors(AdjointDPM(method, m, UniformLambda()), fine, truth)[1] for m in (n_steps, 2 * n_steps)]
    assert abs(math.log2(pair[0] / pair[1]) - order) < slack


def test_rk4_reaches_the_continuous_gradient():
    """On linear data the whole chain has a closed form: gain and gradient to 1e-6."""
    model = Gaussian(VP, torch.zeros(3, dtype=F64), torch.tensor([0.2, 0.7, 2.0], dtype=F64))
    chain = DPMSolver(250, UniformLambda()).chain(VP)
    result = AdjointDPM("rk4").value_and_grad(
        ChainRun(chain, model, chain.init(torch.ones(1, 3, dtype=F64))), lambda x: x[0].sum(1)
    )
    torch.testing.assert_close(result.state_grad[0][0], model.ode_gain(VP.t_max, VP.t_min), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "strategy", [AdjointDEIS(), AdjointDEIS("deis-2m"), AdjointDPM("rk4"), Checkpointed()], ids=repr
)
def test_scheduled_conditioning_is_the_sum_of_its_parts(strategy):
    """The gradient of a constant shift of a schedule z_k equals the sum of the per-stage gradients."""
    chain = DDIM(12, UniformLambda()).chain(VP)
    constant = COND.clone().requires_grad_()
    scheduled = tuple(COND.clone().requires_grad_() for _ in range(chain.n_stages))
    state = chain.init(X_T)
    whole = strategy.value_and_grad(ChainRun(chain, NETWORK, state, cond=constant), quartic)
    parts = strategy.value_and_grad(ChainRun(chain, NETWORK, state, cond=scheduled), quartic)
    assert isinstance(whole.cond_grad, Tensor) and isinstance(parts.cond_grad, tuple)
    assert distance(torch.stack(list(parts.cond_grad)).sum(0), whole.cond_grad) < 1e-12
    assert distance(parts.state_grad[0], whole.state_grad[0]) < 1e-13
    assert sum(g.norm() > 0 for g in parts.cond_grad) >= chain.n_stages - 1


# -- the SDE ---------------------------------------------------------------------------------------------------------


def test_sde_on_a_refined_path():
    """One Wiener path per seed, refined to 512 steps: k = 2 converges at first order, k = 1 stays off."""
    fine_steps, seeds = 512, 8
    x_T, cond = randn(seeds, 4, seed=3), randn(seeds, 3, seed=4)
    fine = SDEDPMSolver(fine_steps, UniformLambda()).chain(VP)
    source = torch.Generator().manual_seed(5)
    noises = draw_noises(fine, lambda: torch.randn(seeds, 4, generator=source, dtype=F64))

    def gradient(strategy, n_steps: int, power: float = 2.0) -> Tensor:
        every = fine_steps // n_steps
        chain = SDEDPMSolver().chain(VP, times=fine.times[::every])
        chain.noise_power = power
        coarse = []
        for k, step in enumerate(chain.steps):
            parts = range(k * every, (k + 1) * every)
            t = chain.times[k + 1]
            path = sum(VP.alpha(t) / VP.alpha(fine.times[j + 1]) * fine.steps[j].c * noises[j] for j in parts)
            coarse.append(path / step.c)
        assert torch.stack(coarse).std().item() == pytest.approx(1.0, abs=0.15)
        z = cond.clone().requires_grad_()
        return strategy.value_and_grad(
            ChainRun(chain, NETWORK, (x_T,), cond=z, noises=coarse), quartic
        ).cond_grad

    exact = gradient(Checkpointed(), fine_steps)

    def error(n_steps: int, power: float = 2.0) -> float:
        off = gradient(AdjointDEIS(), n_steps, power) - exact
        return (off.norm(dim=1) / exact.norm(dim=1)).median().item()

    assert 0.7 < math.log2(error(32) / error(128)) / 2 < 1.3
    assert error(128) < 0.15
    assert error(128, power=1.0) > 0.5


def test_noise_gradients_are_those_of_the_discrete_step():
    chain = DDIM(8, UniformLambda(), eta=1.0).chain(VP)
    noises = draw_noises(chain, lambda: randn(2, 4, seed=8).clone().requires_grad_())
    result = AdjointDEIS().value_and_grad(ChainRun(chain, NETWORK, (X_T,), cond=COND, noises=noises), quartic)
    last = quartic_slope = 2 * (result.state[0] - 0.5) + 0.4 * result.state[0] ** 3
    torch.testing.assert_close(result.noises_grad[-1], chain.steps[-1].c * last)
    assert all(g is not None for g in result.noises_grad) and quartic_slope is last


# -- costs, warnings, refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "strategy",
    [
        AdjointDEIS(),
        AdjointDEIS(variant="official"),
        AdjointDEIS("deis-2m", "inverted2", 9, UniformLambda()),
        AdjointDEIS("deis-2m", "inverted1", 9, UniformLambda(), "official"),
        AdjointDEIS("deis-2m", "dense", 9, UniformLambda()),
        AdjointDPM("euler"),
        AdjointDPM("rk4", 5, UniformLambda()),
    ],
    ids=repr,
)
def test_declared_cost_is_the_counted_cost(strategy):
    chain, counted = DDIM(12, UniformLambda()).chain(VP), CountedModel(NETWORK)
    strategy.value_and_grad(ChainRun(chain, counted, (X_T,), cond=COND), quartic)
    assert counted.cost == strategy.cost(chain)


def test_batch_size_does_not_matter():
    chain = DDIM(12, UniformLambda()).chain(VP)
    for strategy in (AdjointDEIS("deis-2m", "inverted2"), AdjointDPM("rk4")):
        both = strategy.value_and_grad(ChainRun(chain, NETWORK, (X_T,), cond=COND), quartic).state_grad[0]
        alone = strategy.value_and_grad(
            ChainRun(chain, NETWORK, (X_T[1:],), cond=COND[1:]), quartic
        ).state_grad[0]
        assert distance(alone, both[1:]) < 1e-12


def test_warns_before_the_sign_flips():
    model = Gaussian(LINEAR, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64))
    state = (torch.ones(1, 1, dtype=F64),)
    with pytest.warns(UserWarning, match="sign flips"):
        AdjointDEIS().value_and_grad(
            ChainRun(DDIM(10, Linspace()).chain(LINEAR), model, state), lambda x: x[0].sum(1)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AdjointDEIS().value_and_grad(
            ChainRun(DDIM(20, Linspace()).chain(LINEAR), model, state), lambda x: x[0].sum(1)
        )


def test_refusals():
    def run(strategy, sampler, schedule=LINEAR):
        chain = sampler.chain(schedule)
        noises = [torch.ones(1, 4, dtype=F64)] * chain.n_stages
        state = chain.init(torch.ones(1, 4, dtype=F64))
        strategy.value_and_grad(ChainRun(chain, lambda x, t, c: x, state, noises=noises), quartic)

    ddim = DDIM(10, Linspace())
    for strategy, sampler, message in (
        (AdjointDEIS(), EDICT(10), "one evaluation per step"),
        (AdjointDEIS(), DDIM(10, Leading(1, "clean")), "final=t_min"),
        (AdjointDEIS(n_steps=7), ddim, "gradient.grid"),
        (AdjointDEIS(n_steps=7, grid=Leading(1)), ddim, "same ends"),
        (AdjointDEIS(n_steps=7, grid=Linspace()), ddim, "dense or inverted2"),
        (AdjointDEIS(states="inverted2"), SDEDPMSolver(10, Linspace()), "use 'cached'"),
        (AdjointDPM(), SDEDPMSolver(10, Linspace()), "for ODEs"),
    ):
        with pytest.raises(ConfigError, match=message):
            run(strategy, sampler)
    for field, value in (("solver", "deis-3"), ("states", "guessed"), ("variant", "mine")):
        with pytest.raises(ConfigError, match=field):
            AdjointDEIS(**{field: value})
    with pytest.raises(ConfigError, match="method"):
        AdjointDPM("rk5")
