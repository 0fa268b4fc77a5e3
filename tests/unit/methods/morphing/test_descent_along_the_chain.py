"""Descent on x_T, z or controls, against autograd through the whole chain."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.grids import Linspace
from guidebench.diffusion.random import RandomStreams
from guidebench.errors import ConfigError
from guidebench.gradients.adjoint_deis import AdjointDEIS
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.losses.identity import Identity
from guidebench.methods.base import Setup
from guidebench.methods.end_to_end.flowgrad import FlowGrad
from guidebench.methods.end_to_end.implicit_diffusion import ImplicitDiffusion
from guidebench.methods.end_to_end.latent_descent import LatentDescent
from guidebench.methods.morphing.encoders import CycleSDE, Inversion
from guidebench.methods.morphing.parents import Blended, encode_parents
from guidebench.methods.none import Unguided
from guidebench.problems import Morph
from guidebench.samplers.base import sample
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.sde_dpm_solver import SDEDPMSolver
from tiny_faces import TinyAutoencoder

ODE = DDIM(5, Linspace())


@pytest.fixture
def start(model: TinyAutoencoder, identity: Identity, pairs: list[Morph]) -> Blended:
    """Where the descent starts."""
    return encode_parents(pairs, Setup(model, ODE, identity, Checkpointed()), Inversion()).blended(0.5)


def by_autograd(
    start: Blended, pairs: Sequence[Morph], controls: Sequence[Tensor] = (), gains: Sequence[float] = ()
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Losses (b,), and the gradients of their sum with respect to x_T, z and each control."""
    chain, loss = start.chain(), start.loss.bind(pairs, RandomStreams(pairs))
    leaves = [start.start.clone().requires_grad_(), start.cond.clone().requires_grad_()]
    controls = [u.clone().requires_grad_() for u in controls]
    state = chain.init(leaves[0])
    noises = start.recorded or [None] * chain.n_stages
    for k in range(chain.n_stages):
        x_t, t = chain.query(state, k)
        state = chain.update(state, start.model.eps(x_t, t, leaves[1]), k, noises[k])
        if controls:
            state = (state[0] + gains[k] * controls[k],)
    value = loss(start.model.decode(chain.output(state)))
    return value, torch.autograd.grad(value.sum(), [*leaves, *controls])


def test_one_step_of_descent_is_the_gradient_step(start: Blended, pairs: list[Morph]) -> None:
    made = LatentDescent(0.7, 1).generate(pairs, start)
    value, (x_T, cond) = by_autograd(start, pairs)
    torch.testing.assert_close(made.history["loss"][:, 0], value, atol=1e-5, rtol=1e-5)
    chain = start.chain()
    moved = sample(chain, start.model.eps, (start.start - 0.7 * x_T,), cond=start.cond - 0.7 * cond)
    torch.testing.assert_close(made.latents, moved[0], atol=1e-4, rtol=1e-4)
    assert (moved[0] - Unguided().generate(pairs, start).latents).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["x_T", "cond"])
def test_what_is_not_optimised_stays(start: Blended, pairs: list[Morph], name: str) -> None:
    made = LatentDescent(0.7, 1, [name]).generate(pairs, start)  # type: ignore[list-item]
    x_T, cond = by_autograd(start, pairs)[1]
    at = (start.start - 0.7 * x_T, start.cond) if name == "x_T" else (start.start, start.cond - 0.7 * cond)
    moved = sample(start.chain(), start.model.eps, (at[0],), cond=at[1])
    torch.testing.assert_close(made.latents, moved[0], atol=1e-4, rtol=1e-4)


def test_the_released_code_divides_by_its_batch_and_leaves_the_last_update_out(
    start: Blended, pairs: list[Morph]
) -> None:
    official = LatentDescent(1.6, 3, variant="official").generate(pairs, start)
    paper = LatentDescent(0.1, 2).generate(pairs, start)
    torch.testing.assert_close(official.latents, paper.latents)
    assert official.cost == paper.cost and official.history["loss"].shape == (3, 2)


def test_a_stochastic_sampler_keeps_its_recorded_noise(
    model: TinyAutoencoder, identity: Identity, pairs: list[Morph]
) -> None:
    setup = Setup(model, SDEDPMSolver(5, Linspace()), identity, Checkpointed())
    start = encode_parents(pairs, setup, CycleSDE()).blended(0.5)
    value, (x_T, cond) = by_autograd(start, pairs)
    made = LatentDescent(0.5, 1).generate(pairs, start)
    moved = sample(
        start.chain(),
        model.eps,
        (start.start - 0.5 * x_T,),
        cond=start.cond - 0.5 * cond,
        noises=start.recorded,
    )
    torch.testing.assert_close(made.history["loss"][:, 0], value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(made.latents, moved[0], atol=1e-4, rtol=1e-4)


def test_adjoint_and_sampling_grids_may_differ(
    model: TinyAutoencoder, identity: Identity, pairs: list[Morph]
) -> None:
    gradient = AdjointDEIS(n_steps=7, grid=Linspace(), states="inverted1")
    setup = Setup(model, DDIM(20, Linspace()), identity, gradient)
    start = encode_parents(pairs, setup, Inversion()).blended(0.5)
    with pytest.warns(UserWarning, match="sign flips"):
        made = LatentDescent(0.1, 2).generate(pairs, start)
    assert made.cost == LatentDescent(0.1, 2).cost(start) and made.cost.nfe_bwd == 2 * 7


def test_impulses_are_added_before_each_step(start: Blended, pairs: list[Morph]) -> None:
    n = start.chain().n_stages
    made = FlowGrad(0.3, 1).generate(pairs, start)
    gains = [1.0] * (n - 1) + [0.0]
    zeros = [torch.zeros_like(start.start)] * n
    value, (x_T, _, *grads) = by_autograd(start, pairs, zeros, gains)
    torch.testing.assert_close(made.history["loss"][:, 0], value, atol=1e-5, rtol=1e-5)
    chain, state = start.chain(), start.chain().init(start.start - 0.3 * x_T)
    for k in range(n):
        if k:
            state = (state[0] - 0.3 * grads[k - 1],)
        x_t, t = chain.query(state, k)
        state = chain.update(state, start.model.eps(x_t, t, start.cond), k)
    torch.testing.assert_close(made.latents, state[0], atol=1e-4, rtol=1e-4)


def test_the_papers_controls_are_part_of_the_flow_and_are_penalised(
    start: Blended, pairs: list[Morph]
) -> None:
    chain = start.chain()
    n, times = chain.n_stages, chain.times
    gains = [(times[k] - times[k + 1]) / (times[0] - times[-1]) for k in range(n)]
    assert sum(gains) == pytest.approx(1)
    zeros = [torch.zeros_like(start.start)] * n
    first = [-2.0 * g for g in by_autograd(start, pairs, zeros, gains)[1][2:]]
    value, (_, _, *grads) = by_autograd(start, pairs, first, gains)
    second = [u - 2.0 * (g + 2 * 0.4 * dt * u) for u, g, dt in zip(first, grads, gains, strict=True)]
    made = FlowGrad(2.0, 2, "flow", penalty=0.4).generate(pairs, start)
    torch.testing.assert_close(made.history["loss"][:, 1], value, atol=1e-5, rtol=1e-5)
    state = chain.init(start.start)
    for k in range(n):
        x_t, t = chain.query(state, k)
        state = (chain.update(state, start.model.eps(x_t, t, start.cond), k)[0] + gains[k] * second[k],)
    torch.testing.assert_close(made.latents, state[0], atol=1e-4, rtol=1e-4)


def test_flowgrad_refuses_what_has_no_meaning() -> None:
    with pytest.raises(ConfigError, match=r"method\.penalty: got 1, .*form=flow"):
        FlowGrad(form="impulse", penalty=1.0)


def test_the_first_update_of_implicit_diffusion_is_descents(start: Blended, pairs: list[Morph]) -> None:
    implicit, descent = (
        method(0.5, 1).generate(pairs, start) for method in (ImplicitDiffusion, LatentDescent)
    )
    torch.testing.assert_close(implicit.latents, descent.latents, atol=1e-5, rtol=1e-5)


def test_implicit_diffusion_differentiates_the_path_that_was_run(start: Blended, pairs: list[Morph]) -> None:
    """Two updates: the second sample set out before the first update, and made its last step after it."""
    chain, loss, rate = start.chain(), start.loss.bind(pairs, RandomStreams(pairs)), 0.5
    value, (x_grad, z_grad) = by_autograd(start, pairs)
    after = start.cond - rate * z_grad
    x_T = start.start.clone().requires_grad_()
    shift = torch.zeros_like(start.cond).requires_grad_()
    state = chain.init(x_T)
    for k in range(chain.n_stages):
        x_t, t = chain.query(state, k)
        z = (after if k == chain.n_stages - 1 else start.cond) + shift
        state = chain.update(state, start.model.eps(x_t, t, z), k)
    second = loss(start.model.decode(state[0]))
    grads = torch.autograd.grad(second.sum(), [x_T, shift])
    made = ImplicitDiffusion(rate, 2).generate(pairs, start)
    torch.testing.assert_close(
        made.history["loss"], torch.stack([value, second], dim=1), atol=1e-5, rtol=1e-5
    )
    moved = sample(
        chain, start.model.eps, (start.start - rate * (x_grad + grads[0]),), cond=after - rate * grads[1]
    )
    torch.testing.assert_close(made.latents, moved[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", [LatentDescent(0.5, 0), FlowGrad(0.5, 0), ImplicitDiffusion(0.5, 0)])
def test_no_updates_are_plain_sampling(
    method: LatentDescent | FlowGrad | ImplicitDiffusion, start: Blended, pairs: list[Morph]
) -> None:
    plain = Unguided().generate(pairs, start)
    assert torch.equal(method.generate(pairs, start).latents, plain.latents)
    assert method.cost(start) == plain.cost
