import pytest
import torch
from diffusers import DDPMScheduler

from guidebench.diffusion.grids import Leading
from guidebench.diffusion.schedules import Linear
from guidebench.errors import ConfigError
from guidebench.samplers.base import draw_noises, sample
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.ddpm import DDPM


def smooth_eps(x_t, t, cond=None):
    return torch.tanh(x_t + t / 1000)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("n_steps", [20, 1000])
def test_agrees_with_diffusers(variance, n_steps):
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    chain = DDPM(n_steps, Leading(0, "clean"), variance).chain(Linear())
    source = torch.Generator().manual_seed(1)
    noises = draw_noises(chain, lambda: torch.randn(x.shape, generator=source))
    ours = chain.output(sample(chain, smooth_eps, chain.init(x), noises=noises))
    theirs = DDPMScheduler(clip_sample=False, variance_type=f"fixed_{variance}")
    theirs.set_timesteps(n_steps)
    source, latent = torch.Generator().manual_seed(1), x
    for t in theirs.timesteps:
        latent = theirs.step(smooth_eps(latent, float(t)), t, latent, generator=source).prev_sample
    torch.testing.assert_close(ours, latent, rtol=1e-4, atol=1e-4 * latent.abs().max().item())


def test_the_small_variance_is_ddim_with_eta_one():
    ddpm, ddim = (s.chain(Linear()) for s in (DDPM(20, Leading()), DDIM(20, Leading(), eta=1.0)))
    assert ddpm.steps == ddim.steps and ddpm.noise_power == ddim.noise_power == 2.0
    large = DDPM(20, Leading(), "large").chain(Linear())
    assert all(b.c > s.c and (b.a, b.b) == (s.a, s.b) for b, s in zip(large.steps, ddpm.steps, strict=True))


def test_refusals():
    with pytest.raises(ConfigError, match="variance"):
        DDPM(variance="learned")
    with pytest.raises(ConfigError, match="descending"):
        DDPM().chain(Linear(), times=[0, 10])
