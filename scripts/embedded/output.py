"""Where weights are written, and the files that the parts of a pipeline share."""

import copy
import json
import os
from pathlib import Path

from diffusers import DDIMScheduler
from torch import nn

from embedded.data import ROOT, build_tokenizer

WEIGHTS = Path(os.environ.get("GUIDEBENCH_WEIGHTS", ROOT / "src" / "guidebench" / "weights" / "embedded"))


def half(module: nn.Module) -> nn.Module:
    """A half-precision copy for writing."""
    return copy.deepcopy(module).half()


SCHEDULER = DDIMScheduler(
    num_train_timesteps=1000,
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    prediction_type="epsilon",
    clip_sample=False,
    set_alpha_to_one=False,
    steps_offset=1,
)
"""Stable Diffusion's."""

ALPHAS = SCHEDULER.alphas_cumprod
"""Products of 1 - beta, one per time step."""


def write_pipeline_files() -> Path:
    """Write the latent model's tokenizer, scheduler and index; returns its folder."""
    folder = WEIGHTS / "text_to_image"
    build_tokenizer().save_pretrained(folder / "tokenizer")
    SCHEDULER.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder
