import dataclasses
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.methods.base import Setup
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.one_step import OneStep
from guidebench.problems import TextToImage
from guidebench.samplers.ddim import DDIM

CFG = 3.0


@pytest.fixture
def setup(mixture, target) -> Setup:
    return Setup(mixture, DDIM(n_steps=8), target, Checkpointed(), CFG)


def x_of(problems: list[TextToImage], seed: int = 0) -> Tensor:
    return torch.randn(
        len(problems), 3, 2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def guide(
    method: OneStep, setup: Setup, problems: list[TextToImage], x_t: Tensor, t: float
) -> tuple[Tensor, Tensor, Tensor]:
    loss = setup.loss.bind(problems, RandomStreams(problems))
    cond = setup.model.condition([p.prompt for p in problems])
    return method._guide(setup, setup.guided(), loss, x_t, t, cond)


def loss_at_estimate(
    method: OneStep, setup: Setup, problems: list[TextToImage], x_t: Tensor, t: float, cond: Tensor
) -> Tensor:
    """scale * c(D(z)) per sample, z from the definition."""
    alpha_t, sigma_t = setup.model.schedule.alpha(t), setup.model.schedule.sigma(t)
    x0_hat = (x_t - sigma_t * setup.model.eps(x_t, t, cond)) / alpha_t
    z = sigma_t * x0_hat + (1 - sigma_t) * x_t if method.estimate == "blend" else x0_hat
    return method.scale * setup.loss.bind(problems, RandomStreams(problems))(setup.model.decode(z))


@pytest.mark.parametrize("estimate", ["blend", "x0"])
@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("t", [60, 500, 940])
def test_gradient_against_finite_differences(
    setup: Setup, problems, estimate: str, variant: str, t: int
) -> None:
    """The paper's variant differentiates through the conditional branch, the official one through the other."""
    method = OneStep(scale=3.0, estimate=estimate, variant=variant)  # type: ignore[arg-type]
    prompts = [p.prompt if variant == "paper" else "" for p in problems]
    cond, x_t, step = setup.model.condition(prompts), x_of(problems), 1e-5
    direction = x_of(problems, seed=1)
    plus, minus = (
        loss_at_estimate(method, setup, problems, x_t + s * step * direction, t, cond) for s in (1, -1)
    )
    _, loss, grad = guide(method, setup, problems, x_t, t)
    expected = (plus - minus) / (2 * step)
    torch.testing.assert_close((grad * direction).flatten(1).sum(1), expected, rtol=1e-6, atol=1e-8)
    assert expected.abs().min() > 1e-4
    torch.testing.assert_close(3.0 * loss, loss_at_estimate(method, setup, problems, x_t, t, cond))


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_the_prediction_is_that_of_classifier_free_guidance(setup: Setup, problems, variant: str) -> None:
    x_t = x_of(problems)
    eps_cfg, _, _ = guide(OneStep(variant=variant), setup, problems, x_t, 500)  # type: ignore[arg-type]
    uncond = setup.model.eps(x_t, 500, setup.model.condition([""] * 3))
    cond = setup.model.eps(x_t, 500, setup.model.condition([p.prompt for p in problems]))
    torch.testing.assert_close(eps_cfg, uncond + CFG * (cond - uncond), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(uncond, cond)


def test_without_noise_the_estimate_is_x_t_itself(
    setup: Setup, problems, monkeypatch: pytest.MonkeyPatch
) -> None:
    """alpha_bar = 1: the network has no say."""
    seen: list[Tensor] = []
    decode = setup.model.decode
    monkeypatch.setattr(setup.model, "decode", lambda z: seen.append(z.detach()) or decode(z))
    schedule = type("Clean", (), {"alpha": lambda self, t: 1.0, "sigma": lambda self, t: 0.0})()
    monkeypatch.setattr(type(setup.model), "schedule", schedule)
    monkeypatch.setattr(setup.model, "eps", lambda x_t, t, cond: 5 * x_t)
    x_t = x_of(problems)
    guide(OneStep(), setup, problems, x_t, 0)
    assert torch.equal(seen[0], x_t)


def test_equals_the_definition_written_out(setup: Setup, problems) -> None:
    """DDIM steps with eps_cfg + sigma_t G, in double precision and with autograd."""
    method = OneStep(scale=2.0)
    model, streams = setup.model, RandomStreams(problems)
    times = setup.sampler.times(model.schedule)
    cond, null = model.condition([p.prompt for p in problems]), model.condition([""] * 3)
    x = streams.normal(model.sample_shape, "x_T").double()
    for t, u in pairwise(times):
        if t == u:
            continue
        leaf = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(loss_at_estimate(method, setup, problems, leaf, t, cond).sum(), leaf)
        uncond, conditional = model.eps(x, t, null), model.eps(x, t, cond)
        eps = uncond + CFG * (conditional - uncond) + model.schedule.sigma(t) * grad
        x0_hat = (x - model.schedule.sigma(t) * eps) / model.schedule.alpha(t)
        x = model.schedule.alpha(u) * x0_hat + model.schedule.sigma(u) * eps
    generation = method.generate(problems, setup)
    torch.testing.assert_close(generation.latents.double(), x, rtol=1e-4, atol=1e-4)
    unguided = Unguided().generate(problems, setup).latents
    assert (generation.latents - unguided).abs().max() > 1e-2


def test_guidance_lowers_the_loss(setup: Setup, problems) -> None:
    def final_loss(scale: float) -> Tensor:
        images = OneStep(scale=scale).generate(problems, setup).samples
        return setup.loss.bind(problems, None)(images)  # type: ignore[arg-type]

    assert (final_loss(2.0) < final_loss(0.0)).all()


def test_scale_zero_is_unguided_sampling(setup: Setup, problems) -> None:
    guided, plain = OneStep(scale=0.0).generate(problems, setup), Unguided().generate(problems, setup)
    assert torch.equal(guided.samples, plain.samples) and guided.cost == plain.cost


def test_history_has_one_loss_per_step(setup: Setup, problems) -> None:
    history = OneStep(scale=1.0).generate(problems, dataclasses.replace(setup, cfg_scale=1.0)).history["loss"]
    assert history.shape == (3, setup.chain().n_stages) and all(
        map(math.isfinite, history.flatten().tolist())
    )
