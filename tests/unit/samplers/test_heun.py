import math

import pytest
import torch

from guidebench.diffusion.analytic import Gaussian, GaussianMixture
from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.diffusion.grids import Karras
from guidebench.diffusion.schedules import EDM, Linear
from guidebench.errors import ConfigError
from guidebench.samplers.base import draw_noises, sample
from guidebench.samplers.heun import Heun

F64 = torch.float64
EDM_SCHEDULE = EDM()


def algorithm_2(denoiser, x, sigmas, noises, s_churn, s_tmin, s_tmax, s_noise):
    """Karras et al. 2022, Algorithm 2, line by line; noises[i] churns step i."""
    n = len(sigmas) - 1
    for i in range(n):
        gamma = min(s_churn / n, math.sqrt(2) - 1) if s_tmin <= sigmas[i] <= s_tmax else 0.0
        t_hat = sigmas[i] + gamma * sigmas[i]
        x_hat = x + math.sqrt(t_hat**2 - sigmas[i] ** 2) * s_noise * noises[i]
        d = (x_hat - denoiser(x_hat, t_hat)) / t_hat
        x = x_hat + (sigmas[i + 1] - t_hat) * d
        if sigmas[i + 1] != 0:
            d_prime = (x - denoiser(x, sigmas[i + 1])) / sigmas[i + 1]
            x = x_hat + (sigmas[i + 1] - t_hat) * (0.5 * d + 0.5 * d_prime)
    return x


def test_equals_algorithm_2():
    model = GaussianMixture(EDM_SCHEDULE, torch.tensor([[-1.0, 0.3], [1.0, -0.5]], dtype=F64), 0.04)
    settings = dict(s_churn=15.0, s_tmin=0.05, s_tmax=50.0, s_noise=1.003)
    chain = Heun(36, **settings).chain(EDM_SCHEDULE)
    x_T = 80 * torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
    source = torch.Generator().manual_seed(1)
    noises = draw_noises(chain, lambda: torch.randn(5, 2, generator=source, dtype=F64))
    ours = chain.output(sample(chain, model, chain.init(x_T), noises=noises))
    # the noise of step i + 1 belongs to the last stage of step i
    per_step = [torch.zeros_like(x_T)] + [torch.zeros_like(x_T) if w is None else w for w in noises[1::2]]
    expected = algorithm_2(lambda x, s: x - s * model(x, s), x_T, chain.times, per_step, **settings)
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11)
    assert sum(w is not None for w in noises) > 5


def test_36_steps_are_71_evaluations():
    counted = CountedModel(Gaussian(EDM_SCHEDULE, torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64)))
    chain = Heun().chain(EDM_SCHEDULE)
    sample(chain, counted, chain.init(torch.ones(1, 1, dtype=F64)))
    assert counted.cost == Cost(nfe_fwd=71) and chain.n_stages == 71


def test_runs_on_a_variance_preserving_schedule():
    """The same steps in x / alpha: on Gaussian data both schedules reach the same place."""
    linear, ends = Linear(), []
    for schedule in (linear, EDM(linear.sigma(0) / linear.alpha(0), linear.sigma(999) / linear.alpha(999))):
        model = Gaussian(schedule, torch.ones(2, dtype=F64), torch.full((2,), 0.3, dtype=F64))
        chain = Heun(30, Karras()).chain(schedule)
        y = torch.tensor([[100.0, -30.0]], dtype=F64)
        ends.append(chain.output(sample(chain, model, chain.init(schedule.alpha(chain.times[0]) * y))))
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-9, atol=1e-9)


def test_churn_keeps_the_marginal():
    model = Gaussian(EDM_SCHEDULE, torch.zeros(1, dtype=F64), torch.full((1,), 0.25, dtype=F64))
    chain = Heun(150, s_churn=60.0).chain(EDM_SCHEDULE)
    source = torch.Generator().manual_seed(0)
    x_T = 80 * torch.randn(20000, 1, generator=source, dtype=F64)
    noises = draw_noises(chain, lambda: torch.randn(20000, 1, generator=source, dtype=F64))
    assert chain.first_churn > 1.2
    assert sample(chain, model, chain.init(x_T), noises=noises)[0].std().item() == pytest.approx(
        0.5, rel=0.02
    )


def test_refusals():
    with pytest.raises(ConfigError, match="s_churn"):
        Heun(s_churn=-1.0)
    with pytest.raises(ConfigError, match="inversion"):
        Heun(s_churn=1.0).chain(EDM_SCHEDULE, times=[0.1, 1.0])
    with pytest.raises(ConfigError, match="churn included"):
        Heun(20, s_churn=10.0).chain(Linear())
