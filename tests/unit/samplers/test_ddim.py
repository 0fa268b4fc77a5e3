import math

import pytest
import torch
from diffusers import DDIMScheduler

from guidebench.diffusion.analytic import Gaussian
from guidebench.diffusion.grids import Karras, Leading, UniformLambda
from guidebench.diffusion.schedules import EDM, ContinuousVP, ScaledLinear
from guidebench.errors import ConfigError
from guidebench.samplers.base import draw_noises, invert, sample
from guidebench.samplers.ddim import DDIM, ddim_step

SD = ScaledLinear()


def smooth_eps(x_t, t, cond=None):
    return torch.tanh(x_t + t / 1000)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("offset", "to_one"), [(0, False), (1, False), (1, True)])
@pytest.mark.parametrize("n_steps", [10, 50])
def test_agrees_with_diffusers(eta, offset, to_one, n_steps):
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    chain = DDIM(n_steps, Leading(offset, "clean" if to_one else "t_min"), eta).chain(SD)
    noise_source = torch.Generator().manual_seed(1)
    noises = draw_noises(chain, lambda: torch.randn(x.shape, generator=noise_source))
    ours = chain.output(sample(chain, smooth_eps, chain.init(x), noises=noises))

    theirs = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=to_one,
        steps_offset=offset,
    )
    theirs.set_timesteps(n_steps)
    latent = x
    for k, t in enumerate(theirs.timesteps):
        given = noises[k] if k < len(noises) else None
        extra = {} if eta == 0 else {"variance_noise": torch.zeros_like(x) if given is None else given}
        latent = theirs.step(smooth_eps(latent, float(t)), t, latent, eta=eta, **extra).prev_sample
    torch.testing.assert_close(ours, latent, rtol=1e-5, atol=1e-5 * latent.abs().max().item())


def test_the_trivial_step_of_the_leading_grid_is_not_evaluated():
    assert DDIM(50, Leading(0)).chain(SD).n_stages == 49
    assert DDIM(50, Leading(1)).chain(SD).n_stages == 50


def test_steps_keep_the_marginal_of_gaussian_data():
    """Whatever eta: if x_0 is a constant, eps_hat is the true noise and x_u has variance sigma_u^2."""
    for schedule, t, u in ((SD, 700.0, 400.0), (EDM(), 5.0, 2.0)):
        for eta in (0.0, 0.3, 1.0):
            step = ddim_step(schedule, t, u, eta)
            assert step.a * schedule.alpha(t) == pytest.approx(schedule.alpha(u))
            coefficient_of_eps = step.a * schedule.sigma(t) + step.b
            assert coefficient_of_eps**2 + step.c**2 == pytest.approx(schedule.sigma(u) ** 2)


def test_eta_one_is_the_posterior_of_the_forward_process():
    t, u = 700.0, 680.0
    step = ddim_step(SD, t, u, 1.0)
    ratio = SD.alpha(t) / SD.alpha(u)
    assert step.c**2 == pytest.approx((1 - SD.alpha(u) ** 2) / (1 - SD.alpha(t) ** 2) * (1 - ratio**2))
    # guidance enters eps' = eps - sigma_t g: its weight must be beta / sqrt(alpha) (lgd, 1.3)
    assert -step.b * SD.sigma(t) == pytest.approx((1 - ratio**2) / ratio)


def test_ve_and_vp_take_the_same_step():
    t, u = 700.0, 400.0
    edm = EDM()
    vp = ddim_step(SD, t, u, 0.7)
    ve = ddim_step(edm, SD.sigma(t) / SD.alpha(t), SD.sigma(u) / SD.alpha(u), 0.7)
    ratio = SD.alpha(t) / SD.alpha(u)
    assert vp.a * ratio == pytest.approx(ve.a, rel=1e-12)
    assert vp.b / SD.alpha(u) == pytest.approx(ve.b, rel=1e-12)
    assert vp.c / SD.alpha(u) == pytest.approx(ve.c, rel=1e-12)


def test_edm_closed_form_on_gaussian_data():
    """sd of the result = 80 prod (v + s_i s_{i+1}) / (v + s_i^2) (lgd, section 7 item 9)."""
    edm = EDM()
    for n_steps, sd in ((10, 0.139578), (20, 0.168652), (50, 0.187198)):
        chain = DDIM(n_steps, Karras()).chain(edm)
        model = Gaussian(
            edm, torch.tensor([-1.0], dtype=torch.float64), torch.tensor([0.04], dtype=torch.float64)
        )
        x_T = edm.prior_std * torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        x_0 = chain.output(sample(chain, model, chain.init(x_T)))
        assert (x_0[1] - x_0[0]).item() == pytest.approx(sd, abs=1e-6)
        assert x_0[0].item() == pytest.approx(-1 + sd / 80, abs=1e-6)


def test_inversion_is_first_order():
    vp = ContinuousVP()
    x_0 = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = Gaussian(vp, torch.zeros(4, dtype=torch.float64), torch.full((4,), 0.5, dtype=torch.float64))
    errors = []
    for n_steps in (50, 100, 200):
        sampler = DDIM(n_steps, UniformLambda())
        times = sampler.times(vp)
        back = sampler.chain(vp, times=times[::-1])
        there = sampler.chain(vp)
        again = sample(there, model, sample(back, model, back.init(x_0)))[0]
        errors.append((again - x_0).norm().item())
    assert 0.9 < math.log2(errors[1] / errors[2]) < 1.1


def test_refusals():
    with pytest.raises(ConfigError, match="eta"):
        DDIM(eta=1.5)
    sampler = DDIM(10, eta=1.0)
    with pytest.raises(ConfigError, match="eta=0"):
        sampler.chain(SD, times=sampler.times(SD)[-2::-1])
    chain = sampler.chain(SD)
    with pytest.raises(ConfigError, match="adds noise"):
        sample(chain, smooth_eps, chain.init(torch.ones(1, 2)))
    with pytest.raises(ConfigError, match="cannot be undone"):
        invert(chain, smooth_eps, chain.init(torch.ones(1, 2)))


def test_on_stage_sees_every_state():
    chain, seen = DDIM(5, Leading(1)).chain(SD), []
    final = sample(
        chain, smooth_eps, chain.init(torch.ones(1, 2)), on_stage=lambda k, state: seen.append((k, state))
    )
    assert [k for k, _ in seen] == [0, 1, 2, 3, 4] and seen[-1][1] is final
