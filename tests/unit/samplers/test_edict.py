import math

import numpy as np
import pytest
import torch
from torch import Tensor

from guidebench.diffusion.analytic import GaussianMixture
from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.diffusion.grids import Leading, Linspace
from guidebench.diffusion.schedules import ScaledLinear
from guidebench.errors import ConfigError
from guidebench.samplers.base import State, invert, sample
from guidebench.samplers.edict import EDICT

SD = ScaledLinear()
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4}


def mixture(cfg_scale: float, dtype: torch.dtype) -> tuple[GaussianMixture, Tensor]:
    """Eight modes in 256 dimensions; the condition keeps the first two (specs: doodl, section 7)."""
    means = torch.randn(8, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)
    cond = torch.full((2, 8), -math.inf, dtype=dtype)
    cond[:, :2] = 0.0
    return GaussianMixture(SD, means, 0.25, cfg_scale=cfg_scale), cond


def noise(seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(2, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def distance(a: State, b: State) -> float:
    return (torch.stack(a) - torch.stack(b)).norm().item() / torch.stack(b).norm().item()


def reference_edict(eps_model, x, y, timesteps: list[int], n_steps: int, p: float) -> tuple[Tensor, Tensor]:
    """The official loop written out: float64 table, every step evaluated, alternation from the sub-chain's start."""
    alpha_bar = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)
    for i, t in enumerate(timesteps):
        previous = t - 1000 // n_steps
        to = alpha_bar[previous] if previous >= 0 else alpha_bar[0]
        a = np.sqrt(to / alpha_bar[t])
        b = np.sqrt(1 - to) - a * np.sqrt(1 - alpha_bar[t])
        if i % 2 == 0:
            x = a * x + b * eps_model(y, t)
            y = a * y + b * eps_model(x, t)
        else:
            y = a * y + b * eps_model(x, t)
            x = a * x + b * eps_model(y, t)
        x = p * x + (1 - p) * y
        y = p * y + (1 - p) * x
    return x, y


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize(("n_steps", "start"), [(10, 0), (25, 0), (50, 0), (50, 10), (50, 15), (10, 3)])
def test_equals_the_official_loop(n_steps, start, skip):
    model, cond = mixture(7.5, torch.float64)
    sampler = EDICT(n_steps, skip_trivial_step=skip)
    chain = sampler.chain(SD, times=sampler.times(SD)[start:])
    x_T = noise(1, torch.float64)
    timesteps = list(range(0, 1000, 1000 // n_steps))[::-1][start:]
    expected = reference_edict(lambda x, t: model(x, t, cond), x_T, x_T, timesteps, n_steps, 0.93)
    assert distance(sample(chain, model, chain.init(x_T), cond=cond), expected) < 1e-13


@pytest.mark.parametrize(
    ("dtype", "p"), [(torch.float64, 0.93), (torch.float64, 1.0), (torch.float32, 0.93)], ids=str
)
@pytest.mark.parametrize("cfg_scale", [1.0, 7.5])
@pytest.mark.parametrize(("n_steps", "start"), [(10, 0), (25, 0), (50, 0), (50, 15), (50, 10), (20, 7)])
def test_round_trips(n_steps, start, cfg_scale, p, dtype):
    """Both ways, full and truncated, even and odd: a wrong parity would give 2e-3 … 0.6.

    Float32 is asserted where the members are mixed: at p = 1 nothing damps their difference.
    """
    model, cond = mixture(cfg_scale, dtype)
    sampler = EDICT(n_steps, p=p)
    chain = sampler.chain(SD, times=sampler.times(SD)[start:])
    initial = chain.init(noise(2, dtype))
    final = sample(chain, model, initial, cond=cond)
    assert distance(invert(chain, model, final, cond=cond), initial) < TOLERANCE[dtype]
    image = chain.init(0.5 * noise(3, dtype))
    latent = invert(chain, model, image, cond=cond)
    assert distance(sample(chain, model, latent, cond=cond), image) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_runs_with_no_promise(dtype):
    model, cond = mixture(1.0, dtype)
    chain = EDICT(10).chain(SD)
    final = sample(chain, model, chain.init(noise(2, dtype)), cond=cond)
    assert final[0].dtype == dtype and torch.isfinite(final[0]).all()


def test_without_prediction_it_is_a_product():
    chain = EDICT(50).chain(SD)
    x_T = noise(0, torch.float64)
    final = sample(chain, lambda x, t, cond: torch.zeros_like(x), chain.init(x_T))
    gain = SD.alpha(0) / SD.alpha(980)
    assert gain == pytest.approx(13.0758, abs=1e-4)
    assert distance(final, (gain * x_T, gain * x_T)) < 1e-14


def test_constant_prediction_is_affine():
    """x = y throughout, so mixing does nothing and x_0 is DDIM's closed form."""
    chain = EDICT(50).chain(SD)
    x_T, eps = noise(0, torch.float64), noise(1, torch.float64)
    x_0 = SD.alpha(0) * (x_T - SD.sigma(980) * eps) / SD.alpha(980) + SD.sigma(0) * eps
    final = sample(chain, lambda x, t, cond: eps, chain.init(x_T))
    assert distance(final, (x_0, x_0)) < 1e-13


def test_mixing_invariants():
    p = 0.93
    chain = EDICT(10, p=p).chain(SD)
    u, v = noise(0, torch.float64), noise(1, torch.float64)
    x, y = chain.mix((u, v))
    torch.testing.assert_close(x - y, p**2 * (u - v), rtol=0, atol=1e-14)
    torch.testing.assert_close(p * x + y, p * u + v, rtol=0, atol=1e-14)
    assert distance(chain.unmix((x, y)), (u, v)) < 1e-14
    neutral = EDICT(10, p=1.0).chain(SD).mix((u, v))
    assert torch.equal(neutral[0], u) and torch.equal(neutral[1], v)


def test_counts():
    model, cond = mixture(7.5, torch.float64)
    counted = CountedModel(model, rows=2)
    for skip, expected in ((True, 196), (False, 200)):
        chain = EDICT(50, skip_trivial_step=skip).chain(SD)
        before = counted.cost
        sample(chain, counted, chain.init(noise(0, torch.float64)), cond=cond)
        assert counted.cost - before == Cost(nfe_fwd=expected)
        assert chain.n_stages == expected // 2


def test_skipping_the_trivial_step_changes_no_bit():
    model, cond = mixture(7.5, torch.float64)
    x_T = noise(0, torch.float64)
    finals = []
    for skip in (True, False):
        chain = EDICT(50, skip_trivial_step=skip).chain(SD)
        finals.append(sample(chain, model, chain.init(x_T), cond=cond))
    assert torch.equal(finals[0][0], finals[1][0]) and torch.equal(finals[0][1], finals[1][1])


def test_alternation_brings_the_members_together():
    model, cond = mixture(1.0, torch.float64)
    x_T, apart = noise(0, torch.float64), {}
    for alternate in (True, False):
        chain = EDICT(50, alternate=alternate).chain(SD)
        x, y = sample(chain, model, chain.init(x_T), cond=cond)
        apart[alternate] = ((x - y).norm() / x.norm()).item()
    assert apart[True] < 0.25 * apart[False]


def test_offset_one_has_no_trivial_step():
    chain = EDICT(50, Leading(offset=1)).chain(SD)
    assert chain.n_stages == 100
    last = chain.half_steps[-1]
    assert (last.a, last.b) == (pytest.approx(1.000428, abs=1e-6), pytest.approx(-0.012142, abs=1e-6))


def test_refusals():
    with pytest.raises(ConfigError, match="divisor"):
        EDICT(30).chain(SD)
    assert EDICT(30, Linspace()).chain(SD).n_stages == 60
    with pytest.raises(ConfigError, match="0 < p"):
        EDICT(p=0.0)
    with pytest.raises(ConfigError, match="descending"):
        EDICT(50).chain(SD, times=[0, 20, 40])
    with pytest.raises(ConfigError, match="no step"):
        EDICT(50).chain(SD, times=[0, 0])


def test_the_scaled_mixing_weight_contracts_as_the_papers_50_steps() -> None:
    assert EDICT(50, p=None).mixing_weight == 0.93
    for n in (10, 20, 25):
        assert EDICT(n, p=None).mixing_weight ** n == pytest.approx(0.93**50, rel=1e-12)
