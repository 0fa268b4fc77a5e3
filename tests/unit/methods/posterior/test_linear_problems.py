"""PiGDM, DDRM and the linear loss against dense linear algebra."""

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from guidebench.diffusion.analytic import Gaussian
from guidebench.diffusion.random import RandomStreams
from guidebench.diffusion.schedules import EDM, ScaledLinear
from guidebench.errors import ConfigError
from guidebench.gradients.direct import Direct
from guidebench.losses.linear_inverse import LinearInverse
from guidebench.methods.base import Setup
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.ddrm import DDRM
from guidebench.methods.posterior.dps import DPS
from guidebench.methods.posterior.guidance import DecodedLoss
from guidebench.methods.posterior.likelihood import monte_carlo
from guidebench.methods.posterior.linear_model import LinearModel, linear_model
from guidebench.methods.posterior.pigdm import PiGDM
from guidebench.methods.posterior.stage import Stage
from guidebench.operators.bicubic import BicubicDownsampling
from guidebench.operators.linear import DenseOperator
from guidebench.pixels import to_tensor
from guidebench.problems import Picture, Restoration
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.edict import EDICT

D = 6
VE, VP = EDM(), ScaledLinear()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


H = normal(3, D, seed=1)
PRIOR = {"mean": normal(D, seed=2), "variance": torch.linspace(0.3, 2.0, D, dtype=torch.float64)}


def linear(sigma_y: float, b: int = 4) -> LinearModel:
    return LinearModel(DenseOperator(H), normal(b, 3, seed=3), sigma_y)


def stage_of(model: LinearModel, t: float, schedule: Any = VP) -> Stage:
    chain = DDIM(1).chain(schedule, (t, schedule.t_clean))
    x_t = normal(len(model.y), D, seed=4)
    return Stage(
        chain, 0, x_t, t, Gaussian(schedule, **PRIOR), None, model, lambda n: normal(n, *x_t.shape), True
    )


@pytest.mark.parametrize("sigma_y", [0.0, 0.4])
def test_pigdm_is_its_formula(sigma_y: float) -> None:
    model, t = linear(sigma_y), 600.0
    stage = stage_of(model, t)
    a, s = VP.alpha(t), VP.sigma(t)
    r2, v = s**2, PRIOR["variance"]
    J = torch.diag(a * v / (a**2 * v + s**2))  # d x0_hat / d x_t of a Gaussian
    covariance = r2 * H @ H.T + sigma_y**2 * torch.eye(3, dtype=torch.float64)
    error = model.y - stage.x0_hat @ H.T
    expected = r2 * torch.linalg.solve(covariance, error.T).T @ H @ J
    if sigma_y == 0:
        torch.testing.assert_close(expected, error @ torch.linalg.pinv(H).T @ J, rtol=1e-8, atol=1e-8)
    plain, guided = (
        stage.chain.update((stage.x_t,), eps, 0)[0]
        for eps in (stage.eps, PiGDM(0.5, "pigdm_code").guide(stage_of(model, t)))
    )
    torch.testing.assert_close(guided - plain, 0.5 * a * expected, rtol=1e-6, atol=1e-8)


def test_pigdm_is_what_lgd_tends_to() -> None:
    """The squared error of the Gaussian around x0_hat: n draws against the closed form, over r^2."""
    model = linear(0.8, b=1)
    stage = stage_of(model, 700.0)
    r = stage.paper_spread
    found = monte_carlo(
        lambda x: (model.y - x @ H.T).square().sum(-1) / (2 * 0.8**2),
        stage.x0_hat,
        normal(400_000, 1, D),
        r,
        50_000,
    ).grad
    exact = model.operator.whitened_adjoint(model.y - model.operator(stage.x0_hat), r, 0.8) / r**2
    assert (found - exact).norm() / exact.norm() < 0.1


def ddrm_in_the_basis(
    model: LinearModel, x: Tensor, level: float, level_u: float, m: Tensor, xi: Tensor
) -> Tensor:
    """The update written out for each direction, in x / alpha."""
    eta, eta_b, sigma_y = 0.85, 1.0, model.sigma_y
    u, s, vt = torch.linalg.svd(H)
    x_, m_, xi_ = (v @ vt.T for v in (x, m, xi))
    z = (model.y @ u) / s
    out = torch.empty_like(x_)
    for i in range(D):
        kept = (1 - eta**2) ** 0.5 * level_u
        if i >= 3:
            out[:, i] = m_[:, i] + kept * (x_[:, i] - m_[:, i]) / level + eta * level_u * xi_[:, i]
        elif level_u < sigma_y / s[i]:
            out[:, i] = m_[:, i] + kept * (z[:, i] - m_[:, i]) * s[i] / sigma_y + eta * level_u * xi_[:, i]
        else:
            spread = (level_u**2 - eta_b**2 * sigma_y**2 / s[i] ** 2) ** 0.5
            out[:, i] = (1 - eta_b) * m_[:, i] + eta_b * z[:, i] + spread * xi_[:, i]
    return out @ vt


@pytest.mark.parametrize("sigma_y", [0.0, 0.4, 3.0])
@pytest.mark.parametrize(("t", "u"), [(700.0, 300.0), (300.0, 20.0), (20.0, -1.0)])
def test_ddrm_is_its_update(sigma_y: float, t: float, u: float) -> None:
    model = linear(sigma_y)
    chain = DDIM(1).chain(VP, (t, u))
    x_t, xi = normal(4, D, seed=4), normal(1, 4, D, seed=5)
    stage = Stage(chain, 0, x_t, t, Gaussian(VP, **PRIOR), None, model, lambda n: xi, False)
    found = chain.update((x_t,), DDRM().guide(stage), 0)[0]
    level, level_u = VP.sigma(t) / VP.alpha(t), VP.sigma(u) / VP.alpha(u)
    expected = ddrm_in_the_basis(model, x_t / VP.alpha(t), level, level_u, stage.x0_hat, xi[0])
    torch.testing.assert_close(found, VP.alpha(u) * expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("schedule", [VP, VE])
def test_ddrm_without_noise_meets_the_observation(schedule: Any) -> None:
    model = linear(0.0)
    times = (900.0, 500.0, 100.0, -1.0) if schedule is VP else (80.0, 5.0, 0.5, 0.0)
    chain = DDIM(3).chain(schedule, times)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        state, history = DDRM().run(
            chain,
            Gaussian(schedule, **PRIOR),
            chain.init(schedule.prior_std * normal(4, D)),
            model,
            lambda n: torch.randn(n, 4, D, generator=generator, dtype=torch.float64),
        )
    torch.testing.assert_close(chain.output(state) @ H.T, model.y, rtol=1e-4, atol=1e-4)
    assert history["loss"].shape == (4, 3)


# -- with pixels ---------------------------------------------------------------------------------------------------


def noise_picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def restorations() -> list[Restoration]:
    return [Restoration(f"case-{i}", i, Picture(f"n{i}", partial(noise_picture, i))) for i in range(3)]


@pytest.fixture
def setup(mixture, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """A model of pixels in [-1, 1], 3 x 8 x 8, whose data are a Gaussian of grey pictures."""
    shape = (3, 8, 8)
    exact = Gaussian(VP, torch.zeros(192, dtype=torch.float64), torch.full((192,), 0.3, dtype=torch.float64))
    kind = type(mixture)
    monkeypatch.setattr(kind, "sample_shape", shape)
    monkeypatch.setattr(kind, "decode", lambda self, x: x / 2 + 0.5)
    monkeypatch.setattr(kind, "encode", lambda self, images: 2 * images - 1)
    monkeypatch.setattr(kind, "eps", lambda self, x, t, cond: exact(x.flatten(1), t).view_as(x).to(x.dtype))
    loss = LinearInverse(BicubicDownsampling(2), sigma_y=0.0, spread=0.7071)
    return Setup(mixture, DDIM(n_steps=10), loss, Direct(), 1.0)


def test_the_observation_is_the_operators_and_the_noise_each_problems_own(
    restorations: list[Restoration],
) -> None:
    operator = BicubicDownsampling(2)
    clean = operator(to_tensor([p.reference.load() for p in restorations]))
    quiet, noisy = LinearInverse(operator, spread=1.0), LinearInverse(operator, 0.1)
    streams = RandomStreams(restorations)
    torch.testing.assert_close(quiet.bind(restorations, streams).observation, clean)
    observed = noisy.bind(restorations, streams).observation
    assert float((observed - clean).std()) == pytest.approx(0.1, rel=0.3)
    copies = noisy.bind(restorations[::-1] * 2, RandomStreams(restorations[::-1], copies=2)).observation
    assert torch.equal(copies[:3].flip(0), observed) and torch.equal(copies[3:], copies[:3])
    loss = noisy.bind(restorations, streams)
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = (observed - operator(images)).square().flatten(1).sum(1) / (2 * 0.1**2)
    torch.testing.assert_close(loss(images), expected)
    with pytest.raises(ConfigError, match="spread above 0"):
        LinearInverse(operator)


def test_the_observation_is_carried_to_the_models_space(
    setup: Setup, restorations: list[Restoration]
) -> None:
    setup = dataclasses.replace(setup, loss=LinearInverse(BicubicDownsampling(2), 0.1))
    model = linear_model(setup, restorations, RandomStreams(restorations), "pigdm")
    bound = setup.loss.bind(restorations, RandomStreams(restorations))
    torch.testing.assert_close(model.y, 2 * bound.observation - 1, rtol=1e-5, atol=1e-5)
    assert model.sigma_y == pytest.approx(0.2)


@pytest.mark.parametrize(
    "method", [PiGDM(), PiGDM(init="observation"), DDRM(), DPS(5.0)], ids=lambda m: type(m).__name__
)
def test_restores_towards_the_observation(setup: Setup, restorations: list[Restoration], method: Any) -> None:
    def misfit(samples: Tensor) -> Tensor:
        return DecodedLoss(setup, restorations, setup.streams(restorations))(
            setup.model.encode(samples)[None]
        )[0]

    generation = method.generate(restorations, setup)
    assert generation.samples.shape == (3, 3, 8, 8) and not generation.failures
    plain = Unguided().generate(restorations, setup)
    # clamped to [0, 1], which moves what noise pictures need
    assert (misfit(generation.samples) < 0.5 * misfit(plain.samples)).all()
    assert generation.cost == generation.spent == method.cost(setup)
    alone = method.generate(restorations[1:2], setup)
    torch.testing.assert_close(alone.latents[0], generation.latents[1], rtol=1e-4, atol=1e-4)


def test_ddrm_takes_the_grid_of_any_sampler(setup: Setup, restorations: list[Restoration]) -> None:
    edict = dataclasses.replace(setup, sampler=EDICT(n_steps=10))
    assert torch.equal(
        DDRM().generate(restorations, edict).latents, DDRM().generate(restorations, setup).latents
    )


def test_other_losses_and_spaces_are_refused(
    mixture, target, setup: Setup, restorations: list[Restoration]
) -> None:
    with pytest.raises(ConfigError, match="loss=linear_inverse"):
        PiGDM().generate(restorations, dataclasses.replace(setup, loss=target))


def test_a_space_that_is_no_rescaling_is_refused(mixture, restorations: list[Restoration]) -> None:
    setup = Setup(mixture, DDIM(4), LinearInverse(BicubicDownsampling(2), spread=1.0), Direct(), 1.0)
    for method in (PiGDM(), DDRM()):
        with pytest.raises(ConfigError, match="pixel-space model"):
            method.generate(restorations, setup)
