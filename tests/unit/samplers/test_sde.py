import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from guidebench.diffusion.analytic import GaussianMixture, TanhNetwork
from guidebench.diffusion.grids import Leading, Linspace
from guidebench.diffusion.schedules import Linear
from guidebench.errors import ConfigError
from guidebench.samplers.base import sample
from guidebench.samplers.cycle_sde import noising_path, record_noises
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.sde_dpm_solver import SDEDPMSolver

F64 = torch.float64
LINEAR = Linear()


def randn(*shape, seed, dtype=F64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def smooth_eps(x_t, t, cond=None):
    return torch.tanh(x_t + t / 1000)


@pytest.mark.filterwarnings("ignore")
def test_one_step_agrees_with_diffusers():
    theirs = DPMSolverMultistepScheduler(
        beta_schedule="linear",
        algorithm_type="sde-dpmsolver",
        solver_order=1,
        timestep_spacing="linspace",
        final_sigmas_type="sigma_min",
    )
    theirs.set_timesteps(20)
    chain = SDEDPMSolver(20, Linspace()).chain(LINEAR)
    x, noise = randn(1, 3, 4, 4, seed=0, dtype=torch.float32), randn(1, 3, 4, 4, seed=1, dtype=torch.float32)
    for k in (0, 7, 18):
        theirs._step_index = None
        t = theirs.timesteps[k]
        eps = smooth_eps(x, float(t))
        expected = theirs.step(eps, t, x, variance_noise=noise).prev_sample
        (ours,) = chain.update((x,), eps, k, noise)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=2e-6)


def test_golden_noise_coefficient():
    chain = SDEDPMSolver().chain(LINEAR, times=[550, 500])
    assert chain.steps[0].c == pytest.approx(0.8372508682, abs=1e-10)
    assert chain.noise_power == 2.0
    assert chain.steps[0].b == pytest.approx(2 * LINEAR.transfer(550, 500)[1])


@pytest.mark.parametrize("coherent", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(F64, 1e-12), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize(
    "sampler", [SDEDPMSolver(20, Linspace()), DDIM(20, Linspace(), eta=1.0)], ids=["sde", "ddim"]
)
def test_replay_reproduces_the_sample(sampler, coherent, dtype, tolerance):
    means = randn(4, 8, seed=3, dtype=dtype)
    model = GaussianMixture(LINEAR, means, 0.25)
    chain = sampler.chain(LINEAR)
    x_0 = means[:3] + 0.5 * randn(3, 8, seed=5, dtype=dtype)
    seeds = iter(range(100, 200))
    path = noising_path(chain, x_0, lambda: randn(3, 8, seed=next(seeds), dtype=dtype), coherent=coherent)
    cond = torch.zeros(3, 4, dtype=dtype)
    noises = record_noises(chain, model, path, cond=cond)
    again = sample(chain, model, (path[0],), noises=noises, cond=cond)[0]
    assert (again - x_0).abs().max() < tolerance
    other = torch.tensor([[5.0, 0.0, 0.0, 0.0]], dtype=dtype).expand(3, 4)
    assert (sample(chain, model, (path[0],), noises=noises, cond=other)[0] - x_0).abs().max() > 0.1
    rms = torch.stack(noises).square().mean().sqrt().item()
    assert 0.5 < rms < (3.0 if isinstance(sampler, SDEDPMSolver) else 6.0)


def test_a_coherent_path_is_the_forward_process():
    chain = SDEDPMSolver(10, Linspace()).chain(LINEAR)
    x_0, source = torch.full((20000, 1), 2.0, dtype=F64), torch.Generator().manual_seed(0)
    path = noising_path(chain, x_0, lambda: torch.randn(20000, 1, generator=source, dtype=F64))
    # x_0 stands at times[-1], where sigma = 0.01: only that much variance is missing
    for x, t in zip(path, chain.times, strict=True):
        scale = LINEAR.alpha(t) / LINEAR.alpha(0)
        assert x.mean().item() == pytest.approx(2 * scale, abs=0.03)
        expected = LINEAR.sigma(t) ** 2 - (scale * LINEAR.sigma(0)) ** 2
        assert x.var().item() == pytest.approx(expected, rel=0.04, abs=1e-12)
    pairs = torch.corrcoef(torch.cat([path[5], path[6]], 1).T)[0, 1].item()
    independent = noising_path(
        chain, x_0, lambda: torch.randn(20000, 1, generator=source, dtype=F64), coherent=False
    )
    assert (
        pairs > 0.5 > abs(torch.corrcoef(torch.cat([independent[5], independent[6]], 1).T)[0, 1].item()) + 0.4
    )


def test_the_sde_samples_the_data():
    model = GaussianMixture(LINEAR, torch.tensor([[-1.0], [1.0]], dtype=F64), 0.04)
    chain = SDEDPMSolver(250, Linspace()).chain(LINEAR)
    source = torch.Generator().manual_seed(0)
    noises = [torch.randn(4000, 1, generator=source, dtype=F64) for _ in range(chain.n_stages)]
    x_0 = sample(chain, model, (torch.randn(4000, 1, generator=source, dtype=F64),), noises=noises)[0]
    assert x_0.mean().item() == pytest.approx(0.0, abs=0.06)
    assert x_0.var().item() == pytest.approx(1.04, rel=0.05)
    assert x_0.abs().var().item() == pytest.approx(0.04, rel=0.15)


def test_refusals():
    network = TanhNetwork(LINEAR, 2)
    with pytest.raises(ConfigError, match="final=t_min"):
        SDEDPMSolver(20, Leading(0, "clean")).chain(LINEAR)
    with pytest.raises(ConfigError, match="descending"):
        SDEDPMSolver().chain(LINEAR, times=[0, 5])
    chain = DDIM(5).chain(LINEAR)
    with pytest.raises(ConfigError, match="noise at every stage"):
        record_noises(chain, network, [torch.ones(1, 2)] * 5)
    with pytest.raises(ConfigError, match="path of 3"):
        record_noises(SDEDPMSolver(5, Linspace()).chain(LINEAR), network, [torch.ones(1, 2)] * 3)
