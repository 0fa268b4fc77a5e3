"""Stable Diffusion-like latent models on diffusers components."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guidebench.devices import exact_arithmetic
from guidebench.diffusion.prediction import Prediction
from guidebench.diffusion.schedules import NoiseSchedule
from guidebench.errors import WeightsError
from guidebench.models import scheduler_config, single_file
from guidebench.models.base import DiffusionModel
from guidebench.models.diffusers_layout import PARTS, DiffusersLayout
from guidebench.models.vocabulary import warn_of_cut_texts, warn_of_unknown_words
from guidebench.models.weights import digest, resolve


class LatentDiffusion(DiffusionModel):
    r"""A latent text-to-image model in the diffusers layout: U-Net, VAE, CLIP text encoder, tokenizer, scheduler.

    One class serves a hub checkpoint, a directory (the embedded suite's ships with the package) and, with
    `random_weights`, the bare architecture without any download. Weights are read from safetensors only. Latents and
    predictions are float32 at the interface whatever the network's precision.

    Args:
        source: hub id ("CompVis/stable-diffusion-v1-4"), or, without a revision, a directory, absolute or relative
            to the package's weights; or one safetensors file with all networks of Stable Diffusion 1.
        revision: commit of the hub repository; null for a directory or a file.
        architecture: configs of `unet`, `vae`, `text_encoder`, `scheduler`: for `random_weights` and for one file; of a
            hub's checkpoint, whose schedule must be known before it is loaded, only `scheduler` is read.
        random_weights: build the architecture with random weights (seed 0) instead of loading `source`.
        dtype: precision of the networks: "float32" or "bfloat16". Not float16: gradients through the decoder underflow.
        variant: of the weight files of a directory or a hub's checkpoint, such as "fp16"; null for the unnamed ones.

    References: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022.
    """

    paper = "Rombach et al. 2022"

    def __init__(
        self,
        source: str,
        revision: str | None = None,
        architecture: Mapping[str, Any] | None = None,
        random_weights: bool = False,
        dtype: Literal["float32", "bfloat16"] = "float32",
        variant: str | None = None,
    ) -> None:
        self.source, self.revision, self.random_weights = source, revision, random_weights
        self.variant = variant
        self._architecture, self._dtype = architecture, getattr(torch, dtype)
        self._device = torch.device("cpu")
        self._parts: dict[str, Any] = {}

    # -- loading ---------------------------------------------------------------------------------------------------

    def fingerprint(self) -> str:
        if self.random_weights:
            return "random weights, seed 0"
        if self.revision:
            return f"{self.source}@{self.revision}"
        return digest(resolve(self.source))

    def load(self, device: torch.device | str) -> None:
        exact_arithmetic()
        if not self._parts:
            self._parts = self._random() if self.random_weights else self._pretrained()
            for name in PARTS:
                self._parts[name].requires_grad_(False).eval()
        self._device = torch.device(device)
        for name in PARTS:
            self._parts[name].to(self._device)

    @property
    def _one_file(self) -> bool:
        return not self.revision and self.source.endswith(single_file.SUFFIXES)

    def _pretrained(self) -> dict[str, Any]:
        if self._one_file:
            networks = single_file.load_networks(self.source, self._architecture, self._dtype)
            return networks | {"tokenizer": self._published_tokenizer()}
        parts = DiffusersLayout(self.source, self.revision, self.variant).load(self._dtype)
        found = scheduler_config.completed(parts.pop("scheduler"), self.source)
        scheduler_config.compare(self._scheduler_config, found, self.source)
        return parts

    def _random(self) -> dict[str, Any]:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from transformers import CLIPTextConfig, CLIPTextModel

        if self._architecture is None:
            raise WeightsError(
                "model.architecture: needed for random weights, but null; give the four configs"
            )
        config = self._architecture
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return dict(
                unet=nn.Module.to(UNet2DConditionModel(**config["unet"]), self._dtype),
                vae=nn.Module.to(AutoencoderKL(**config["vae"]), self._dtype),
                text_encoder=CLIPTextModel(CLIPTextConfig(**config["text_encoder"])).to(self._dtype),
                tokenizer=self._published_tokenizer(),
            )

    def _published_tokenizer(self) -> Any:
        """CLIP's, whose vocabulary comes with open_clip."""
        from open_clip.tokenizer import SimpleTokenizer
        from transformers import CLIPTokenizer

        bpe = SimpleTokenizer()
        assert self._architecture is not None  # checked by both callers
        return CLIPTokenizer(
            vocab=bpe.encoder,
            merges=list(bpe.bpe_ranks),
            bos_token="<start_of_text>",
            **dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<end_of_text>"),
            model_max_length=self._architecture["text_encoder"]["max_position_embeddings"],
        )

    # -- the model -------------------------------------------------------------------------------------------------

    def _part(self, name: str) -> Any:
        if not self._parts:
            raise WeightsError("LatentDiffusion is not loaded: call load(device) first")
        return self._parts[name]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The frozen networks by name: unet, vae, text_encoder."""
        return {name: self._part(name) for name in PARTS}

    @property
    def device(self) -> torch.device:
        return self._device

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The checkpoint's schedule; needs no weights where the configuration or the directory tells it."""
        return scheduler_config.schedule(self._scheduler_config, self.source)

    @cached_property
    def _scheduler_config(self) -> Mapping[str, Any]:
        """Read from the configuration or the directory; `load` checks that a hub's checkpoint says the same."""
        if self._architecture is not None:
            return scheduler_config.completed(self._architecture["scheduler"], "model.architecture.scheduler")
        return scheduler_config.read(resolve(self.source) / "scheduler" / "scheduler_config.json")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        config = self._part("unet").config
        sides = config.sample_size  # one number for squares
        return config.in_channels, *((sides, sides) if isinstance(sides, int) else sides)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        tokenizer = self._part("tokenizer")
        warn_of_unknown_words(tokenizer, prompts, self.source, f"{tokenizer.name_or_path}/tokenizer")
        lengths = [len(tokenizer(prompt, verbose=False).input_ids) for prompt in prompts]
        warn_of_cut_texts(lengths, tokenizer.model_max_length, prompts, self.source)

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> Tensor:
        """Last hidden states of the text encoder, (b, tokens, width), float32.

        Too long prompts are truncated; they, and words outside a word-level vocabulary, are warned of.
        """
        self.check_prompts(prompts)
        tokenizer = self._part("tokenizer")
        tokens = tokenizer(
            list(prompts),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        return self._part("text_encoder")(tokens.input_ids.to(self._device)).last_hidden_state.float()

    def eps(self, x_t: Tensor, t: float, cond: Tensor | None) -> Tensor:
        """See `DiffusionModel.eps`; checkpoints that predict x0 or v are converted."""
        if cond is None:
            cond = self.condition([""]).expand(len(x_t), -1, -1)
        time = torch.as_tensor(t, device=self._device)
        (raw,) = self._part("unet")(x_t.to(self._dtype), time, cond.to(self._dtype), return_dict=False)
        kind = scheduler_config.PARAMETERISATIONS[self._scheduler_config["prediction_type"]]
        return Prediction(kind, raw.to(x_t.dtype), x_t, self.schedule.alpha(t), self.schedule.sigma(t)).told

    def decode(self, x0: Tensor) -> Tensor:
        vae = self._part("vae")
        pixels = vae.decode(x0.to(self._dtype) / vae.config.scaling_factor, return_dict=False)[0]
        return pixels.float() / 2 + 0.5

    def encode(self, images: Tensor) -> Tensor:
        """Mean of the VAE's posterior, scaled: (b, c, h, w) from images (b, 3, H, W) in [0, 1]."""
        vae = self._part("vae")
        posterior = vae.encode((images * 2 - 1).to(self._dtype), return_dict=False)[0]
        return posterior.mean.float() * vae.config.scaling_factor
