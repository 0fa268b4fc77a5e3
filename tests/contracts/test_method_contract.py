"""What every method promises, whatever it does: discovered from conf/method."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from components import FIXED_COST, TINY_RECOGNISERS, each, job, problems
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.methods.base import Generation, Method, Setup
from guidebench.methods.distillation.lmc_sds import LMCSDS
from guidebench.methods.none import Unguided
from guidebench.models.adm import ADM
from guidebench.models.base import DiffusionModel
from guidebench.models.diffae import DiffAE
from guidebench.models.latent_diffusion import LatentDiffusion
from guidebench.problems import Problem
from guidebench.runner.compat import check_compatibility
from guidebench.runner.drafts import Draft
from guidebench.runner.job import Job
from tiny_models import CLASSES

SAMPLERS = ["edict", "ddim"]
pytestmark = pytest.mark.parametrize("sampler", SAMPLERS)

NETWORK = (
    "{image_size: 64, model_channels: 32, channel_mult: [1, 1, 1, 1], num_res_blocks: 1, "
    "attention_resolutions: [], num_head_channels: 32"
)
PIXELS = ["model=embedded_pixels", "cfg_scale=1", "~metrics.clip_score", "~metrics.prompt_success"]
RESTORATION = [*PIXELS, "dataset=restoration/animals_and_birds", "loss=linear_inverse"]
AUTOENCODER = (
    "{image_size: 64, model_channels: 8, z_channels: 6, num_res_blocks: 1, channel_mult: [1, 1], "
    "encoder_channel_mult: [1, 1, 1], attention_resolutions: [], num_head_channels: 8, num_groups: 4}"
)
MORPHS = ["best_blend", "dim", "greedy_search", "landmark_morph"]
MORPHS += [
    f"dim_{method}" for method in ("descent", "doodl", "flowgrad", "freedom", "greedy", "implicit", "lgd")
]
DISTILLATIONS = ["csd", "l_cond", "lmc_sds", "ms_sds", "nfsd", "sds", "sds_bridge"]
FACES = ["task=morphing", "loss=identity", "~metrics.trait_distance", *TINY_RECOGNISERS]
WITH_A_LOSS_OF_ITS_OWN = {
    "classifier_guidance": [
        *PIXELS,
        "dataset=classes/animals_and_birds",
        "loss=classifier",
        "classifier@networks.guide_classifier=pixels_noisy",
        "+networks.guide_classifier.random_weights=true",
        f"+networks.guide_classifier.classes=[{','.join(CLASSES)}]",
        f"+networks.guide_classifier.architecture={NETWORK}}}",
    ],
    **dict.fromkeys(MORPHS, FACES),
    "ddrm": RESTORATION,
    "pigdm": RESTORATION,
}
"""What a method is composed with that works with one kind of loss alone; all others are tried on texts."""


class Counted:
    """A model that counts network rows itself, independently of the methods' own counters."""

    def __init__(self, model: DiffusionModel) -> None:
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


class KilledError(Exception):
    pass


class MortalDraft(Draft):
    """Saves before every step; dies when the `at`-th is about to be taken."""

    def __init__(self, folder: Path, at: int | None = None) -> None:
        super().__init__(folder / "drafts" / "state.safetensors", "contract", 0.0, folder / "quarantine")
        self.at, self.passed = at, 0

    def steps(self, n: int, state: dict[str, Tensor]) -> Iterator[int]:
        for k in super().steps(n, state):
            if self.passed == self.at:
                raise KilledError
            self.passed += 1
            yield k


def compose(name: str, sampler: str, clips: dict[str, str], *overrides: str) -> Job:
    texts = [
        f"networks.guide_clip.directory={clips['guide']}",
        f"networks.score_clip.directory={clips['score']}",
        "loss.n_crops=3",
    ]
    if name in MORPHS and (sampler == "edict") != (name == "dim_doodl"):
        pytest.skip("one sampler is enough: morphs go through the methods that are tried on both")
    if name in DISTILLATIONS and sampler == "edict":
        pytest.skip("it asks no sampler")
    setting = WITH_A_LOSS_OF_ITS_OWN.get(name, texts)
    return job(f"method={name}", f"sampler={sampler}", *setting, "size=smoke", *overrides)


@pytest.fixture(scope="module")
def tiny_pixels() -> ADM:
    """A pixel-space model with random weights, 64 x 64."""
    model = ADM("tiny", yaml.safe_load(f"{NETWORK}, out_channels: 6}}"), random_weights=True)
    model.load("cpu")
    return model


@pytest.fixture(scope="module")
def tiny_autoencoder() -> DiffAE:
    """A diffusion autoencoder with random weights, 64 x 64."""
    model = DiffAE("tiny", yaml.safe_load(AUTOENCODER), random_weights=True)
    model.load("cpu")
    return model


@pytest.fixture
def model(
    name: str, tiny_model: LatentDiffusion, tiny_pixels: ADM, tiny_autoencoder: DiffAE
) -> LatentDiffusion | ADM | DiffAE:
    if name in MORPHS:
        return tiny_autoencoder
    return tiny_pixels if name in WITH_A_LOSS_OF_ITS_OWN else tiny_model


def generate(made: Job, model: DiffusionModel | Counted, some: Sequence[Problem] | None = None) -> Generation:
    method: Method = made.build("method")
    return method.generate(some_problems(made) if some is None else some, setup(made, model))


def setup(made: Job, model: DiffusionModel | Counted) -> Setup:
    method: Method = made.build("method")
    used = {use: made.build(use) for use in method.uses if use != "artefact"}
    if isinstance(method, LMCSDS):
        used["artefact"] = {"corrective": method.corrective.network(model.sample_shape[0]).state_dict()}
    return Setup(model, cfg_scale=made.config["cfg_scale"], **used)


def some_problems(made: Job) -> list[Problem]:
    method = made.build("method")
    loss_reads = made.build("loss").reads if "loss" in method.uses else ()
    return problems((*method.reads, *loss_reads))


@pytest.fixture
def made(name: str, sampler: str, clip_directories: dict[str, str]) -> Job:
    composed = compose(name, sampler, clip_directories)
    check_compatibility(composed)
    return composed


@each("method")
def test_generates_one_image_per_problem(made: Job, model: LatentDiffusion | ADM) -> None:
    state = torch.get_rng_state()
    first = generate(made, model)
    if first.cost.nfe_fwd:  # else no model was asked
        assert first.samples.shape == model.decode(first.latents).shape
        assert first.latents.shape == (4, *model.sample_shape)
        assert first.latents.dtype == torch.float32
    assert first.samples.shape[0] == 4 and first.samples.dtype == torch.float32
    assert first.samples.min() >= 0 and first.samples.max() <= 1 and first.samples.std() > 0
    assert not first.failures
    for curve in first.history.values():
        assert curve.shape[0] == 4 and curve.isfinite().all()
    again = generate(made, model)
    assert torch.equal(first.samples, again.samples)  # nothing depends on what was done before ...
    assert torch.equal(state, torch.get_rng_state())  # ... nor on the global generator


@each("method")
def test_strength_0_is_unguided_bit_for_bit(
    name: str, sampler: str, made: Job, clip_directories: dict[str, str], model: LatentDiffusion | ADM
) -> None:
    if "scale" not in made.config["method"]:
        pytest.skip("has no strength: nothing guides it, or nothing can be turned down")
    plain = Unguided().generate(some_problems(made), setup(made, model))
    off = generate(compose(name, sampler, clip_directories, "method.scale=0"), model)
    assert torch.equal(off.samples, plain.samples) and torch.equal(off.latents, plain.latents)
    assert off.cost == plain.cost
    guided = generate(made, model)
    assert not torch.equal(guided.latents, plain.latents)  # else the equality above says nothing


@each("method")
def test_a_sample_does_not_depend_on_its_batch(made: Job, model: LatentDiffusion | ADM) -> None:
    # Not bitwise: matrix products of another batch size add up in another order, and that rounding passes through
    # the chain and the optimiser.
    together = generate(made, model).samples
    some = some_problems(made)
    for row in range(4):
        alone = generate(made, model, some[row : row + 1]).samples
        torch.testing.assert_close(alone[0], together[row], atol=1e-3, rtol=0)
    reverse = generate(made, model, some[::-1]).samples.flip(0)
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
    model: LatentDiffusion | ADM,
) -> None:
    if name in MORPHS and cfg_scale != 1:
        pytest.skip("there is no null condition to amplify")
    made = compose(name, sampler, clip_directories, f"cfg_scale={cfg_scale}", *FIXED_COST["checkpointed"])
    watched = Counted(model)
    generation = generate(made, watched)
    counted = Cost(watched.forwards // 4, watched.backwards // 4)
    assert watched.forwards % 4 == watched.backwards % 4 == 0
    assert generation.spent == generation.cost == counted
    method: Method = made.build("method")
    assert method.cost(setup(made, model)) == counted


@each("method")
def test_killed_at_every_step_of_every_loop_it_goes_on_bit_identically(
    name: str,
    sampler: str,
    clip_directories: dict[str, str],
    model: LatentDiffusion | ADM,
    tmp_path: Path,
) -> None:
    made = compose(name, sampler, clip_directories, *FIXED_COST["checkpointed"])

    def attempt(draft: MortalDraft) -> Generation:
        method: Method = made.build("method")
        return method.generate(some_problems(made), replace(setup(made, model), progress=draft))

    uninterrupted = MortalDraft(tmp_path / "whole")
    whole = attempt(uninterrupted)
    if not uninterrupted.passed:
        pytest.skip("has no loops beside the sampler's")
    for at in range(uninterrupted.passed):
        folder = tmp_path / str(at)
        with pytest.raises(KilledError):
            attempt(MortalDraft(folder, at))
        draft = MortalDraft(folder)
        resumed = attempt(draft)
        again = draft.passed - (uninterrupted.passed - at)
        assert again <= 1  # the last step of a loop that had ended
        assert torch.equal(resumed.samples, whole.samples) and torch.equal(resumed.latents, whole.latents)
        assert (resumed.cost, resumed.spent, resumed.failures) == (whole.cost, whole.spent, whole.failures)
        assert resumed.history.keys() == whole.history.keys()
        assert all(torch.equal(curve, whole.history[name]) for name, curve in resumed.history.items())
        assert not (folder / "quarantine").exists()


@each("method")
def test_weights_stay_frozen(made: Job, model: LatentDiffusion | ADM) -> None:
    before = {k: v.clone() for name in model.modules for k, v in _state(model, name).items()}
    generate(made, model)
    for module in model.modules.values():
        assert not module.training
        assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    after = {k: v for name in model.modules for k, v in _state(model, name).items()}
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


@each("method")
def test_declarations(made: Job, model: LatentDiffusion | ADM) -> None:
    method: Method = made.build("method")
    assert method.paper
    evaluations = method.loss_evaluations(setup(made, model))
    assert evaluations > 0 if "loss" in method.uses else evaluations == 0


def _state(model: LatentDiffusion | ADM, name: str) -> dict[str, Tensor]:
    return {f"{name}.{k}": v for k, v in model.modules[name].state_dict().items()}
