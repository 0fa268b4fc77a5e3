"""Stable Diffusion 1 in one file, as CompVis and most of its descendants are published."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from guidebench.errors import WeightsError
from guidebench.models.checkpoints import Checkpoint, check_keys

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth")
"""Endings of such files."""

_UNET, _TEXT = "model.diffusion_model.", "cond_stage_model.transformer."
_NOT_WEIGHTS = ("embeddings.position_ids",)


def load_networks(
    source: str, architecture: Mapping[str, Any] | None, dtype: torch.dtype
) -> dict[str, nn.Module]:
    """The networks by their names in the diffusers layout.

    Args:
        source: the file, safetensors.
        architecture: the configurations of `unet`, `vae` and `text_encoder`, which such a file does not hold.
        dtype: of the weights.

    Raises:
        WeightsError: it is another kind of file, or does not fit the architecture.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders import single_file_utils as ldm
    from transformers import CLIPTextConfig, CLIPTextModel

    if architecture is None:
        raise WeightsError(
            f"model.source: {source!r} is one file, which does not say its architecture; give model.architecture (that "
            "of Stable Diffusion 1: model=sd15 model.source=FILE model.revision=null)"
        )
    if not source.endswith(".safetensors"):
        raise WeightsError(
            f"model.source: {source!r} is a pickle, which could run code; take the model's .safetensors instead"
        )
    state = Checkpoint(source, {}).tensors()
    _refuse_other_kinds(source, state)
    with torch.device("meta"):
        networks: dict[str, nn.Module] = {
            "unet": UNet2DConditionModel(**architecture["unet"]),
            "vae": AutoencoderKL(**architecture["vae"]),
        }
    text_encoder = CLIPTextModel(
        CLIPTextConfig(**architecture["text_encoder"])
    )  # has buffers that no file holds
    weights = {
        "unet": ldm.convert_ldm_unet_checkpoint(dict(state), networks["unet"].config),
        "vae": ldm.convert_ldm_vae_checkpoint(dict(state), networks["vae"].config),
        "text_encoder": _text_weights(state, text_encoder),
    }
    networks["text_encoder"] = text_encoder
    for name, network in networks.items():
        check_keys(f"{source} ({name})", weights[name], network.state_dict())
        network.load_state_dict(weights[name], assign=True)
        nn.Module.to(network, dtype)
    return networks


def _text_weights(state: Mapping[str, Tensor], text_encoder: nn.Module) -> dict[str, Tensor]:
    """With or without the prefix `text_model.`, as the installed transformers have it."""
    prefix = "text_model." if any(key.startswith("text_model.") for key in text_encoder.state_dict()) else ""
    bare = (
        (key.removeprefix(_TEXT).removeprefix("text_model."), value)
        for key, value in state.items()
        if key.startswith(_TEXT)
    )
    return {prefix + key: value for key, value in bare if not key.endswith(_NOT_WEIGHTS)}


def _refuse_other_kinds(source: str, state: Mapping[str, Tensor]) -> None:
    refuse = partial(_refuse, source)
    if any("lora_" in key or ".lora" in key for key in state):
        refuse(
            "a LoRA, which changes another model; fuse it into its base model with diffusers and save that"
        )
    if any(key.startswith("conditioner.embedders.") for key in state):
        refuse("Stable Diffusion XL, which reads two text encoders and the picture's size")
    if any("joint_blocks." in key or "double_blocks." in key for key in state):
        refuse("a flow of a transformer (Stable Diffusion 3 or Flux)")
    if any(key.startswith("cond_stage_model.model.") for key in state):
        refuse(
            "Stable Diffusion 2; give it as a directory in the diffusers layout, which it is also published in"
        )
    if not any(key.startswith(_UNET) for key in state):
        refuse("no whole Stable Diffusion in one file (its keys do not begin with model.diffusion_model.)")
    first = state.get(f"{_UNET}input_blocks.0.0.weight")
    if first is not None and first.shape[1] != 4:
        words = {9: "an inpainting model", 8: "InstructPix2Pix"}
        refuse(f"{words.get(first.shape[1], 'another model')}, whose U-Net reads {first.shape[1]} channels")


def _refuse(source: str, what: str) -> None:
    raise WeightsError(
        f"model.source: {source!r} is {what}; LatentDiffusion reads Stable Diffusion 1 in one file."
    )
