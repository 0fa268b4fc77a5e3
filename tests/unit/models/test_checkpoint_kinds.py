"""Checkpoints of every kind that users have: read where they can be, refused in words that say what they are."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from guidebench.errors import WeightsError
from guidebench.models import scheduler_config
from guidebench.models.latent_diffusion import LatentDiffusion
from tiny_models import ARCHITECTURE


@pytest.fixture(scope="module")
def directory(tiny_model: LatentDiffusion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layout")
    for name in ("unet", "vae", "text_encoder", "tokenizer"):
        tiny_model._parts[name].save_pretrained(folder / name)
    _write(folder / "scheduler" / "scheduler_config.json", ARCHITECTURE["scheduler"])
    return folder


@pytest.fixture
def copy(directory: Path, tmp_path: Path) -> Path:
    shutil.copytree(directory, tmp_path / "model")
    return tmp_path / "model"


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(source: Path | str, **arguments: Any) -> str:
    """Words of the refusal, in one line that names the source."""
    with pytest.raises(WeightsError) as caught:
        LatentDiffusion(str(source), **arguments).load("cpu")
    message = str(caught.value)
    assert str(source) in message and "\n" not in message.split("[Errno")[0]
    return message


def same(model: LatentDiffusion, other: LatentDiffusion) -> bool:
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    cond = [m.condition(["a red circle", ""]) for m in (model, other)]
    pairs = [cond, [m.eps(x, 500, cond[0]) for m in (model, other)], [m.decode(x) for m in (model, other)]]
    return all(torch.equal(*pair) for pair in pairs)


# -- other kinds -------------------------------------------------------------------------------------------------------

PIPELINES = {
    "StableDiffusionXLPipeline": "Stable Diffusion XL",
    "StableDiffusionInpaintPipeline": "an inpainting model",
    "StableDiffusionXLInpaintPipeline": "Stable Diffusion XL",
    "StableDiffusionInstructPix2PixPipeline": "InstructPix2Pix",
    "StableDiffusion3Pipeline": "Stable Diffusion 3",
    "FluxPipeline": "Flux",
    "LatentConsistencyModelPipeline": "a latent consistency model",
}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_other_pipelines_are_told_by_name(copy: Path, pipeline: str) -> None:
    _write(copy / "model_index.json", {"_class_name": pipeline})
    message = refused(copy)
    assert PIPELINES[pipeline] in message and "choose a text-to-image checkpoint" in message


UNETS: dict[str, tuple[dict[str, Any], str]] = {
    "inpainting": ({"in_channels": 9}, "an inpainting model"),
    "pix2pix": ({"in_channels": 8}, "InstructPix2Pix"),
    "depth": ({"in_channels": 5}, "a depth-to-image model"),
    "other": ({"in_channels": 6}, "6 channels for latents of 4"),
    "xl": ({"addition_embed_type": "text_time", "addition_time_embed_dim": 8}, "Stable Diffusion XL"),
    "lcm": ({"time_cond_proj_dim": 8}, "a latent consistency model"),
    "classes": ({"num_class_embeds": 3}, "reads more than times and texts .num_class_embeds"),
    "image": ({"addition_embed_type": "image"}, "reads more than times and texts"),
}


@pytest.mark.parametrize("kind", UNETS)
def test_other_unets_are_told_by_what_they_read(copy: Path, kind: str) -> None:
    changes, words = UNETS[kind]
    _edit(copy / "unet" / "config.json", **changes)
    with pytest.raises(WeightsError, match=words):
        LatentDiffusion(str(copy)).load("cpu")


def test_a_lora_and_a_controlnet_are_told(tmp_path: Path) -> None:
    save_file({"unet.a.lora_A.weight": torch.zeros(1)}, tmp_path / "pytorch_lora_weights.safetensors")
    scheduler = {"scheduler": ARCHITECTURE["scheduler"]}
    assert "is a LoRA" in refused(tmp_path, architecture=ARCHITECTURE | scheduler)
    (tmp_path / "pytorch_lora_weights.safetensors").unlink()
    _write(tmp_path / "config.json", {"_class_name": "ControlNetModel"})
    assert "is a ControlNet" in refused(tmp_path)


def test_weights_that_the_unet_does_not_know_are_refused(copy: Path) -> None:
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    save_file(load_file(path) | {"extra.weight": torch.zeros(2)}, path, {"format": "pt"})
    assert "does not know: ['extra.weight']" in refused(copy)


# -- a matter of a setting ---------------------------------------------------------------------------------------------


def _rename(folder: Path, suffix: str) -> None:
    for part in ("unet", "vae", "text_encoder"):
        (path,) = (folder / part).glob("*.safetensors")
        path.rename(path.with_name(path.name.replace(".safetensors", suffix)))


def test_a_variant_is_a_setting(copy: Path, tiny_model: LatentDiffusion) -> None:
    _rename(copy, ".fp16.safetensors")
    assert "no weights of model.variant=null; set model.variant=fp16." in refused(copy)
    model = LatentDiffusion(str(copy), variant="fp16")
    model.load("cpu")
    assert same(model, tiny_model)
    assert "no weights of model.variant=bf16; set model.variant=fp16." in refused(copy, variant="bf16")


def test_a_variant_that_is_not_there_is_told(copy: Path) -> None:
    assert "no weights of model.variant=fp16; set model.variant=null." in refused(copy, variant="fp16")


def test_pickles_are_told(copy: Path) -> None:
    _rename(copy, ".bin")
    message = refused(copy)
    assert "as a pickle (.bin) only" in message and "safe_serialization=True" in message


def test_a_tokenizer_with_code_is_refused_without_asking(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail("asked"))
    auto_map = {"AutoTokenizer": ["tokenization.Custom", None]}
    _edit(copy / "tokenizer" / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Custom")
    (copy / "tokenizer" / "tokenization.py").write_text("print('code ran')\n")
    assert "names code to run (auto_map" in refused(copy)
    assert "code ran" not in capfd.readouterr().out


# -- one file ----------------------------------------------------------------------------------------------------------

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
}
RESNET |= {"conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
UNET = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "down_blocks.0.resnets.0": "input_blocks.1.0",
    "down_blocks.0.attentions.0": "input_blocks.1.1",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op",
    "down_blocks.1.resnets.0": "input_blocks.3.0",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "up_blocks.0.resnets.0": "output_blocks.0.0",
    "up_blocks.0.resnets.1": "output_blocks.1.0",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.1.1.conv",
    "up_blocks.1.resnets.0": "output_blocks.2.0",
    "up_blocks.1.attentions.0": "output_blocks.2.1",
    "up_blocks.1.resnets.1": "output_blocks.3.0",
    "up_blocks.1.attentions.1": "output_blocks.3.1",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
"""CompVis' names of the tiny U-Net's layers: blocks numbered through, each with its layers in turn."""
MIDDLE = {
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "conv_norm_out": "norm_out",
}
MIDDLE |= {"mid_block.attentions.0": "mid.attn_1"}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def _ldm_vae_key(key: str) -> str:
    for old, new in MIDDLE.items():
        key = key.replace(old, new)
    for i in range(3):
        key = key.replace(f"down_blocks.{i}.resnets", f"down.{i}.block")
        key = key.replace(f"down_blocks.{i}.downsamplers.0", f"down.{i}.downsample")
        key = key.replace(f"up_blocks.{i}.resnets", f"up.{2 - i}.block")
        key = key.replace(f"up_blocks.{i}.upsamplers.0", f"up.{2 - i}.upsample")
    if "attn_1" in key:
        for old, new in ATTENTION.items():
            key = key.replace(old, new)
    return "first_stage_model." + key.replace("conv_shortcut", "nin_shortcut")


def _ldm_unet_key(key: str) -> str:
    (layer,) = (name for name in UNET if key.startswith(f"{name}."))
    rest = key.removeprefix(f"{layer}.")
    if ".resnets." in key:
        name, _, end = rest.rpartition(".")
        rest = f"{RESNET[name]}.{end}"
    return f"model.diffusion_model.{UNET[layer]}.{rest}"


@pytest.fixture(scope="module")
def single(tiny_model: LatentDiffusion) -> dict[str, Tensor]:
    """The tiny model's weights as CompVis would have published them, by the names of their code."""
    networks = tiny_model.modules
    state = {_ldm_unet_key(key): value for key, value in networks["unet"].state_dict().items()}
    for key, value in networks["vae"].state_dict().items():
        conv = "mid.attn_1" in _ldm_vae_key(key) and value.ndim == 2
        state[_ldm_vae_key(key)] = value[..., None, None] if conv else value
    for key, value in networks["text_encoder"].state_dict().items():
        state[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(16)[None]
    state["alphas_cumprod"] = torch.ones(1000)
    return {key: value.contiguous().clone() for key, value in state.items()}


def test_one_file_is_the_directory(
    single: dict[str, Tensor], tmp_path: Path, tiny_model: LatentDiffusion
) -> None:
    save_file(single, tmp_path / "one.safetensors")
    model = LatentDiffusion(str(tmp_path / "one.safetensors"), architecture=ARCHITECTURE)
    model.load("cpu")
    assert same(model, tiny_model) and model.fingerprint().startswith("sha256:")
    assert model.schedule == tiny_model.schedule
    assert not any(p.requires_grad for m in model.modules.values() for p in m.parameters())
    assert "give model.architecture" in refused(tmp_path / "one.safetensors")


FILES: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "lora": ({"lora_unet_down_blocks_0.lora_up.weight": (1,)}, "is a LoRA"),
    "xl": ({"conditioner.embedders.0.x": (1,)}, "is Stable Diffusion XL"),
    "sd3": ({"model.diffusion_model.joint_blocks.0.x": (1,)}, "is a flow of a transformer"),
    "flux": ({"double_blocks.0.x": (1,)}, "is a flow of a transformer"),
    "sd2": ({"cond_stage_model.model.x": (1,)}, "is Stable Diffusion 2; give it as a directory"),
    "vae": ({"encoder.conv_in.weight": (1,)}, "is no whole Stable Diffusion in one file"),
    "inpainting": ({"model.diffusion_model.input_blocks.0.0.weight": (8, 9, 3, 3)}, "is an inpainting model"),
    "pix2pix": ({"model.diffusion_model.input_blocks.0.0.weight": (8, 8, 3, 3)}, "is InstructPix2Pix"),
    "cut": ({"model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3)}, "missing"),
}


@pytest.mark.parametrize("kind", FILES)
def test_other_files_are_told_by_their_keys(tmp_path: Path, kind: str) -> None:
    shapes, words = FILES[kind]
    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, tmp_path / "one.safetensors")
    assert words in refused(tmp_path / "one.safetensors", architecture=ARCHITECTURE)


def test_one_file_with_a_key_too_many_is_refused(single: dict[str, Tensor], tmp_path: Path) -> None:
    more = {"cond_stage_model.transformer.text_model.encoder.layers.7.mlp.fc1.bias": torch.zeros(3)}
    save_file(single | more, tmp_path / "one.safetensors")
    assert "1 unexpected" in refused(tmp_path / "one.safetensors", architecture=ARCHITECTURE)


def test_a_pickled_file_is_told(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "one.ckpt")
    assert "take the model's .safetensors" in refused(tmp_path / "one.ckpt", architecture=ARCHITECTURE)


# -- schedules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta_schedule", ["scaled_linear", "linear"])
def test_rescaled_betas_are_those_of_diffusers(beta_schedule: str) -> None:
    config = {"beta_schedule": beta_schedule, "beta_start": 0.00085, "beta_end": 0.012}
    config |= {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    schedule = scheduler_config.schedule(scheduler_config.completed(config, "here"), "here")
    expected = DDIMScheduler(**config).alphas_cumprod.double().numpy()
    np.testing.assert_allclose(schedule.alphas_cumprod, expected, rtol=2e-4, atol=1e-7)
    assert schedule.alphas_cumprod[-1] == 0 and schedule.alphas_cumprod[0] == pytest.approx(expected[0])


def test_trained_betas_are_the_table() -> None:
    betas = (np.linspace(0.1, 0.4, 50) ** 2).tolist()
    config = scheduler_config.completed({"trained_betas": betas, "num_train_timesteps": 50}, "here")
    schedule = scheduler_config.schedule(config, "here")
    expected = DDIMScheduler(num_train_timesteps=50, trained_betas=betas).alphas_cumprod
    np.testing.assert_allclose(schedule.alphas_cumprod, expected.double().numpy(), rtol=1e-6)
    with pytest.raises(WeightsError, match="50 trained_betas for 1000 num_train_timesteps"):
        scheduler_config.schedule({**config, "num_train_timesteps": 1000}, "here")


@pytest.mark.parametrize("key", ["rescale_betas_zero_snr", "trained_betas"])
def test_a_schedule_that_is_not_the_configured_one_is_refused(copy: Path, key: str) -> None:
    _edit(
        copy / "scheduler" / "scheduler_config.json",
        **{key: [0.1] * 1000 if key == "trained_betas" else True},
    )
    assert f"model.architecture.scheduler.{key}" in refused(copy, architecture=ARCHITECTURE)
