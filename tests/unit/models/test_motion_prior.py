"""Against dense multivariate normals, built from the gaits, and autograd."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from guidebench.errors import ConfigError, WeightsError
from guidebench.models.base import Guided
from guidebench.models.motion_prior import GAITS, MotionPrior
from guidebench.samplers.ddim import DDIM

FRAMES = 6
PROMPTS = list(GAITS)


@pytest.fixture(scope="module")
def prior() -> MotionPrior:
    made = MotionPrior(FRAMES)
    made.load("cpu")
    return made


def velocities(prompts: list[str]) -> MixtureSameFamily:
    """What the gaits say, in metres per second: all of x before all of z."""
    means, covariances, weights = [], [], []
    lag = torch.arange(FRAMES, dtype=torch.float64) / 20
    r = math.sqrt(3) * (lag[:, None] - lag).abs()
    for gait in (GAITS[prompt] for prompt in prompts):
        kernel = gait.wobble**2 * (1 + r / gait.memory) * torch.exp(-r / gait.memory)
        for degrees in gait.headings:
            x, z = gait.speed * math.sin(math.radians(degrees)), gait.speed * math.cos(math.radians(degrees))
            means.append(torch.tensor([x] * FRAMES + [z] * FRAMES, dtype=torch.float64))
            covariances.append(torch.block_diag(kernel, kernel))
            weights.append(1 / len(gait.headings))
    mixture = Categorical(torch.tensor(weights, dtype=torch.float64))
    return MixtureSameFamily(mixture, MultivariateNormal(torch.stack(means), torch.stack(covariances)))


def noise(rows: int) -> Tensor:
    return torch.randn(rows, FRAMES, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def in_model_space(prior: MotionPrior, prompts: list[str], t: float) -> MixtureSameFamily:
    """The density of x_t = alpha_t x_0 + sigma_t eps."""
    alpha, sigma = prior.schedule.alpha(t), prior.schedule.sigma(t)
    clean = velocities(prompts)
    shift, scale = (prior._made[name].repeat_interleave(FRAMES) for name in ("shift", "scale"))
    normal = clean.component_distribution
    mean = alpha * (normal.mean - shift) / scale
    covariance = alpha**2 * normal.covariance_matrix / (scale[:, None] * scale)
    covariance = covariance + sigma**2 * torch.eye(2 * FRAMES, dtype=torch.float64)
    return MixtureSameFamily(clean.mixture_distribution, MultivariateNormal(mean, covariance))


@pytest.mark.parametrize("t", [0.0, 50.0, 500.0, 999.0])
@pytest.mark.parametrize("prompt", ["", "a person walks", "a person walks on a balance beam"])
def test_eps_is_the_scaled_score(prior: MotionPrior, prompt: str, t: float) -> None:
    x = noise(3).requires_grad_()
    density = in_model_space(prior, [prompt] if prompt else PROMPTS, t)
    (score,) = torch.autograd.grad(density.log_prob(x.transpose(1, 2).flatten(1)).sum(), x)
    got = prior.eps(x, t, prior.condition([prompt] * 3))
    torch.testing.assert_close(got, -prior.schedule.sigma(t) * score, rtol=1e-8, atol=1e-8)


def test_without_conditioning_it_is_the_null_prompt(prior: MotionPrior) -> None:
    x = noise(2)
    assert torch.equal(prior.eps(x, 300, None), prior.eps(x, 300, prior.condition(["", ""])))


def test_the_model_space_is_normalised(prior: MotionPrior) -> None:
    everything = in_model_space(prior, PROMPTS, prior.schedule.t_clean)
    mean, variance = (value.unflatten(0, (2, FRAMES)) for value in (everything.mean, everything.variance))
    torch.testing.assert_close(mean, torch.zeros_like(mean))
    torch.testing.assert_close(variance, torch.ones_like(variance))


def test_log_density_is_that_of_the_velocities(prior: MotionPrior) -> None:
    prompts = ["a person jogs", "", "a person walks"]
    x0 = noise(3)
    motions = prior.decode(x0)
    expected = []
    for row, prompt in enumerate(prompts):
        density = in_model_space(prior, [prompt] if prompt else PROMPTS, prior.schedule.t_clean)
        expected.append(density.log_prob(x0[row].T.flatten()))
    torch.testing.assert_close(
        prior.log_density(motions, prompts), torch.stack(expected), rtol=1e-8, atol=1e-6
    )


def test_positions_are_sums_of_velocities_and_back(prior: MotionPrior) -> None:
    x0 = noise(2)
    motions = prior.decode(x0)
    assert motions.shape == (2, FRAMES, 3) and not motions[..., 1].any()
    velocity = x0 * prior._made["scale"] + prior._made["shift"]
    torch.testing.assert_close(motions[:, 2, [0, 2]], velocity[:, :3].sum(1) / 20)
    torch.testing.assert_close(prior.encode(motions), x0)


def test_deterministic_sampling_gives_the_gait() -> None:
    prior = MotionPrior(40)
    prior.load("cpu")
    prompt = "a person walks on a balance beam"
    chain = DDIM(n_steps=50).chain(prior.schedule)
    generator = torch.Generator().manual_seed(0)
    state = chain.init(torch.randn(200, 40, 2, generator=generator))
    guided, cond = Guided(prior, 1.0), prior.condition([prompt] * 200)
    for k in range(chain.n_stages):
        x_t, t = chain.query(state, k)
        state = chain.update(state, guided(x_t, t, cond), k, None)
    end = prior.decode(chain.output(state))[:, -1]
    lag = torch.arange(40, dtype=torch.float64) / 20
    gait = GAITS[prompt]
    r = math.sqrt(3) * (lag[:, None] - lag).abs() / gait.memory
    spread = gait.wobble * float(((1 + r) * torch.exp(-r)).sum().sqrt()) / 20  # of the last position
    assert float(end[:, 2].mean()) == pytest.approx(gait.speed * 2, abs=4 * spread / 200**0.50**0.5)
    assert float(end[:, 0].std()) == pytest.approx(spread, rel=0.2)


def test_rows_do_not_mix_and_single_precision_stays(prior: MotionPrior) -> None:
    x, cond = noise(3).float(), prior.condition(PROMPTS[:3])
    together = prior.eps(x, 200, cond)
    assert together.dtype == torch.float32
    torch.testing.assert_close(prior.eps(x[1:2], 200, cond[1:2]), together[1:2])


def test_an_unknown_prompt_and_a_model_that_is_not_loaded_are_refused(prior: MotionPrior) -> None:
    with pytest.raises(ConfigError, match="'a person flies'; it knows: a person walks, "):
        prior.condition(["a person flies"])
    with pytest.raises(WeightsError, match="not loaded"):
        MotionPrior().decode(noise(1))
    with pytest.raises(ConfigError, match="frames=1"):
        MotionPrior(1)
