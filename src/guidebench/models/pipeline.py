"""A diffusers pipeline that the user has loaded."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from guidebench.errors import WeightsError
from guidebench.models import scheduler_config
from guidebench.models.diffusers_layout import PARTS
from guidebench.models.latent_diffusion import LatentDiffusion


class PipelineModel(LatentDiffusion):
    """The networks of a text-to-image pipeline of diffusers, as they are: fine-tuned, in its precision.

    They are shared with the pipeline, frozen and set to evaluation. Of the scheduler only the noise schedule is read;
    how it is sampled is a sampler's business.

    Args:
        pipeline: a `StableDiffusionPipeline` or another one of U-Net, VAE, one CLIP text encoder and its tokenizer.

    Raises:
        WeightsError: a pipeline of other parts, or in float16.
    """

    def __init__(self, pipeline: Any) -> None:
        parts: Mapping[str, Any] = getattr(pipeline, "components", {})
        lacking = [name for name in (*PARTS, "tokenizer", "scheduler") if parts.get(name) is None]
        other = [name for name in ("text_encoder_2", "transformer") if parts.get(name) is not None]
        name = type(pipeline).__name__
        if lacking or other:
            found = f"lacks {', '.join(lacking)}" if lacking else f"has {', '.join(other)}"
            raise WeightsError(
                f"model: a {name} {found}; allowed are pipelines of {', '.join(PARTS)}, tokenizer and scheduler, such "
                "as StableDiffusionPipeline"
            )
        channels = parts["unet"].config.in_channels
        if channels != parts["vae"].config.latent_channels:
            raise WeightsError(
                f"model: the U-Net of a {name} takes {channels} channels, not the latents' alone; allowed are "
                "pipelines that make pictures of prompts"
            )
        dtype, of_vae = parts["unet"].dtype, parts["vae"].dtype
        if torch.float16 in (dtype, of_vae):
            raise WeightsError(
                "model: gradients through float16 networks underflow; load the pipeline in torch.float32 or "
                "torch.bfloat16"
            )
        if dtype != of_vae:
            raise WeightsError(
                f"model: the U-Net is in {dtype} and the VAE in {of_vae}; load the pipeline in one precision"
            )
        source = str(getattr(pipeline, "name_or_path", "") or name)
        super().__init__(source, dtype="bfloat16" if dtype == torch.bfloat16 else "float32")
        self._architecture = {"scheduler": dict(parts["scheduler"].config)}
        self._parts = {key: parts[key] for key in (*PARTS, "tokenizer")}
        for key in PARTS:
            self._parts[key].requires_grad_(False).eval()
        self._scheduler_config = scheduler_config.completed(self._architecture["scheduler"], source)

    def fingerprint(self) -> str:
        """Of every tensor, whatever the files were called."""
        total = hashlib.sha256()
        for key in PARTS:
            network: nn.Module = self._parts[key]
            for name, tensor in sorted(network.state_dict().items()):
                total.update(f"{key}.{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
                total.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return f"sha256:{total.hexdigest()}"
