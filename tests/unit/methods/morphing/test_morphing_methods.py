"""The family of DiM: costs, searches against brute force, and what a blend does to methods that go on from it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.grids import Linspace
from guidebench.diffusion.random import RandomStreams
from guidebench.gradients.adjoint_deis import AdjointDEIS
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.reversible import Reversible
from guidebench.losses.identity import Identity
from guidebench.methods.base import Method, Setup
from guidebench.methods.end_to_end.doodl import DOODL
from guidebench.methods.end_to_end.flowgrad import FlowGrad
from guidebench.methods.end_to_end.implicit_diffusion import ImplicitDiffusion
from guidebench.methods.end_to_end.latent_descent import LatentDescent
from guidebench.methods.morphing.best_blend import BestBlend
from guidebench.methods.morphing.dim import DiM
from guidebench.methods.morphing.encoders import ClippedInversion, CycleSDE, Inversion
from guidebench.methods.morphing.greedy_search import GreedySearch
from guidebench.methods.morphing.parents import encode_parents
from guidebench.methods.posterior.freedom import FreeDoM
from guidebench.methods.posterior.greedy import Greedy
from guidebench.methods.posterior.lgd_mc import LGDMC
from guidebench.pixels import to_tensor
from guidebench.problems import Morph
from guidebench.samplers.base import Sampler
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.dpm_solver import DPMSolver
from guidebench.samplers.edict import EDICT
from guidebench.samplers.sde_dpm_solver import SDEDPMSolver
from tiny_faces import TinyAutoencoder

ODE = DDIM(6, Linspace())
ENCODER = Inversion(DDIM(8, Linspace()))


def loss_of(identity: Identity, problems: list[Morph], images: Tensor) -> Tensor:
    return identity.bind(problems, RandomStreams(problems))(images)


FAMILY: dict[str, Callable[[], tuple[Method, Sampler, object]]] = {
    "dim": lambda: (DiM(ENCODER), ODE, None),
    "dim_b": lambda: (DiM(ENCODER, interpolation="lerp"), ODE, None),
    "dim_c": lambda: (DiM(ENCODER, pre_morph="average"), ODE, None),
    "fast_dim": lambda: (DiM(ClippedInversion(10)), DPMSolver(5, Linspace()), None),
    "dim_sde": lambda: (DiM(CycleSDE()), SDEDPMSolver(6, Linspace()), None),
    "morph_pipe": lambda: (BestBlend(ENCODER, 5), ODE, None),
    "random_blends": lambda: (BestBlend(ENCODER, 5, "random"), ODE, None),
    "greedy_dim_s": lambda: (GreedySearch(ENCODER, 5), ODE, None),
    "greedy_dim": lambda: (DiM(ENCODER, method=Greedy(n_opt=3)), ODE, None),
    "freedom": lambda: (DiM(ENCODER, method=FreeDoM(0.05, n_repeats=1)), ODE, None),
    "lgd_mc": lambda: (DiM(ENCODER, method=LGDMC(1.0, n_mc=2)), ODE, None),
    "doodl": lambda: (DiM(ENCODER, method=DOODL(1.0, 3, clip=0.1)), EDICT(5, p=0.93), Reversible()),
    "descent": lambda: (DiM(ENCODER, method=LatentDescent(0.3, 3)), ODE, Checkpointed()),
    "adjoint_deis": lambda: (DiM(ENCODER, method=LatentDescent(0.3, 3)), DDIM(20, Linspace()), AdjointDEIS()),
    "descent_sde": lambda: (
        DiM(CycleSDE(), method=LatentDescent(0.3, 3)),
        SDEDPMSolver(6, Linspace()),
        Checkpointed(),
    ),
    "flowgrad": lambda: (DiM(ENCODER, method=FlowGrad(0.1, 3)), ODE, Checkpointed()),
    "implicit_diffusion": lambda: (DiM(ENCODER, method=ImplicitDiffusion(0.3, 3)), ODE, None),
}


def made(name: str, model: TinyAutoencoder, identity: Identity) -> tuple[Method, Setup]:
    method, sampler, gradient = FAMILY[name]()
    used = {"sampler": sampler, "loss": identity, "gradient": gradient}
    return method, Setup(model, **{use: used[use] for use in method.uses})


@pytest.mark.parametrize("name", FAMILY)
def test_rows_are_the_declared_ones_and_samples_do_not_depend_on_the_batch(
    name: str, model: TinyAutoencoder, identity: Identity, pairs: list[Morph]
) -> None:
    method, setup = made(name, model, identity)
    together = method.generate(pairs, setup)
    assert not together.failures and together.samples.isfinite().all()
    assert model.rows == len(pairs) * together.spent.nfe_fwd
    assert together.cost == together.spent == method.cost(setup)
    for row, problem in enumerate(pairs):
        alone = method.generate([problem], setup)
        torch.testing.assert_close(alone.samples[0], together.samples[row], atol=2e-4, rtol=0)
        for curve, values in alone.history.items():
            torch.testing.assert_close(values[0], together.history[curve][row], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "name",
    [
        "morph_pipe",
        "greedy_dim_s",
        "greedy_dim",
        "freedom",
        "lgd_mc",
        "doodl",
        "descent",
        "flowgrad",
        "implicit_diffusion",
        "adjoint_deis",
    ],
)
def test_what_is_guided_or_searched_loses_less_than_its_blend(
    name: str, model: TinyAutoencoder, identity: Identity, pairs: list[Morph]
) -> None:
    method, setup = made(name, model, identity)
    blend = DiM(ENCODER).generate(pairs, Setup(model, setup.sampler))
    better = method.generate(pairs, setup)
    assert loss_of(identity, pairs, better.samples).mean() < loss_of(identity, pairs, blend.samples).mean()


@pytest.mark.parametrize(
    ("printed", "method", "sampler", "gradient"),
    [
        (350, DiM(ClippedInversion(250)), DDIM(100, Linspace()), None),
        (300, DiM(ClippedInversion(250)), DPMSolver(50, Linspace()), None),
        (150, DiM(Inversion(DPMSolver(100, Linspace(), solver_order=1))), DPMSolver(50, Linspace()), None),
        (2350, BestBlend(ClippedInversion(250), 21), DDIM(100, Linspace()), None),
        (270, DiM(ClippedInversion(250), method=Greedy()), DDIM(20, Linspace()), None),
        (2250, DiM(ClippedInversion(250), method=LatentDescent()), DDIM(20, Linspace()), AdjointDEIS()),
        (2250, DiM(ClippedInversion(250), method=LatentDescent()), DDIM(20, Linspace()), Checkpointed()),
    ],
)
def test_evaluations_as_the_paper_counts_them(
    printed: int,
    method: Method,
    sampler: Sampler,
    gradient: object,
    model: TinyAutoencoder,
    identity: Identity,
) -> None:
    used = {"sampler": sampler, "loss": identity, "gradient": gradient}
    setup = Setup(model, **{use: used[use] for use in method.uses})
    assert isinstance(method, DiM | BestBlend)
    assert method.printed_evaluations(setup) == printed


def test_ours_counts_both_people_and_the_last_pass(model: TinyAutoencoder, identity: Identity) -> None:
    method = DiM(ClippedInversion(250), method=LatentDescent())
    setup = Setup(model, DDIM(20, Linspace()), identity, AdjointDEIS())
    assert method.cost(setup) == Cost(nfe_fwd=2 * 250 + 50 * (20 + 20) + 20, nfe_bwd=50 * 20)


def test_morph_pipe_keeps_the_best_of_its_blends_and_shows_them_in_order(
    model: TinyAutoencoder, identity: Identity, pairs: list[Morph]
) -> None:
    setup = Setup(model, ODE, identity)
    best = BestBlend(ENCODER, 5).generate(pairs, setup)
    blends = [DiM(ENCODER, weight).generate(pairs, Setup(model, ODE)) for weight in (0, 0.25, 0.5, 0.75, 1)]
    losses = torch.stack([loss_of(identity, pairs, model.decode(blend.latents)) for blend in blends], dim=1)
    torch.testing.assert_close(best.history["loss"], losses, atol=1e-4, rtol=1e-4)
    for row, chosen in enumerate(losses.argmin(dim=1).tolist()):
        torch.testing.assert_close(best.samples[row], blends[chosen].samples[row], atol=1e-4, rtol=0)
    frames = torch.stack([blend.samples for blend in blends], dim=1)
    torch.testing.assert_close(best.parts["frames"].values, frames, atol=1e-4, rtol=0)
    assert best.parts["frames"].kind == "frames"


def test_random_blends_belong_to_the_case_and_the_seed(
    model: TinyAutoencoder, identity: Identity, pairs: list[Morph]
) -> None:
    setup, method = Setup(model, ODE, identity), BestBlend(ENCODER, 200, "random")
    weights = method._weights(RandomStreams(pairs).normal((200, 2), "any"))
    assert weights.min() > 0 and weights.max() < 1
    assert (weights.mean() - 0.5).abs() < 0.05 and (weights.var() - 1 / 12).abs() < 0.01
    few = BestBlend(ENCODER, 3, "random")
    first, again = few.generate(pairs, setup), few.generate(pairs, setup)
    assert torch.equal(first.history["weight"], again.history["weight"])
    assert not torch.equal(first.history["weight"][0], first.history["weight"][1])
    assert "frames" not in first.parts


def test_greedy_search_steps_with_the_best_blend_of_predictions(
    model: TinyAutoencoder, identity: Identity, pairs: list[Morph]
) -> None:
    sampler = DDIM(1, Linspace())
    setup = Setup(model, sampler, identity)
    found = GreedySearch(ENCODER, 3, "lerp").generate(pairs, setup)
    parents = encode_parents(pairs, setup, ENCODER)
    x_T, (alpha, sigma) = (
        parents.blended(0.5, "lerp").start,
        (model.schedule.alpha(999), model.schedule.sigma(999)),
    )
    eps_a, eps_b = (model.eps(x_T, 999.0, z) for z in parents.cond)
    clean = [(x_T - sigma * ((1 - w) * eps_a + w * eps_b)) / alpha for w in (0.0, 0.5, 1.0)]
    losses = torch.stack([loss_of(identity, pairs, model.decode(x)) for x in clean], dim=1)
    torch.testing.assert_close(found.history["loss"][:, 0], losses.amin(dim=1), atol=1e-3, rtol=1e-3)
    best = torch.stack([clean[w][row] for row, w in enumerate(losses.argmin(dim=1).tolist())])
    expected = sampler.chain(model.schedule).times
    assert expected == (999.0, 0.0)
    alpha_0, sigma_0 = model.schedule.alpha(0), model.schedule.sigma(0)
    torch.testing.assert_close(
        found.latents, alpha_0 * best + sigma_0 * (x_T - alpha * best) / sigma, atol=1e-3, rtol=1e-3
    )


def test_variant_c_encodes_the_mean_picture_with_both_codes(
    model: TinyAutoencoder, pairs: list[Morph]
) -> None:
    setup = Setup(model, ODE)
    plain, average = encode_parents(pairs, setup, ENCODER), encode_parents(pairs, setup, ENCODER, "average")
    assert torch.equal(plain.cond[0], average.cond[0]) and torch.equal(plain.cond[1], average.cond[1])
    mean = (to_tensor([p.a.load() for p in pairs]) + to_tensor([p.b.load() for p in pairs])) / 2
    for cond, x_T in zip(average.cond, average.x_T, strict=True):
        alone = ENCODER.encode(setup, model.eps, model.encode(mean), cond, lambda: mean).x_T
        torch.testing.assert_close(x_T, alone, atol=1e-5, rtol=0)
    assert not torch.allclose(average.x_T[0], average.x_T[1], atol=1e-3)  # the codes differ
