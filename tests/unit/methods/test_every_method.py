"""What holds for each method, on the analytic model."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.grids import Linspace
from guidebench.diffusion.random import AUGMENTATION, METHOD, X_T, RandomStreams
from guidebench.diffusion.schedules import RectifiedFlow
from guidebench.errors import ConfigError
from guidebench.gradients.base import GradientStrategy
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.direct import Direct
from guidebench.gradients.reversible import Reversible
from guidebench.losses.base import NoisyObjective, Objective
from guidebench.methods.base import FiniteCheck, Method, Setup
from guidebench.methods.end_to_end.doodl import DOODL
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.classifier_guidance import ClassifierGuidance
from guidebench.methods.posterior.d_pnp import DPnP
from guidebench.methods.posterior.dps import DPS
from guidebench.methods.posterior.freedom import FreeDoM
from guidebench.methods.posterior.greedy import Greedy
from guidebench.methods.posterior.lgd_dps import LGDDPS
from guidebench.methods.posterior.lgd_mc import LGDMC
from guidebench.methods.posterior.mpgd import MPGD
from guidebench.methods.posterior.one_step import OneStep
from guidebench.methods.posterior.tfg import TFG
from guidebench.methods.posterior.universal_guidance import UniversalGuidance
from guidebench.problems import TextToImage
from guidebench.progress import Progress
from guidebench.samplers.base import Sampler
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.dpm_solver import DPMSolver
from guidebench.samplers.edict import EDICT
from guidebench.samplers.heun import Heun
from mixture_model import SHAPE, Mixture, Target

METHODS = [
    Unguided(),
    OneStep(scale=1.0),
    OneStep(scale=1.0, variant="official"),
    DOODL(n_opt=2),
    DOODL(n_opt=2, tied=False),
    DOODL(n_opt=2, variant="official"),
]
GUIDED: list[Method] = [
    OneStep(scale=1.0),
    DOODL(n_opt=2),
    DPnP(n_opt=2, n_augmentations=2),
    Greedy(n_opt=2),
    LGDDPS(),
    DPS(),
    MPGD(),
    LGDMC(n_mc=2),
    UniversalGuidance(n_backward=1),
    TFG(),
]
GRID = Linspace("clean")
GRADIENTS = [Direct(), Checkpointed(), Checkpointed(keep_graphs=3), Reversible()]
SAMPLERS = [DDIM(n_steps=4), EDICT(n_steps=4), EDICT(n_steps=5), DDIM(n_steps=4, eta=0.7)]


def name(value: object) -> str:
    return repr(value) if not isinstance(value, Method) else f"{type(value).__name__}{vars(value)}"


@pytest.fixture
def setup(mixture, target) -> Setup:
    return Setup(mixture, EDICT(n_steps=4), target, Checkpointed(), 3.0)


COMBINATIONS = [
    (method, gradient, sampler)
    for method in METHODS
    for gradient in (GRADIENTS if ("gradient" in method.uses) else GRADIENTS[:1])
    for sampler in SAMPLERS
    if not (
        ("gradient" in method.uses)
        and (sampler.is_stochastic or gradient.needs_reversible > sampler.is_reversible)
    )
]


@pytest.mark.parametrize(("method", "gradient", "sampler"), COMBINATIONS, ids=name)
@pytest.mark.parametrize("cfg_scale", [0.0, 1.0, 3.0])
def test_the_declared_cost_is_what_is_counted(
    setup: Setup, problems, method: Method, gradient: GradientStrategy, sampler: Sampler, cfg_scale: float
) -> None:
    """Counted by the model itself: rows that it was asked for, per problem."""
    setup = dataclasses.replace(setup, sampler=sampler, gradient=gradient, cfg_scale=cfg_scale)
    generation = method.generate(problems, setup)
    assert generation.spent == generation.cost == method.cost(setup)
    assert sum(len(x) for x in setup.model.asked) == len(problems) * generation.cost.nfe_fwd  # type: ignore[attr-defined]
    assert (generation.cost.nfe_bwd > 0) == (not isinstance(method, Unguided))


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_a_row_depends_on_its_problem_alone(setup: Setup, problems, method: Method) -> None:
    together = method.generate(problems, setup)
    shuffled = method.generate(problems[::-1], setup).latents.flip(0)
    torch.testing.assert_close(shuffled, together.latents, rtol=1e-5, atol=1e-5)
    for row, problem in enumerate(problems):
        alone = method.generate([problem], setup)
        torch.testing.assert_close(alone.latents[0], together.latents[row], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(together.latents[0], together.latents[1])


@pytest.mark.parametrize("sampler", SAMPLERS[:3], ids=name)
def test_every_method_starts_from_the_same_noise(setup: Setup, problems, sampler: Sampler) -> None:
    setup = dataclasses.replace(setup, sampler=sampler)
    expected = setup.model.schedule.prior_std * RandomStreams(problems).normal(setup.model.sample_shape, X_T)
    for method in METHODS:
        setup.model.asked.clear()  # type: ignore[attr-defined]
        method.generate(problems, setup)
        assert torch.equal(setup.model.asked[0][: len(problems)], expected)  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", METHODS[1:], ids=name)
@pytest.mark.parametrize("gradient", GRADIENTS, ids=name)
def test_a_loss_that_is_nan_fails_its_row_and_no_other(
    setup: Setup, problems, method: Method, gradient: GradientStrategy
) -> None:
    setup = dataclasses.replace(setup, gradient=gradient)
    bad = TextToImage("bad", 0, "prompt", "some")
    mixed = method.generate([problems[0], bad, problems[1]], setup)
    assert list(mixed.failures) == [1]
    failure = mixed.failures[1]
    assert (failure.step, failure.tensor, failure.rows) == (0, "loss", [1])
    good = method.generate([problems[0], problems[2], problems[1]], setup)
    assert not good.failures
    for row in (0, 2):
        torch.testing.assert_close(mixed.latents[row], good.latents[row], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            mixed.history["loss"][row], good.history["loss"][row], rtol=1e-5, atol=1e-5
        )


class Infinite(Target):
    """As `Target`, and infinite for the case `bad`, with a finite gradient."""

    def bind(self, problems: Sequence[TextToImage], streams: RandomStreams) -> Objective:
        objective = super().bind(
            [dataclasses.replace(p, case_id=p.case_id.strip("bad")) for p in problems], streams
        )
        beyond = torch.tensor([math.inf if p.case_id == "bad" else 0.0 for p in problems])
        return lambda images: objective(images) + beyond


@pytest.mark.parametrize("method", GUIDED, ids=name)
@pytest.mark.parametrize("loss", [Target(), Infinite()], ids=["nan", "infinite"])
def test_a_loss_that_is_not_finite_fails_its_row_whatever_its_gradient(
    setup: Setup, problems, method: Method, loss: Target
) -> None:
    bad = TextToImage("bad", 0, "prompt", "some")
    mixed = method.generate([problems[0], bad, problems[1]], dataclasses.replace(setup, loss=loss))
    assert {row: failure.tensor for row, failure in mixed.failures.items()} == {1: "loss"}


def test_what_memory_saves_is_spent_less_and_costs_the_same(setup: Setup, problems) -> None:
    """A table's count must not depend on the memory at hand."""
    made = {
        gradient: DOODL(n_opt=3).generate(problems, dataclasses.replace(setup, gradient=gradient))
        for gradient in (Checkpointed(), Checkpointed("auto", 1.0), Checkpointed("auto", 0.0))
    }
    costs = [generation.cost for generation in made.values()]
    assert costs == [DOODL(n_opt=3).cost(setup)] * 3
    plain, much, little = (generation.spent for generation in made.values())
    assert plain == little == costs[0] and much.nfe_fwd < plain.nfe_fwd and much.nfe_bwd == plain.nfe_bwd


@pytest.mark.parametrize(
    "sampler", [DDIM(6, GRID), EDICT(6, GRID), DPMSolver(6, GRID), Heun(6, GRID)], ids=name
)
@pytest.mark.parametrize("method", [Unguided(), *GUIDED], ids=name)
def test_methods_run_where_sampling_begins_in_pure_noise(problems, sampler: Sampler, method: Method) -> None:
    setup = Setup(Mixture(RectifiedFlow()), sampler, Target(), Checkpointed(), 3.0)
    generation = method.generate(problems, setup)
    assert not generation.failures and generation.latents.isfinite().all()
    assert generation.spent == generation.cost == method.cost(setup)


# -- what a loss may return --------------------------------------------------------------------------------------------

WRONG = {
    "single number for the whole batch": lambda images: images.square().mean(),
    "None": lambda images: None,
    "a float": lambda images: float(images.sum()),
    "detached": lambda images: images.detach().flatten(1).sum(1),
    "drop its last axis": lambda images: images.flatten(1).sum(1, keepdim=True),
    "all axes but the first": lambda images: images.square(),
    "int64": lambda images: images.flatten(1).argmax(1),
    "global generator": lambda images: (images + torch.randn_like(images)).flatten(1).sum(1),
}


@pytest.mark.parametrize("words", WRONG)
@pytest.mark.parametrize("method", [*GUIDED, ClassifierGuidance()], ids=name)
def test_what_is_no_loss_is_refused_in_words(setup: Setup, problems, method: Method, words: str) -> None:
    class Wrong(Target):
        def bind(self, problems: object, streams: object) -> Objective:
            return WRONG[words]

        def bind_noisy(self, problems: object, streams: object) -> NoisyObjective:
            return lambda x_t, t: WRONG[words](x_t)

    with pytest.raises(ConfigError, match=rf"loss: Wrong .*{words}"):
        method.generate(problems, dataclasses.replace(setup, loss=Wrong()))


# -- interrupted loops -------------------------------------------------------------------------------------------------


class Interrupted(Progress):
    """Keeps the state at the beginning of step `at`, where the first run ends."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.kept = at, None

    def steps(self, n: int, state: dict[str, Tensor]) -> Iterator[int]:
        first = 0
        if self.kept is not None:
            state.update({name: tensor.clone() for name, tensor in self.kept.items()})
            first = self.at
        for k in range(first, n):
            if k == self.at and self.kept is None:
                self.kept = {name: tensor.detach().clone() for name, tensor in state.items()}
                raise KeyboardInterrupt
            yield k


class Augmented(Target):
    """As `Target`, of images under noise that is drawn anew at each call."""

    def bind(self, problems: Sequence[TextToImage], streams: RandomStreams) -> Objective:
        objective = super().bind(problems, streams)
        return lambda images: objective(images + 0.1 * streams.normal(SHAPE, AUGMENTATION))


LOOPS: list[tuple[Method, Sampler]] = [
    (DOODL(n_opt=4), EDICT(4)),
    (DOODL(n_opt=4, tied=False), EDICT(4)),
    (DOODL(n_opt=4), DPMSolver(4, GRID)),
    (DPnP(n_opt=4), EDICT(4)),
    (LGDMC(n_mc=2), EDICT(5)),
    (FreeDoM(n_repeats=2, travel_from=1.0, travel_to=0.0), DPMSolver(4, GRID)),
    (TFG(n_recur=2), DDIM(4, GRID, eta=1.0)),
    (Greedy(n_opt=2), Heun(4)),
]


@pytest.mark.parametrize(("method", "sampler"), LOOPS, ids=name)
@pytest.mark.parametrize("at", range(4))
def test_a_loop_that_was_interrupted_goes_on_bit_by_bit(
    setup: Setup, problems, method: Method, sampler: Sampler, at: int
) -> None:
    setup = dataclasses.replace(setup, loss=Augmented(), sampler=sampler)
    whole = method.generate(problems, setup)
    resumed = dataclasses.replace(setup, progress=Interrupted(at))
    with pytest.raises(KeyboardInterrupt):
        method.generate(problems, resumed)
    setup.model.asked.clear()  # type: ignore[attr-defined]
    again = method.generate(problems, resumed)
    assert torch.equal(again.latents, whole.latents)
    assert torch.equal(again.history["loss"], whole.history["loss"])
    evaluations = sum(len(x) for x in setup.model.asked)  # type: ignore[attr-defined]
    assert evaluations < whole.spent.nfe_fwd * len(problems) or at == 0


def test_draws_of_a_step_do_not_depend_on_those_before(setup: Setup, problems) -> None:
    streams = RandomStreams(problems)
    copies = streams.copied(2)

    def drawn(step: int) -> Tensor:
        streams.begin(step)
        return torch.cat([streams.normal((2,), METHOD), copies.normal((2,), AUGMENTATION)])

    first, other = drawn(3), drawn(0)
    copies.normal((7,), METHOD)
    assert torch.equal(drawn(3), first) and not torch.equal(other, first)


@pytest.mark.parametrize("method", [METHODS[0], METHODS[1], METHODS[3]], ids=name)
def test_a_network_that_breaks_down_midway_is_noticed(
    setup: Setup, problems, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From t = 500 on the second row of a prediction is infinite."""
    eps = setup.model.eps

    def broken(x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        out = eps(x_t, t, cond)
        mask = torch.zeros(len(out), 1, 1, 1)
        if t <= 500:
            mask[1::3] = math.inf
        return out + mask

    monkeypatch.setattr(setup.model, "eps", broken)
    generation = method.generate(problems, setup)
    assert list(generation.failures) == [1]
    assert generation.latents[[0, 2]].isfinite().all()
    if isinstance(method, Unguided):
        # times 750, 500, 250, two half-steps each: seen in x once the first half-step at 500 has moved a member
        assert generation.failures[1].tensor == "x_t" and generation.failures[1].step in (2, 3)


@pytest.mark.parametrize("method", [METHODS[0], METHODS[1], METHODS[3]], ids=name)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_decoder_that_overflows_at_the_end_is_noticed(
    setup: Setup, problems, method: Method, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clamping would turn an infinity into a valid pixel."""
    decode = setup.model.decode

    def broken(x0: Tensor) -> Tensor:
        images = decode(x0)
        if not torch.is_grad_enabled() and not x0.requires_grad:
            images = images.clone()
            images[1, 0, 0, 0] = value
        return images

    monkeypatch.setattr(setup.model, "decode", broken)
    failures = method.generate(problems, setup).failures
    assert {row: failure.tensor for row, failure in failures.items()} == {1: "image"}


def test_images_are_within_bounds_and_not_attached_to_a_graph(setup: Setup, problems) -> None:
    for method in METHODS:
        generation = method.generate(problems, setup)
        assert generation.samples.min() >= 0 and generation.samples.max() <= 1
        assert not generation.samples.requires_grad and not generation.latents.requires_grad
        assert not any(curve.requires_grad for curve in generation.history.values())


def test_global_random_state_is_neither_read_nor_moved(setup: Setup, problems) -> None:
    for method in METHODS:
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = method.generate(problems, setup).latents
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(2)
        assert torch.equal(method.generate(problems, setup).latents, first)


def test_finite_check_keeps_the_first_sight_of_each_row() -> None:
    check, fine, broken = FiniteCheck(), torch.zeros(3, 2), torch.zeros(3, 2)
    broken[2, 1] = math.inf
    check("x_t", fine, 0)
    check("x_t", broken, 1)
    check("gradient", torch.full((3, 2), math.nan), 2)
    assert {row: (f.step, f.tensor) for row, f in check.failures.items()} == {
        0: (2, "gradient"),
        1: (2, "gradient"),
        2: (1, "x_t"),
    }
