import math

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from guidebench.diffusion.analytic import Gaussian
from guidebench.diffusion.grids import Karras, Leading, Linspace, UniformLambda
from guidebench.diffusion.schedules import EDM, ContinuousVP, Linear
from guidebench.errors import ConfigError
from guidebench.samplers.base import sample
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.dpm_solver import DPMSolver
from guidebench.samplers.heun import Heun

F64 = torch.float64


def smooth_eps(x_t, t, cond=None):
    return torch.tanh(x_t + t / 1000)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("algorithm", ["dpmsolver++", "dpmsolver"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("n_steps", [10, 20])
@pytest.mark.parametrize("final", ["t_min", "clean"])
def test_agrees_with_diffusers(algorithm, order, n_steps, final):
    if algorithm == "dpmsolver" and final == "clean":
        pytest.skip("diffusers refuses it")
    theirs = DPMSolverMultistepScheduler(
        beta_schedule="linear",
        algorithm_type=algorithm,
        solver_order=order,
        timestep_spacing="linspace",
        final_sigmas_type="sigma_min" if final == "t_min" else "zero",
    )
    theirs.set_timesteps(n_steps)
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    sampler = DPMSolver(n_steps, Linspace(), order, algorithm)
    times = sampler.times(Linear())
    times = (*times[:-1], 0.0 if final == "t_min" else -1.0)
    chain = sampler.chain(Linear(), times=times)
    ours = chain.output(sample(chain, smooth_eps, chain.init(x)))
    latent = x
    for t in theirs.timesteps:
        latent = theirs.step(smooth_eps(latent, float(t)), t, latent).prev_sample
    torch.testing.assert_close(ours, latent, rtol=1e-4, atol=1e-5 * latent.abs().max().item())


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "dpmsolver"])
def test_first_order_is_ddim(algorithm):
    x = torch.randn(2, 5, dtype=F64, generator=torch.Generator().manual_seed(0))
    ddim, solver = (
        s.chain(Linear()) for s in (DDIM(20, Linspace()), DPMSolver(20, Linspace(), 1, algorithm))
    )
    expected = sample(ddim, smooth_eps, ddim.init(x))[0]
    torch.testing.assert_close(
        sample(solver, smooth_eps, solver.init(x))[0], expected, rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize(
    ("sampler", "order"),
    [
        (DDIM, 1),
        (lambda n, g: DPMSolver(n, g, 1), 1),
        (lambda n, g: DPMSolver(n, g, 2), 2),
        (lambda n, g: DPMSolver(n, g, 2, "dpmsolver"), 2),
        (Heun, 2),
    ],
    ids=["ddim", "dpm++1", "dpm++2m", "dpm2m", "heun"],
)
@pytest.mark.parametrize("direction", ["sampling", "inversion"])
def test_fitted_order_is_the_declared_one(sampler, order, direction):
    """On Gaussian data the probability-flow ODE has a closed form."""
    vp = ContinuousVP()
    model = Gaussian(vp, torch.zeros(3, dtype=F64), torch.tensor([0.2, 0.7, 2.0], dtype=F64))
    x = torch.ones(1, 3, dtype=F64)
    errors = []
    for n_steps in (80, 160, 320):
        made = sampler(n_steps, UniformLambda())
        assert made.order == order
        times = made.times(vp)[:: 1 if direction == "sampling" else -1]
        chain = made.chain(vp, times=times)
        end = chain.output(sample(chain, model, chain.init(x)))
        errors.append((end - x * model.ode_gain(times[0], times[-1])).norm().item())
    slope = math.log2(errors[1] / errors[2])
    assert order - 0.15 < slope < order + 0.2


def test_runs_to_clean_data_and_on_edm():
    edm = EDM()
    chain = DPMSolver(150, Karras()).chain(edm)
    model = Gaussian(edm, torch.zeros(3, dtype=F64), torch.full((3,), 0.5, dtype=F64))
    end = chain.output(sample(chain, model, chain.init(edm.prior_std * torch.ones(1, 3, dtype=F64))))
    torch.testing.assert_close(end, torch.full_like(end, 0.5**0.5), rtol=0.003, atol=0)


def test_refusals():
    with pytest.raises(ConfigError, match="solver_order"):
        DPMSolver(solver_order=3)
    with pytest.raises(ConfigError, match="algorithm"):
        DPMSolver(algorithm="ddim")
    with pytest.raises(ConfigError, match="t_min"):
        DPMSolver(grid=Leading()).chain(Linear(), times=[-1, 0, 20])
