"""Encoders, against the exact flow of a Gaussian, DiffAE's loop as its arrays say it, and their own decoding."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.analytic import Gaussian
from guidebench.diffusion.grids import Linspace, UniformLambda
from guidebench.errors import ConfigError
from guidebench.methods.base import Setup
from guidebench.methods.morphing.dim import DiM
from guidebench.methods.morphing.encoders import ClippedInversion, CycleSDE, Encoder, Inversion
from guidebench.pixels import to_tensor
from guidebench.problems import Morph
from guidebench.samplers.base import sample
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.dpm_solver import DPMSolver
from guidebench.samplers.sde_dpm_solver import SDEDPMSolver
from tiny_faces import SHAPE, TinyAutoencoder, pair

SDE = SDEDPMSolver(10, Linspace())


def drawing() -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda: torch.randn(2, *SHAPE, generator=generator)


def test_inversion_follows_the_exact_flow(model: TinyAutoencoder) -> None:
    exact = Gaussian(model.schedule, torch.zeros(48), torch.full((48,), 0.3))
    x_0 = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    encoder = Inversion(DPMSolver(200, UniformLambda(on_table=False)))
    encoding = encoder.encode(
        Setup(model),
        lambda x, t, cond: exact(x.flatten(1), t).unflatten(1, SHAPE),
        x_0,
        torch.zeros(2, 5),
        drawing(),
    )
    gain = exact.ode_gain(0.0, 999.0).view(SHAPE)
    torch.testing.assert_close(encoding.x_T, gain * x_0, rtol=1e-3, atol=1e-4)
    assert encoding.noises is None


def test_the_jobs_sampler_inverts_itself_where_none_is_named(model: TinyAutoencoder) -> None:
    setup, named = Setup(model, DDIM(7, Linspace())), Inversion(DDIM(7, Linspace()))
    x_0, cond = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.ones(2, 5)
    both = [e.encode(setup, model.eps, x_0, cond, drawing()).x_T for e in (Inversion(), named)]
    assert torch.equal(*both) and Inversion().evaluations(setup) == 7


def test_clipped_inversion_is_diffaes_loop(model: TinyAutoencoder) -> None:
    """The same loop with arrays of cumulative products, whose next one after the last index is 0."""
    n, x_0, cond = (
        20,
        1.5 * torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0)),
        torch.ones(2, 5),
    )
    bars = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    indices = list(range(0, 1000, 1000 // n))
    kept = [float(bars[i]) for i in indices]
    following, x = [*kept[1:], 0.0], x_0
    for i, now, after in zip(indices, kept, following, strict=True):
        eps = model.eps(x, float(i), cond)
        start = (x / now**0.5 - (1 / now - 1) ** 0.5 * eps).clamp(-1, 1)
        eps = (x / now**0.5 - start) / (1 / now - 1) ** 0.5
        x = after**0.5 * start + (1 - after) ** 0.5 * eps
    encoder = ClippedInversion(n)
    encoding = encoder.encode(Setup(model), model.eps, x_0, cond, drawing())
    torch.testing.assert_close(encoding.x_T, x, rtol=1e-3, atol=1e-3)
    unclipped = Inversion(DDIM(n, Linspace())).encode(Setup(model), model.eps, x_0, cond, drawing())
    assert (unclipped.x_T - x).abs().max() > 0.05  # else nothing was clipped
    assert encoder.evaluations(Setup(model)) == n


@pytest.mark.parametrize("coherent", [True, False])
def test_cycle_sde_replays_the_picture_exactly_and_another_code_changes_it(
    model: TinyAutoencoder, coherent: bool
) -> None:
    setup = Setup(model, SDE)
    x_0, cond = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.ones(2, 5)
    encoding = CycleSDE(coherent).encode(setup, model.eps, x_0, cond, drawing())
    chain = setup.chain()
    assert encoding.noises is not None and len(encoding.noises) == chain.n_stages
    (again,) = sample(chain, model.eps, (encoding.x_T,), cond=cond, noises=encoding.noises)
    torch.testing.assert_close(again, x_0, atol=1e-4, rtol=0)
    (edited,) = sample(chain, model.eps, (encoding.x_T,), cond=-cond, noises=encoding.noises)
    assert (edited - x_0).abs().max() > 0.05
    rms = torch.stack([n for n in encoding.noises if n is not None]).square().mean().sqrt()
    assert 0.5 < rms < 3


def test_cycle_sde_needs_a_stochastic_sampler(model: TinyAutoencoder, pairs: list[Morph]) -> None:
    with pytest.raises(ConfigError, match=r"method\.encoder: .*sde_dpm_solver"):
        DiM(CycleSDE()).generate(pairs, Setup(model, DDIM(5, Linspace())))


@pytest.mark.parametrize("encoder", [Inversion(), CycleSDE()])
def test_a_morph_of_somebody_with_himself_is_himself(model: TinyAutoencoder, encoder: Encoder) -> None:
    stochastic = isinstance(encoder, CycleSDE)
    sampler = SDE if stochastic else DPMSolver(100, UniformLambda(on_table=False))
    problem = pair(4, 4)
    for weight in (0.0, 0.5):
        made = DiM(encoder, weight).generate([problem], Setup(model, sampler))
        alone = to_tensor([problem.a.load()])
        if stochastic and weight:  # two paths to one picture: their mean leads elsewhere
            continue
        torch.testing.assert_close(made.samples, alone, atol=2e-2, rtol=0)


def test_sampling_starts_at_the_blend_with_blended_noises(model: TinyAutoencoder, pairs: list[Morph]) -> None:
    setup = Setup(model, SDE)
    first, second = (DiM(CycleSDE(), weight).generate(pairs, setup).latents for weight in (0.0, 1.0))
    own, other = (
        model.encode(to_tensor([p.load() for p in side]))
        for side in zip(*((p.a, p.b) for p in pairs), strict=True)
    )
    torch.testing.assert_close(first, own, atol=1e-4, rtol=0)
    torch.testing.assert_close(second, other, atol=1e-4, rtol=0)
    between = DiM(CycleSDE()).generate(pairs, setup).latents
    assert (between - first).abs().max() > 0.1 and (between - second).abs().max() > 0.1


def test_clipped_inversion_needs_a_table_with_as_many_times(
    model: TinyAutoencoder, pairs: list[Morph]
) -> None:
    for steps in (0, 1001):
        with pytest.raises(ConfigError, match=rf"method\.encoder: .*n_steps={steps}"):
            DiM(ClippedInversion(steps)).generate(pairs, Setup(model, DDIM(5, Linspace())))
