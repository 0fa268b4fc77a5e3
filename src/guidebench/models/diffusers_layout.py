"""Stable Diffusion checkpoints in the diffusers layout: read whole or refused in words that say what they are."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from guidebench.errors import WeightsError
from guidebench.models.vocabulary import refuse_code
from guidebench.models.weights import resolve

PARTS = ("unet", "vae", "text_encoder")
"""The networks."""

_ADVICE = "choose a text-to-image checkpoint of Stable Diffusion 1 or 2"
_PIPELINES = {
    "StableDiffusionXL": "Stable Diffusion XL, which reads two text encoders and the picture's size",
    "StableDiffusionInpaint": "an inpainting model, which also reads a mask and the masked image",
    "StableDiffusionInstructPix2Pix": "InstructPix2Pix, which also reads the picture to edit",
    "StableDiffusion3": "Stable Diffusion 3, a flow of a transformer with three text encoders",
    "Flux": "Flux, a flow of a transformer with two text encoders",
    "StableDiffusionUpscale": "an upscaler, which also reads a small picture",
    "StableDiffusionDepth2Img": "a depth-to-image model, which also reads a depth map",
    "LatentConsistency": "a latent consistency model, which reads the guidance scale",
}
"""Other kinds, by the beginning of their pipeline's class."""

_CHANNELS = {9: "StableDiffusionInpaint", 8: "StableDiffusionInstructPix2Pix", 7: "StableDiffusionUpscale"}
_CHANNELS |= {5: "StableDiffusionDepth2Img"}


class DiffusersLayout:
    """A directory, or a repository of the hub.

    Args:
        source: hub id, or without a revision a directory.
        revision: commit of the repository.
        variant: of the weight files, such as "fp16"; None for those without a name.
    """

    def __init__(self, source: str, revision: str | None, variant: str | None) -> None:
        self.source, self.revision, self.variant = source, revision, variant
        if revision:
            self._where: dict[str, Any] = {"pretrained_model_name_or_path": source, "revision": revision}
        else:
            directory = str(resolve(source))
            self._where = {"pretrained_model_name_or_path": directory, "local_files_only": True}

    def load(self, dtype: torch.dtype) -> dict[str, Any]:
        """Networks, tokenizer, and the scheduler's configuration, by name.

        Raises:
            WeightsError: it is of another kind, incomplete, damaged or unsafe; says what to do.
        """
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from transformers import AutoTokenizer, CLIPTextModel
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        self._refuse_other_kinds()
        if not self.revision:
            refuse_code(resolve(self.source) / "tokenizer")
        try:
            safe = {
                **self._where,
                "use_safetensors": True,
                "output_loading_info": True,
                "variant": self.variant,
            }
            plain = {**safe, "low_cpu_mem_usage": False, "torch_dtype": dtype}
            loaded = {
                "unet": UNet2DConditionModel.from_pretrained(**plain, subfolder="unet"),
                "vae": AutoencoderKL.from_pretrained(**plain, subfolder="vae"),
                "text_encoder": CLIPTextModel.from_pretrained(**safe, subfolder="text_encoder", dtype=dtype),
            }
            tokenizer = AutoTokenizer.from_pretrained(
                **self._where, subfolder="tokenizer", trust_remote_code=False
            )
            scheduler = DDIMScheduler.load_config(**self._where, subfolder="scheduler")
        except Exception as error:
            raise WeightsError(
                f"model.source: cannot load {self.source!r}"
                + (f" (revision {self.revision})" if self.revision else "")
                + f": {self._why() or f'{type(error).__name__}: {error}'} A directory must hold unet/, vae/, "
                "text_encoder/, tokenizer/ and scheduler/ in the diffusers layout as safetensors; a hub id needs a "
                "network connection or a cached copy. suite=random runs the same architecture without weights."
            ) from error
        # Both libraries fill what a file lacks with random numbers, ignore what they do not know, and only warn.
        for name, (_, info) in loaded.items():
            self._check_keys(name, info)
        parts: dict[str, Any] = {name: network for name, (network, _) in loaded.items()}
        return parts | {"tokenizer": tokenizer, "scheduler": scheduler}

    def _check_keys(self, name: str, info: Mapping[str, Any]) -> None:
        if info["missing_keys"]:
            raise WeightsError(
                f"model.source: {self.source!r} lacks weights of its {name}: {sorted(info['missing_keys'])[:3]} "
                "...; was it cut, or written by an incompatible version of diffusers or transformers?"
            )
        if info["unexpected_keys"]:
            raise WeightsError(
                f"model.source: {self.source!r} has weights that its {name} does not know: "
                f"{sorted(info['unexpected_keys'])[:3]} ...; its config.json belongs to another network"
            )

    def _refuse_other_kinds(self) -> None:
        """By the pipeline that the checkpoint names, then by what its U-Net reads."""
        from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel

        pipeline = self._config(DiffusionPipeline.load_config).get("_class_name", "")
        for name, words in _PIPELINES.items():
            if pipeline.startswith(name):
                self._refuse(words)
        if "pytorch_lora_weights.safetensors" in self._files(listed=False):
            self._refuse("a LoRA, which changes another model", "fuse it into its base model and save that")
        if pipeline.startswith("ControlNet") or "ControlNet" in self._config(
            UNet2DConditionModel.load_config
        ).get("_class_name", ""):
            self._refuse("a ControlNet, which steers another model")
        unet = self._config(UNet2DConditionModel.load_config, "unet")
        vae = self._config(AutoencoderKL.load_config, "vae")
        refuse_other_unets(unet, vae, self._refuse)

    def _refuse(self, what: str, advice: str = _ADVICE) -> None:
        raise WeightsError(
            f"model.source: {self.source!r} is {what}; LatentDiffusion does not read it: {advice}."
        )

    def _config(self, load: Callable[..., Any], subfolder: str | None = None) -> Mapping[str, Any]:
        """A configuration, empty where there is none: the loaders tell what is missing."""
        try:
            return dict(load(**self._where, **({"subfolder": subfolder} if subfolder else {})))
        except Exception:  # of three libraries
            return {}

    def _why(self) -> str:
        """Why there are no weights to read, if the names of the files tell; otherwise nothing."""
        files = self._files()
        for part in PARTS:
            mine = [name for name in files if name.startswith(f"{part}/")]
            safe = [name for name in mine if name.endswith((".safetensors", ".safetensors.index.json"))]
            if any(_variant(name) == self.variant for name in safe):
                continue
            variants = sorted({str(_variant(name)) for name in safe})
            if variants:
                allowed = " or ".join("null" if name == "None" else name for name in variants)
                asked = self.variant or "null"
                return f"its {part} has no weights of model.variant={asked}; set model.variant={allowed}."
            if any(name.endswith((".bin", ".pt", ".ckpt", ".pth")) for name in mine):
                return (
                    f"its {part} has weights as a pickle (.bin) only, which could run code; load it with diffusers and "
                    "save it with save_pretrained(..., safe_serialization=True)."
                )
        return ""

    def _files(self, listed: bool = True) -> Sequence[str]:
        """Names of all files; those of the hub only if `listed`, and as far as it can be reached."""
        if not self.revision:
            root = Path(self._where["pretrained_model_name_or_path"])
            return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()]
        if not listed:
            return []
        from huggingface_hub import HfApi

        try:
            return HfApi().list_repo_files(self.source, revision=self.revision)
        except Exception:  # the first error says why
            return []


def refuse_other_unets(
    unet: Mapping[str, Any], vae: Mapping[str, Any], refuse: Callable[[str], None]
) -> None:
    """See by its configuration that a U-Net reads latents, a time and texts, and nothing else.

    Args:
        unet: its configuration; an empty one passes.
        vae: the autoencoder's.
        refuse: told, in words, what the checkpoint is.
    """
    channels, latents = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    if channels != latents:
        other = _CHANNELS.get(channels)
        refuse(_PIPELINES[other] if other else f"a U-Net of {channels} channels for latents of {latents}")
    if unet.get("addition_embed_type") == "text_time":
        refuse(_PIPELINES["StableDiffusionXL"])
    if unet.get("time_cond_proj_dim") is not None:
        refuse(_PIPELINES["LatentConsistency"])
    asked = {"class_embed_type", "num_class_embeds", "encoder_hid_dim_type"}
    more = [key for key in sorted(asked) if unet.get(key) is not None]
    if more or unet.get("addition_embed_type") not in (None, "text"):
        refuse(f"a U-Net that reads more than times and texts ({', '.join(more) or 'addition_embed_type'})")


def _variant(name: str) -> str | None:
    """`fp16` of `model.fp16.safetensors` and of `model.fp16-00001-of-00002.safetensors`."""
    parts = name.rsplit("/", 1)[-1].removesuffix(".json").removesuffix(".index").split(".")
    found = parts[1].split("-")[0] if len(parts) > 2 else ""
    return found if found not in ("", "index", "safetensors") else None
