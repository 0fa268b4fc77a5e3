"""What every method promises, whatever it does: discovered from conf/method."""

from collections.abc import Sequence

import pytest
import torch
from components import FIXED_COST, each, job, problems
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.methods.base import Generation, Method, Setup
from guidebench.methods.none import Unguided
from guidebench.models.latent_diffusion import LatentDiffusion
from guidebench.problems import Problem
from guidebench.runner.build import Job
from guidebench.runner.compat import check_compatibility

SAMPLERS = ["edict", "ddim"]
pytestmark = pytest.mark.parametrize("sampler", SAMPLERS)


class Counted:
    """A model that counts network rows itself, independently of the methods' own counters."""

    def __init__(self, model: LatentDiffusion) -> None:
        self._model, self.forwards, self.backwards = model, 0, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        self.forwards += len(x_t)
        eps = self._model.eps(x_t, t, cond)
        if eps.requires_grad:
            eps.register_hook(self._backward)
        return eps

    def _backward(self, grad: Tensor) -> None:
        self.backwards += len(grad)


def compose(name: str, sampler: str, clips: dict[str, str], *overrides: str) -> Job:
    return job(
        f"method={name}",
        f"sampler={sampler}",
        f"guide_clip.directory={clips['guide']}",
        f"score_clip.directory={clips['score']}",
        "n_steps=4",
        "n_opt=2",
        "loss.n_crops=3",
        *overrides,
    )


def generate(
    made: Job, model: LatentDiffusion | Counted, some: Sequence[Problem] | None = None
) -> Generation:
    method: Method = made.build("method")
    return method.generate(problems(method.handles) if some is None else some, setup(made, model))


def setup(made: Job, model: LatentDiffusion | Counted) -> Setup:
    cfg_scale = made.config["cfg_scale"]
    return Setup(model, made.build("sampler"), made.build("loss"), made.build("gradient"), cfg_scale)


@pytest.fixture
def made(name: str, sampler: str, clip_directories: dict[str, str]) -> Job:
    composed = compose(name, sampler, clip_directories)
    check_compatibility(composed)
    return composed


@each("method")
def test_generates_one_image_per_problem(made: Job, tiny_model: LatentDiffusion) -> None:
    state = torch.get_rng_state()
    first = generate(made, tiny_model)
    assert first.samples.shape == (4, 3, 32, 32) and first.latents.shape == (4, *tiny_model.sample_shape)
    assert first.samples.dtype == first.latents.dtype == torch.float32
    assert first.samples.min() >= 0 and first.samples.max() <= 1 and first.samples.std() > 0
    assert not first.failures
    for curve in first.history.values():
        assert curve.shape[0] == 4 and curve.isfinite().all()
    again = generate(made, tiny_model)
    assert torch.equal(first.samples, again.samples)  # nothing depends on what was done before ...
    assert torch.equal(state, torch.get_rng_state())  # ... nor on the global generator


@each("method")
def test_strength_0_is_unguided_bit_for_bit(
    name: str, sampler: str, made: Job, clip_directories: dict[str, str], tiny_model: LatentDiffusion
) -> None:
    method: Method = made.build("method")
    if not method.needs_loss:
        pytest.skip("has no strength: nothing guides it")
    plain = Unguided().generate(problems(method.handles), setup(made, tiny_model))
    off = generate(compose(name, sampler, clip_directories, "method.scale=0"), tiny_model)
    assert torch.equal(off.samples, plain.samples) and torch.equal(off.latents, plain.latents)
    assert off.cost == plain.cost
    guided = generate(made, tiny_model)
    assert not torch.equal(guided.latents, plain.latents)  # else the equality above says nothing


@each("method")
def test_a_sample_does_not_depend_on_its_batch(made: Job, tiny_model: LatentDiffusion) -> None:
    # Not bitwise: matrix products of another batch size add up in another order, and that rounding passes through
    # the chain and the optimiser.
    together = generate(made, tiny_model).samples
    some = problems(made.build("method").handles)
    for row in range(4):
        alone = generate(made, tiny_model, some[row : row + 1]).samples
        torch.testing.assert_close(alone[0], together[row], atol=1e-3, rtol=0)
    reverse = generate(made, tiny_model, some[::-1]).samples.flip(0)
    torch.testing.assert_close(reverse, together, atol=1e-3, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-2  # else rows could be mixed up unseen


@each("method")
@pytest.mark.parametrize("cfg_scale", [3.0, 1.0])
def test_the_declared_cost_is_what_the_network_sees(
    name: str,
    sampler: str,
    cfg_scale: float,
    made: Job,
    clip_directories: dict[str, str],
    tiny_model: LatentDiffusion,
) -> None:
    made = compose(name, sampler, clip_directories, f"cfg_scale={cfg_scale}", *FIXED_COST["checkpointed"])
    model = Counted(tiny_model)
    generation = generate(made, model)
    counted = Cost(model.forwards // 4, model.backwards // 4)
    assert model.forwards % 4 == model.backwards % 4 == 0
    assert generation.cost == counted
    method: Method = made.build("method")
    assert method.cost(setup(made, tiny_model)) == counted


@each("method")
def test_weights_stay_frozen(made: Job, tiny_model: LatentDiffusion) -> None:
    before = {k: v.clone() for name in tiny_model.modules for k, v in _state(tiny_model, name).items()}
    generate(made, tiny_model)
    for module in tiny_model.modules.values():
        assert not module.training
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    after = {k: v for name in tiny_model.modules for k, v in _state(tiny_model, name).items()}
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


@each("method")
def test_declarations(made: Job, tiny_model: LatentDiffusion) -> None:
    method: Method = made.build("method")
    assert method.paper and method.handles
    evaluations = method.loss_evaluations(setup(made, tiny_model))
    assert evaluations > 0 if method.needs_loss else evaluations == 0


def _state(model: LatentDiffusion, name: str) -> dict[str, Tensor]:
    return {f"{name}.{k}": v for k, v in model.modules[name].state_dict().items()}
