import copy
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.errors import WeightsError
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.methods.base import Setup
from guidebench.methods.end_to_end.doodl import DOODL
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.one_step import OneStep
from guidebench.models.base import Guided
from guidebench.models.latent_diffusion import LatentDiffusion
from guidebench.problems import TextToImage
from guidebench.samplers.edict import EDICT
from tiny_models import ARCHITECTURE

PROMPTS = ["a red circle", "two blue squares"]


@pytest.fixture(scope="module")
def directory(tiny_model: LatentDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in the diffusers layout."""
    from diffusers import DDIMScheduler

    folder = tmp_path_factory.mktemp("layout")
    for name in ("unet", "vae", "text_encoder", "tokenizer"):
        tiny_model._parts[name].save_pretrained(folder / name)
    DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        folder / "scheduler"
    )
    return folder


@pytest.fixture
def damaged(directory: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(directory, tmp_path / "model")
    return tmp_path / "model"


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def problems() -> list[TextToImage]:
    return [TextToImage(f"case-{i}", 0, prompt, "") for i, prompt in enumerate(PROMPTS)]


class Brightness:
    """A loss: the mean of the image."""

    def bind(self, problems: object, streams: object) -> "Brightness":
        return self

    def __call__(self, images: Tensor) -> Tensor:
        return images.square().flatten(1).mean(1)


def setup_of(model: LatentDiffusion) -> Setup:
    return Setup(model, EDICT(n_steps=4), Brightness(), Checkpointed(), 3.0)  # type: ignore[arg-type]


# -- loading -----------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_back_it_is_the_same(tiny_model: LatentDiffusion, directory: Path) -> None:
    loaded = LatentDiffusion(str(directory))
    loaded.load("cpu")
    x, cond = noise(2, 4, 8, 8), tiny_model.condition(PROMPTS)
    assert torch.equal(loaded.condition(PROMPTS), cond)
    assert torch.equal(loaded.eps(x, 500, cond), tiny_model.eps(x, 500, cond))
    assert torch.equal(loaded.decode(x), tiny_model.decode(x))
    assert loaded.schedule == tiny_model.schedule and loaded.sample_shape == tiny_model.sample_shape == (
        4,
        8,
        8,
    )
    images = [Unguided().generate(problems(), setup_of(model)).samples for model in (loaded, tiny_model)]
    assert torch.equal(*images)


def test_latents_need_not_be_square(tiny_model: LatentDiffusion, damaged: Path) -> None:
    _edit(damaged / "unet" / "config.json", sample_size=[8, 4])
    model = LatentDiffusion(str(damaged))
    model.load("cpu")
    assert model.sample_shape == (4, 8, 4)
    assert model.decode(model.eps(noise(1, *model.sample_shape), 10, None)).shape == (1, 3, 32, 16)


def test_prompts_matter(tiny_model: LatentDiffusion) -> None:
    cond = tiny_model.condition(["", *PROMPTS])
    assert cond.shape == (3, 16, 16) and cond.dtype == torch.float32
    x = noise(1, 4, 8, 8)
    outs = [tiny_model.eps(x, 500, c[None]) for c in cond]
    assert not torch.allclose(outs[0], outs[1], atol=1e-6) and not torch.allclose(outs[1], outs[2], atol=1e-6)
    torch.testing.assert_close(tiny_model.eps(x, 500, None), outs[0])
    assert tiny_model.condition(["a red circle " * 50]).shape == (1, 16, 16)


def test_constructing_loads_nothing(tmp_path: Path) -> None:
    model = LatentDiffusion(str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="not loaded"):
        model.condition([""])


def test_random_weights_are_the_same_every_time_and_leave_global_state_alone(
    tiny_model: LatentDiffusion,
) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = LatentDiffusion("tiny", architecture=ARCHITECTURE, random_weights=True)
    again.load("cpu")
    assert torch.equal(torch.get_rng_state(), state)
    x, cond = noise(1, 4, 8, 8), tiny_model.condition([""])
    assert torch.equal(again.eps(x, 10, cond), tiny_model.eps(x, 10, cond))


def test_fingerprint_follows_the_weights(directory: Path, damaged: Path) -> None:
    before = LatentDiffusion(str(damaged)).fingerprint()
    assert before == LatentDiffusion(str(directory)).fingerprint()
    path = damaged / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert LatentDiffusion(str(damaged)).fingerprint() != before
    again = path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(again.st_atime_ns, again.st_mtime_ns))
    assert LatentDiffusion(str(damaged)).fingerprint() == before, "size and time are not the content"
    hub = LatentDiffusion("someone/model", revision="abc")
    assert hub.fingerprint() == "someone/model@abc"


def _truncate(folder: Path, part: str) -> None:
    (path,) = (folder / part).glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-100])


def _pickle_only(folder: Path) -> None:
    for part, name in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "pytorch_model"),
    ):
        from safetensors.torch import load_file

        (path,) = (folder / part).glob("*.safetensors")
        torch.save(load_file(path), folder / part / f"{name}.bin")
        path.unlink()


def _drop_a_tensor(folder: Path, part: str) -> None:
    from safetensors.torch import load_file, save_file

    (path,) = (folder / part).glob("*.safetensors")
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path, metadata={"format": "pt"})


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


BREAKS = {
    "no directory": (shutil.rmtree, "No weights at"),
    "no unet": (lambda f: shutil.rmtree(f / "unet"), "unet"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "cannot load"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "scheduler"),
    "truncated unet": (lambda f: _truncate(f, "unet"), "truncated"),
    "truncated vae": (lambda f: _truncate(f, "vae"), "truncated"),
    "pointer file": (
        lambda f: (f / "unet/diffusion_pytorch_model.safetensors").write_text(
            "version https://git-lfs.github.com/spec/v1"
        ),
        "git lfs pull",
    ),
    "pickle only": (_pickle_only, "safetensors"),
    "tensor missing in unet": (lambda f: _drop_a_tensor(f, "unet"), "lacks weights of its unet"),
    "tensor missing in vae": (lambda f: _drop_a_tensor(f, "vae"), "lacks weights of its vae"),
    "tensor missing in text encoder": (
        lambda f: _drop_a_tensor(f, "text_encoder"),
        "lacks weights of its text_encoder",
    ),
    "other widths": (lambda f: _edit(f / "unet/config.json", block_out_channels=[8, 8]), "cannot load"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_weights_that_do_not_fit_are_refused_in_words(damaged: Path, how: str) -> None:
    damage, words = BREAKS[how]
    damage(damaged)
    with pytest.raises(WeightsError, match=words) as caught:
        LatentDiffusion(str(damaged)).load("cpu")
    assert str(damaged) in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"beta_schedule": "linear"}', None])
def test_a_scheduler_file_that_tells_no_schedule_is_refused(damaged: Path, content: str | None) -> None:
    path = damaged / "scheduler" / "scheduler_config.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(WeightsError, match=r"scheduler_config\.json"):
        _ = LatentDiffusion(str(damaged)).schedule


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("beta_start", 0.0001),
        ("beta_schedule", "linear"),
        ("prediction_type", "v_prediction"),
        ("num_train_timesteps", 500),
    ],
)
def test_a_configured_schedule_that_is_not_the_checkpoints_is_refused(
    damaged: Path, key: str, value: object
) -> None:
    _edit(damaged / "scheduler" / "scheduler_config.json", **{key: value})
    with pytest.raises(WeightsError, match=f"scheduler.{key}"):
        LatentDiffusion(str(damaged), architecture=ARCHITECTURE).load("cpu")


def test_an_unknown_schedule_is_refused(damaged: Path) -> None:
    _edit(damaged / "scheduler" / "scheduler_config.json", beta_schedule="squaredcos_cap_v2")
    with pytest.raises(WeightsError, match="squaredcos_cap_v2"):
        _ = LatentDiffusion(str(damaged)).schedule


def test_a_scheduler_file_without_prediction_type_means_epsilon(directory: Path, damaged: Path) -> None:
    """Old checkpoints, Stable Diffusion 1.4 among them, do not say."""
    path = damaged / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    del config["prediction_type"]
    path.write_text(json.dumps(config))
    models = [LatentDiffusion(str(folder)) for folder in (directory, damaged)]
    for model in models:
        model.load("cpu")
    x = noise(1, 4, 8, 8)
    assert torch.equal(*(model.eps(x, 500, model.condition([""])) for model in models))


# -- the model ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def both_kinds(tiny_model: LatentDiffusion) -> Iterator[tuple[LatentDiffusion, LatentDiffusion]]:
    """One smooth denoiser in two parameterisations: the network of the second gives v = alpha_t eps - sigma_t x0."""
    weight = 0.1 * noise(256, 256, dtype=torch.float64)

    def eps(x: Tensor, time: Tensor, cond: Tensor) -> Tensor:
        return torch.tanh(x.double().flatten(1) @ weight + cond.double().mean((1, 2))[:, None]).reshape(
            x.shape
        )

    def network(kind: str, model: LatentDiffusion):
        def call(x: Tensor, time: Tensor, cond: Tensor, return_dict: bool) -> tuple[Tensor]:
            alpha_t, sigma_t = model.schedule.alpha(int(time)), model.schedule.sigma(int(time))
            e = eps(x, time, cond)
            v = alpha_t * e - sigma_t * (x.double() - sigma_t * e) / alpha_t
            return (e if kind == "epsilon" else v,)

        return call

    models = []
    for kind in ("epsilon", "v_prediction"):
        architecture = copy.deepcopy(ARCHITECTURE)
        architecture["scheduler"]["prediction_type"] = kind
        model = LatentDiffusion("tiny", architecture=architecture, random_weights=True)
        model._parts = {**tiny_model._parts, "unet": network(kind, model)}
        models.append(model)
    return models[0], models[1]


@pytest.mark.parametrize("t", [0, 1, 400, 999])
def test_v_prediction_is_converted(both_kinds: tuple[LatentDiffusion, LatentDiffusion], t: int) -> None:
    x, cond = noise(2, 4, 8, 8), both_kinds[0].condition(PROMPTS)
    eps, from_v = (model.eps(x, t, cond) for model in both_kinds)
    torch.testing.assert_close(from_v, eps, rtol=1e-5, atol=1e-5)
    assert eps.dtype == torch.float32 and eps.abs().max() > 0.1


@pytest.mark.parametrize("t", [60, 500, 940])
def test_both_parameterisations_of_one_denoiser_give_the_same_guidance(
    both_kinds: tuple[LatentDiffusion, LatentDiffusion], t: int
) -> None:
    grads = []
    for model in both_kinds:
        setup = setup_of(model)
        loss = setup.loss.bind(problems(), RandomStreams(problems()))
        cond = model.condition(PROMPTS)
        grads.append(OneStep(scale=100.0)._guide(setup, setup.guided(), loss, noise(2, 4, 8, 8), t, cond)[2])
    assert grads[0].abs().max() > 1e-4
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-3, atol=1e-4 * float(grads[0].abs().max()))


@pytest.mark.parametrize("cfg_scale", [-1.0, 0.5, 2.0, 7.5])
def test_guidance_in_one_batch_equals_two_calls(tiny_model: LatentDiffusion, cfg_scale: float) -> None:
    x, cond = noise(2, 4, 8, 8), tiny_model.condition(PROMPTS)
    guided = Guided(tiny_model, cfg_scale)
    uncond = tiny_model.eps(x, 500, tiny_model.condition(["", ""]))
    conditional = tiny_model.eps(x, 500, cond)
    torch.testing.assert_close(
        guided(x, 500, cond), uncond + cfg_scale * (conditional - uncond), rtol=1e-4, atol=1e-5
    )
    assert guided.cost.nfe_fwd == 2


@pytest.mark.parametrize("cfg_scale", [0.0, 1.0])
def test_one_branch_costs_one_row(tiny_model: LatentDiffusion, cfg_scale: float) -> None:
    x, cond = noise(2, 4, 8, 8), tiny_model.condition(PROMPTS)
    guided = Guided(tiny_model, cfg_scale)
    branch = cond if cfg_scale else tiny_model.condition(["", ""])
    assert torch.equal(guided(x, 500, cond), tiny_model.eps(x, 500, branch))
    assert guided.cost.nfe_fwd == 1


def test_without_conditioning_the_null_prompt_is_used(tiny_model: LatentDiffusion) -> None:
    x, guided = noise(2, 4, 8, 8), Guided(tiny_model, 3.0)
    assert torch.equal(guided(x, 500, None), tiny_model.eps(x, 500, tiny_model.condition(["", ""])))


def test_shapes_and_ranges_of_decoder_and_encoder(tiny_model: LatentDiffusion) -> None:
    x0 = noise(2, 4, 8, 8)
    images = tiny_model.decode(x0)
    assert images.shape == (2, 3, 32, 32) and images.dtype == torch.float32
    latents = tiny_model.encode(torch.rand(2, 3, 32, 32))
    assert latents.shape == (2, 4, 8, 8) and latents.dtype == torch.float32
    vae = tiny_model.modules["vae"]
    expected = vae.decode(x0 / 0.5, return_dict=False)[0] / 2 + 0.5  # type: ignore[operator]
    assert torch.equal(images, expected)
    posterior = vae.encode(torch.full((1, 3, 32, 32), -0.5), return_dict=False)[0]  # type: ignore[operator]
    torch.testing.assert_close(tiny_model.encode(torch.full((1, 3, 32, 32), 0.25)), 0.5 * posterior.mean)


def test_decoder_and_encoder_pass_gradients(tiny_model: LatentDiffusion) -> None:
    x0 = noise(1, 4, 8, 8).requires_grad_()
    (grad,) = torch.autograd.grad(tiny_model.encode(tiny_model.decode(x0)).square().sum(), x0)
    assert grad.isfinite().all() and grad.abs().max() > 0


@pytest.mark.parametrize(
    "method", [Unguided(), OneStep(scale=5.0), DOODL(n_opt=2)], ids=lambda m: type(m).__name__
)
def test_weights_stay_frozen_and_collect_no_gradient(tiny_model: LatentDiffusion, method) -> None:
    before = {name: [p.clone() for p in m.parameters()] for name, m in tiny_model.modules.items()}
    method.generate(problems(), setup_of(tiny_model))
    for name, module in tiny_model.modules.items():
        assert not module.training
        for parameter, old in zip(module.parameters(), before[name], strict=True):
            assert not parameter.requires_grad and parameter.grad is None
            assert torch.equal(parameter, old)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_networks_keep_the_interface_in_single(dtype: str) -> None:
    model = LatentDiffusion("tiny", architecture=ARCHITECTURE, random_weights=True, dtype=dtype)
    model.load("cpu")
    assert {p.dtype for m in model.modules.values() for p in m.parameters()} == {getattr(torch, dtype)}
    x, cond = noise(1, 4, 8, 8), model.condition([""])
    for tensor in (cond, model.eps(x, 500, cond), model.decode(x), model.encode(torch.rand(1, 3, 32, 32))):
        assert tensor.dtype == torch.float32 and tensor.isfinite().all()


@pytest.mark.parametrize(
    ("part", "count"), [("unet", 859_520_964), ("vae", 83_653_863), ("text_encoder", 123_060_480)]
)
def test_the_configured_architecture_is_stable_diffusion_1(checkout: Path, part: str, count: int) -> None:
    """Numbers of parameters of the published checkpoints."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    config = yaml.safe_load((checkout / "conf/model/sd14.yaml").read_text())["architecture"][part]
    with torch.device("meta"):
        network = {
            "unet": lambda: UNet2DConditionModel(**config),
            "vae": lambda: AutoencoderKL(**config),
            "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**config)),
        }[part]()
    assert sum(p.numel() for p in network.parameters()) == count
