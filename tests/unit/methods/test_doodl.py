import dataclasses

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.grids import Linspace
from guidebench.diffusion.random import METHOD, RandomStreams
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.one_step import OneStepEstimate
from guidebench.methods.base import Setup
from guidebench.methods.end_to_end.doodl import DOODL
from guidebench.methods.none import Unguided
from guidebench.problems import TextToImage
from guidebench.samplers.base import Sampler, sample
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.dpm_solver import Algorithm, DPMSolver
from guidebench.samplers.edict import EDICT
from guidebench.samplers.heun import Heun

P, CFG = 0.93, 3.0


@pytest.fixture
def setup(mixture, target) -> Setup:
    return Setup(mixture, EDICT(n_steps=10), target, Checkpointed(), CFG)


def latents(*members: tuple[float, ...]) -> Tensor:
    """(members, 1, 1, n): one sample."""
    return torch.tensor(members, dtype=torch.float64)[:, None, None]


# -- the optimiser step, in numbers worked out by hand -----------------------------------------------------------------


def test_step_clips_then_adds_momentum_then_noise() -> None:
    method = DOODL(clip=1e-3, momentum=0.9, renormalize=False)
    x_T, velocity = method.update(
        latents((3, 4)),
        latents((2e-3, -1e-3)),
        latents((2e-3, 2e-4)),
        latents((0.5, -0.25))[0],
        latents((5,)),
    )
    # velocity = 0.9 (2e-3, -1e-3) + (1e-3, 2e-4): beyond the clip, which bounds gradients alone
    torch.testing.assert_close(velocity, latents((2.8e-3, -7e-4)), rtol=0, atol=1e-15)
    torch.testing.assert_close(x_T, latents((3 - 2.8e-3 + 0.5, 4 + 7e-4 - 0.25)), rtol=0, atol=1e-14)


def test_official_step_is_half_before_the_clip() -> None:
    method = DOODL(clip=1e-3, momentum=0.9, renormalize=False, variant="official")
    nothing = latents((0, 0))
    _, velocity = method.update(latents((3, 4)), nothing, latents((5e-4, 2e-3)), nothing[0], latents((5,)))
    # (2.5e-4, 1e-3): halved before the clip, else the second would be 5e-4
    torch.testing.assert_close(velocity, latents((2.5e-4, 1e-3)), rtol=0, atol=1e-15)


def test_variants_differ_in_weight_and_noise_and_explicit_values_win() -> None:
    paper, official = DOODL(), DOODL(variant="official")
    assert (paper.gradient_weight, paper.noise_std) == (1.0, 1e-2)
    assert (official.gradient_weight, official.noise_std) == (0.5, 1e-4)
    assert DOODL(variant="official", noise_std=0.0, gradient_weight=2.0).noise_std == 0.0
    assert DOODL(variant="official", noise_std=0.0, gradient_weight=2.0).gradient_weight == 2.0


def test_what_moved_is_brought_back_to_its_norm() -> None:
    nothing = latents((0, 0))
    x_T, _ = DOODL().update(nothing, nothing, nothing, latents((3, 4))[0], latents((10,)))
    torch.testing.assert_close(x_T, latents((6, 8)), rtol=0, atol=1e-14)


def test_untied_members_go_their_own_ways() -> None:
    method, nothing = DOODL(clip=1e-3, tied=False, renormalize=False), latents((0, 0), (0, 0))
    grads = latents((4e-3, 6e-4), (0.0, -2e-4))
    x_T, _ = method.update(latents((3, 4), (3, 4)), nothing, grads, nothing[0], latents((5,), (5,)))
    torch.testing.assert_close(x_T, latents((3 - 1e-3, 4 - 6e-4), (3, 4 + 2e-4)), rtol=0, atol=1e-14)


def test_norm_after_a_step_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    x, g, noise = (torch.randn(5, 4, 64, 64, generator=generator) for _ in range(3))
    radius = torch.linalg.vector_norm(x.flatten(1), dim=1)
    moved, _ = DOODL().update(x[None], 0 * x[None], g[None], 0.01 * noise, radius[None, :, None, None, None])
    assert not torch.equal(moved[0], x)
    found = torch.linalg.vector_norm(moved[0].flatten(1), dim=1)
    torch.testing.assert_close(found, radius, rtol=1e-6, atol=0)


# -- the whole method against its definition, written out with autograd ------------------------------------------------


def written_out(setup: Setup, problems: list[TextToImage], method: DOODL) -> tuple[Tensor, Tensor]:
    """specs of EDICT and of DOODL's loop, one line each, in double precision: final x_0 and the losses (b, M)."""
    model, n = setup.model, setup.sampler.n_steps
    streams = RandomStreams(problems)
    cond, null = model.condition([p.prompt for p in problems]), model.condition([""] * len(problems))
    alpha_bar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
    times = list(range(0, 1000, 1000 // n))[::-1]

    def eps(z: Tensor, t: int) -> Tensor:
        uncond, conditional = model.eps(z, t, null), model.eps(z, t, cond)
        return uncond + CFG * (conditional - uncond)

    def chain(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        for i, t in enumerate(times):
            before, after = alpha_bar[t], alpha_bar[max(t - 1000 // n, 0)]
            a = (after / before).sqrt()
            b = (1 - after).sqrt() - a * (1 - before).sqrt()
            if i % 2 == 0:
                x = a * x + b * eps(y, t)
                y = a * y + b * eps(x, t)
            else:
                y = a * y + b * eps(x, t)
                x = a * x + b * eps(y, t)
            x = P * x + (1 - P) * y
            y = P * y + (1 - P) * x
        return x, y

    x_T = streams.normal(model.sample_shape, "x_T").double()
    norm = x_T.flatten(1).norm(dim=1)[:, None, None, None]
    loss = setup.loss.bind(problems, streams)
    velocity, losses = torch.zeros_like(x_T), []
    for step in range(method.n_opt):
        leaf_x, leaf_y = x_T.clone().requires_grad_(), x_T.clone().requires_grad_()
        ends = chain(leaf_x, leaf_y)
        values = [loss(model.decode(end)) for end in ends]
        g_x, g_y = torch.autograd.grad(method.scale * (values[0] + values[1]).sum(), (leaf_x, leaf_y))
        losses.append((values[0] + values[1]).detach() / 2)
        weight = {"paper": 0.5, "official": 0.25}[method.variant]
        velocity = 0.9 * velocity + (weight * (g_x + g_y)).clamp(-method.clip, method.clip)
        streams.begin(step)
        x_T = x_T - velocity + method.noise_std * streams.normal(model.sample_shape, METHOD).double()
        x_T = x_T * norm / x_T.flatten(1).norm(dim=1)[:, None, None, None]
    return chain(x_T, x_T)[0].detach(), torch.stack(losses, dim=1)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_equals_the_definition_written_out(setup: Setup, problems: list[TextToImage], variant: str) -> None:
    method = DOODL(scale=0.3, n_opt=4, clip=0.02, variant=variant)  # type: ignore[arg-type]
    x0, losses = written_out(setup, problems, method)
    generation = method.generate(problems, setup)
    torch.testing.assert_close(generation.latents.double(), x0, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(generation.history["loss"].double(), losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generation.samples.double(), torch.sigmoid(x0), rtol=1e-4, atol=1e-4)
    assert not generation.failures


def test_the_loss_goes_down(setup: Setup, problems: list[TextToImage]) -> None:
    setup = dataclasses.replace(setup, sampler=EDICT(n_steps=5))
    generation = DOODL(scale=1.0, n_opt=50, clip=1e-2, noise_std=0.0).generate(problems, setup)
    loss = generation.history["loss"]
    assert loss.shape == (3, 50)
    assert (loss[:, -1] < 0.9 * loss[:, 0]).all()
    # the image belongs to the last latents, after the last update
    score = setup.loss.bind(problems, None)  # type: ignore[arg-type]
    assert (score(generation.samples) < score(Unguided().generate(problems, setup).samples)).all()


def test_without_noise_nothing_is_random_and_with_it_the_seed_decides(
    setup: Setup, problems: list[TextToImage]
) -> None:
    def x_0(noise_std: float, seed: int = 3) -> Tensor:
        batch = [dataclasses.replace(p, seed=seed) for p in problems]
        return DOODL(n_opt=3, noise_std=noise_std).generate(batch, setup).latents

    assert torch.equal(x_0(0.0), x_0(0.0))
    assert torch.equal(x_0(0.1), x_0(0.1))
    assert not torch.equal(x_0(0.0), x_0(0.1))
    assert not torch.equal(x_0(0.0), x_0(0.0, seed=4))


@pytest.mark.parametrize("nothing", [{"scale": 0.0}, {"n_opt": 0}])
def test_doing_nothing_is_unguided_sampling(
    setup: Setup, problems: list[TextToImage], nothing: dict[str, float]
) -> None:
    assert torch.equal(
        DOODL(**nothing).generate(problems, setup).samples,  # type: ignore[arg-type]
        Unguided().generate(problems, setup).samples,
    )


# -- other samplers, whose states are no copies of x_T -----------------------------------------------------------------

GRID = Linspace()


def optimised(setup: Setup, problems: list[TextToImage], method: DOODL) -> tuple[Tensor, Tensor]:
    """x_T by autograd through the sampler from x_T itself: final x_0 and the losses (b, M)."""
    chain, guided, streams = setup.chain(), setup.guided(), RandomStreams(problems)
    cond, loss = setup.condition(problems), setup.loss.bind(problems, streams)
    x_T = setup.x_T(streams)
    norm, velocity, losses = x_T.flatten(1).norm(dim=1)[:, None, None, None], torch.zeros_like(x_T), []

    def x_0(x: Tensor) -> Tensor:
        return chain.output(sample(chain, guided, chain.init(x), cond=cond))

    for _ in range(method.n_opt):
        leaf = x_T.clone().requires_grad_()
        value = loss(setup.model.decode(x_0(leaf)))
        (grad,) = torch.autograd.grad(method.scale * value.sum(), leaf)
        losses.append(value.detach())
        velocity = 0.9 * velocity + grad.clamp(-method.clip, method.clip)
        x_T = x_T - velocity
        x_T = x_T * norm / x_T.flatten(1).norm(dim=1)[:, None, None, None]
    return x_0(x_T).detach(), torch.stack(losses, dim=1)


@pytest.mark.parametrize(
    "sampler",
    [DDIM(5), DPMSolver(6, GRID), DPMSolver(6, GRID, algorithm="dpmsolver"), Heun(4), Heun(4, grid=GRID)],
    ids=repr,
)
@pytest.mark.parametrize("tied", [True, False])
def test_it_is_x_T_that_is_optimised_whatever_the_state(
    setup: Setup, problems: list[TextToImage], sampler: Sampler, tied: bool
) -> None:
    setup = dataclasses.replace(setup, sampler=sampler)
    method = DOODL(scale=0.3, n_opt=4, clip=0.02, noise_std=0.0, tied=tied)
    x0, losses = optimised(setup, problems, method)
    generation = method.generate(problems, setup)
    torch.testing.assert_close(generation.history["loss"], losses, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generation.latents, x0, rtol=1e-3, atol=1e-3)
    assert (losses[:, -1] < losses[:, 0]).all()


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "dpmsolver"])
def test_first_order_dpm_solver_is_ddim(
    setup: Setup, problems: list[TextToImage], algorithm: Algorithm
) -> None:
    method = DOODL(scale=0.3, n_opt=4, clip=0.02)
    ddim, solver = (
        method.generate(problems, dataclasses.replace(setup, sampler=sampler))
        for sampler in (DDIM(6, GRID), DPMSolver(6, GRID, 1, algorithm))
    )
    torch.testing.assert_close(solver.history["loss"], ddim.history["loss"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(solver.latents, ddim.latents, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sampler", [DDIM(5), EDICT(5), DPMSolver(6, GRID), Heun(4)], ids=repr)
def test_the_one_step_estimate_is_what_the_loss_sees(
    setup: Setup, problems: list[TextToImage], sampler: Sampler
) -> None:
    setup = dataclasses.replace(setup, sampler=sampler, gradient=OneStepEstimate())
    x_T, schedule, t = setup.x_T(RandomStreams(problems)), setup.model.schedule, setup.chain().times[0]
    eps = setup.guided()(x_T, t, setup.condition(problems))
    x0_hat = (x_T - schedule.sigma(t) * eps) / schedule.alpha(t)
    expected = setup.loss.bind(problems, RandomStreams(problems))(setup.model.decode(x0_hat))
    found = DOODL(n_opt=1).generate(problems, setup).history["loss"][:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
