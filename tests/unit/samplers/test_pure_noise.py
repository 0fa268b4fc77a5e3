"""Sampling that begins where alpha = 0: rectified flows, and tables with zero terminal SNR."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from guidebench.diffusion.analytic import Gaussian, GaussianMixture, TanhNetwork
from guidebench.diffusion.grids import Karras, Linspace, Shifted, Trailing, UniformLambda
from guidebench.diffusion.prediction import Prediction
from guidebench.diffusion.schedules import NoiseSchedule, RectifiedFlow, ScaledLinear, Table
from guidebench.errors import ConfigError
from guidebench.gradients.adjoint_deis import AdjointDEIS
from guidebench.gradients.adjoint_dpm import AdjointDPM
from guidebench.gradients.base import ChainRun, GradientStrategy
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.direct import Direct
from guidebench.gradients.one_step import OneStepEstimate
from guidebench.gradients.reversible import Reversible
from guidebench.gradients.truncated import Truncated
from guidebench.samplers.base import Sampler, draw_noises, invert, sample
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.ddpm import DDPM
from guidebench.samplers.dpm_solver import DPMSolver
from guidebench.samplers.edict import EDICT
from guidebench.samplers.heun import Heun
from guidebench.samplers.sde_dpm_solver import SDEDPMSolver

F64 = torch.float64
FLOW = RectifiedFlow()
THEIRS = DDIMScheduler(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    rescale_betas_zero_snr=True,
    timestep_spacing="trailing",
    prediction_type="v_prediction",
    clip_sample=False,
    set_alpha_to_one=True,
)
ZERO_SNR = Table(1000, tuple(THEIRS.betas.double().tolist()))
GRID = Linspace("clean")


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def velocity(x: Tensor, t: float) -> Tensor:
    return torch.tanh(x + t)


def told(schedule: NoiseSchedule, kind: str = "flow"):
    """The smooth velocity as a chain is told it."""

    def eps_model(x: Tensor, t: float, cond: Tensor | None = None) -> Tensor:
        return Prediction(kind, velocity(x, t), x, schedule.alpha(t), schedule.sigma(t)).told

    return eps_model


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (F64, 2e-15)], ids=str)
@pytest.mark.parametrize("sampler", [DDIM(12, Shifted()), DPMSolver(12, Shifted(), 1)], ids=repr)
def test_on_a_flow_it_is_eulers_method(sampler: Sampler, dtype: torch.dtype, error: float) -> None:
    chain, x = sampler.chain(FLOW), normal(4, 3, dtype=dtype)
    ours = chain.output(sample(chain, told(FLOW), chain.init(x)))
    for t, u in pairwise(chain.times):
        x = x + (u - t) * velocity(x, t)
    assert ((ours - x).norm() / x.norm()).item() < error


@pytest.mark.parametrize(
    ("grid", "options", "sigmas"),
    [
        (Shifted(3.0, last=3 / 1002), {"shift": 3.0}, None),
        (Shifted(math.exp(1.15)), {"shift": math.exp(1.15)}, 28),
    ],
    ids=["sd3", "flux"],
)
def test_shifted_grids_are_those_of_diffusers(grid, options, sigmas) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(**options)
    if sigmas is None:
        scheduler.set_timesteps(28)
    else:
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 28, 28))
    np.testing.assert_allclose(grid(FLOW, 28), scheduler.sigmas.numpy(), rtol=1e-6, atol=1e-7)
    chain, x = DDIM(28, grid).chain(FLOW), normal(2, 3, dtype=torch.float32)
    ours = chain.output(sample(chain, told(FLOW), chain.init(x)))
    for t in scheduler.timesteps:
        x = scheduler.step(velocity(x, float(t) / 1000), t, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=1e-5, atol=1e-5)


def test_zero_terminal_snr_is_that_of_diffusers() -> None:
    THEIRS.set_timesteps(20)
    chain, x = DDIM(20, Trailing("clean")).chain(ZERO_SNR), normal(2, 3, dtype=torch.float32)
    assert chain.times[0] == 999 and ZERO_SNR.alpha(999) == 0 and ZERO_SNR.lam(999) == -math.inf

    def model(x: Tensor, t: float, cond: Tensor | None) -> Tensor:
        v = velocity(x, t / 1000)
        return Prediction("v", v, x, ZERO_SNR.alpha(t), ZERO_SNR.sigma(t)).told

    ours = chain.output(sample(chain, model, chain.init(x)))
    for t in THEIRS.timesteps:
        x = THEIRS.step(velocity(x, float(t) / 1000), t, x).prev_sample
    torch.testing.assert_close(ours, x, rtol=2e-4, atol=2e-4)


MEAN, VARIANCE = torch.tensor([0.4, -1.0], dtype=F64), torch.tensor([0.3, 2.0], dtype=F64)


@pytest.mark.parametrize("schedule", [FLOW, ZERO_SNR], ids=["flow", "table"])
@pytest.mark.parametrize(
    "sampler", [DDIM, DPMSolver, lambda n, g: DPMSolver(n, g, 2, "dpmsolver"), Heun, EDICT]
)
def test_every_solver_converges_to_the_exact_flow(sampler, schedule: NoiseSchedule) -> None:
    """Of N(mean, v): x_0 = mean + sqrt(v) x_T, the ratio of the standard deviations at the ends."""
    x_T = normal(3, 2)
    errors = []
    for n in (20, 80):
        chain = sampler(n, Linspace()).chain(schedule, Linspace()(schedule, n))
        end = chain.times[-1]
        model = Gaussian(schedule, MEAN, VARIANCE)
        expected = schedule.alpha(end) * MEAN + x_T * model.ode_gain(chain.times[0], end)
        errors.append((chain.output(sample(chain, model, chain.init(x_T))) - expected).norm().item())
    assert errors[1] < 0.35 * errors[0] and errors[1] < 0.1


@pytest.mark.parametrize("schedule", [FLOW, ZERO_SNR], ids=["flow", "table"])
@pytest.mark.parametrize(
    "sampler",
    [DDIM(60, GRID, eta=1.0), DDIM(60, GRID, eta=0.5), DDPM(60, GRID), DDPM(60, GRID, "large")],
    ids=repr,
)
def test_stochastic_samplers_reach_the_data(sampler: Sampler, schedule: NoiseSchedule) -> None:
    chain, draws = sampler.chain(schedule), iter(range(1000))
    noises = draw_noises(chain, lambda: normal(4000, 2, seed=next(draws)))
    x_0 = chain.output(
        sample(chain, Gaussian(schedule, MEAN, VARIANCE), chain.init(normal(4000, 2, seed=-1)), noises=noises)
    )
    torch.testing.assert_close(x_0.mean(0), MEAN, rtol=0, atol=0.08)
    torch.testing.assert_close(x_0.std(0), VARIANCE.sqrt(), rtol=0.15, atol=0)


def test_heuns_churn_begins_after_the_first_step() -> None:
    chain, draws = Heun(60, Linspace(), s_churn=5.0).chain(FLOW), iter(range(1000))
    assert chain.n_stages == 119 and chain.step_of(0) == 0 and chain.step_of(1) == chain.step_of(2) == 1
    noises = draw_noises(chain, lambda: normal(4000, 2, seed=next(draws)))
    x_0 = chain.output(
        sample(chain, Gaussian(FLOW, MEAN, VARIANCE), chain.init(normal(4000, 2, seed=-1)), noises=noises)
    )
    torch.testing.assert_close(x_0.std(0), VARIANCE.sqrt(), rtol=0.1, atol=0)


NETWORK = TanhNetwork(FLOW, 4).requires_grad_(False)
STRATEGIES = [
    Direct(),
    Checkpointed(),
    Checkpointed(2),
    Checkpointed("auto", 1.0),
    Reversible(),
    Truncated(100),
]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@pytest.mark.parametrize(
    "sampler", [DDIM(6, GRID), DPMSolver(6, GRID), Heun(6, GRID), EDICT(6, Linspace())], ids=repr
)
def test_exact_gradients_are_those_of_finite_differences(
    strategy: GradientStrategy, sampler: Sampler
) -> None:
    if strategy.needs_reversible and not sampler.is_reversible:
        pytest.skip("cannot be undone")
    chain, x_T, direction = sampler.chain(FLOW), normal(2, 4), normal(2, 4, seed=1)
    objective = lambda s: chain.output(s).sin().sum(1)  # noqa: E731
    grads = strategy.value_and_grad(ChainRun(chain, NETWORK, chain.init(x_T)), objective).state_grad
    ends = [objective(sample(chain, NETWORK, chain.init(x_T + h * direction))).sum() for h in (-1e-5, 1e-5)]
    found = (sum(grads) * direction).sum()
    torch.testing.assert_close(found, (ends[1] - ends[0]) / 2e-5, rtol=1e-6, atol=1e-8)


def test_edict_is_undone() -> None:
    chain = EDICT(6, Linspace()).chain(FLOW)
    start = chain.init(normal(2, 4))
    for found, expected in zip(invert(chain, NETWORK, sample(chain, NETWORK, start)), start, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_the_one_step_estimate_is_what_the_network_says() -> None:
    chain = DDIM(6, GRID).chain(FLOW)
    result = OneStepEstimate().value_and_grad(
        ChainRun(chain, NETWORK, (normal(2, 4),)), lambda s: s[0].sum(1)
    )
    torch.testing.assert_close(result.state[0], NETWORK(normal(2, 4), 1.0), rtol=0, atol=0)


def test_the_forward_process_leads_back_to_noise() -> None:
    """Time travel over the first step."""
    for sampler in (DDIM(6, GRID), DPMSolver(6, GRID), Heun(6, GRID), EDICT(6, Linspace())):
        chain, noise = sampler.chain(FLOW), normal(2, 4, seed=3)
        back = chain.rewind(chain.init(normal(2, 4)), 0, noise)
        assert torch.equal(chain.query(back, 0)[0], noise)


def test_what_cannot_begin_there_is_refused_in_words() -> None:
    for grid in (Karras(), UniformLambda()):
        with pytest.raises(ConfigError, match=r"pure noise.*Shifted"):
            DDIM(6, grid).chain(FLOW)
    with pytest.raises(ConfigError, match="sampler=ddim"):
        SDEDPMSolver(6, Linspace()).chain(FLOW)
    with pytest.raises(ConfigError, match="end the inversion"):
        Heun().chain(FLOW, (0.1, 0.5, 1.0))
    chain = DDIM(6, Linspace()).chain(FLOW)
    for strategy in (AdjointDEIS(), AdjointDPM()):
        with pytest.raises(ConfigError, match="gradient=checkpointed"):
            strategy.value_and_grad(ChainRun(chain, NETWORK, (normal(2, 4),)), lambda s: s[0].sum(1))
    for kind in ("eps", "score"):
        with pytest.raises(ConfigError, match="begin later"):
            told(FLOW, kind)(normal(2, 4), 1.0)


def test_encoding_ends_in_noise() -> None:
    chain = DDIM().chain(FLOW, (0.001, 0.3, 0.7, 1.0))
    model = GaussianMixture(FLOW, normal(3, 2, seed=5), 0.2)
    x = sample(chain, model, chain.init(normal(4, 2)))[0]
    assert x.isfinite().all()


def test_lambda_and_its_inverse() -> None:
    for t in (0.001, 0.2, 0.5, 0.9, 0.999):
        assert FLOW.lam(t) == pytest.approx(math.log(FLOW.alpha(t) / FLOW.sigma(t)))
        assert FLOW.time_of_lam(FLOW.lam(t)) == pytest.approx(t)
    assert FLOW.lam(1.0) == -math.inf and FLOW.lam(0.0) == math.inf
    assert ScaledLinear().alpha(999) > 0
