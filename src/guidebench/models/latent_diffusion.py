"""Stable Diffusion-like latent models on diffusers components."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guidebench.diffusion.prediction import Parameterisation, Prediction
from guidebench.diffusion.schedules import Linear, NoiseSchedule, ScaledLinear
from guidebench.errors import WeightsError
from guidebench.models.base import DiffusionModel
from guidebench.models.vocabulary import warn_of_unknown_words
from guidebench.models.weights import digest, resolve

_PARTS = ("unet", "vae", "text_encoder")
_SCHEDULER_DEFAULTS = {
    "prediction_type": "epsilon",
    "num_train_timesteps": 1000,
}  # of older scheduler configs
_KINDS: dict[str, Parameterisation] = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}


class LatentDiffusion(DiffusionModel):
    r"""A latent text-to-image model in the diffusers layout: U-Net, VAE, CLIP text encoder, tokenizer, scheduler.

    One class serves a hub checkpoint, a directory (the embedded suite's ships with the package) and, with
    `random_weights`, the bare architecture without any download. Weights are read from safetensors only. Latents and
    predictions are float32 at the interface whatever the network's precision.

    Args:
        source: hub id ("CompVis/stable-diffusion-v1-4"), or, without a revision, a directory, absolute or relative
            to the package's weights.
        revision: commit of the hub repository; null for a directory.
        architecture: configs of `unet`, `vae`, `text_encoder`, `scheduler`, read only for `random_weights`.
        random_weights: build the architecture with random weights (seed 0) instead of loading `source`.
        dtype: precision of the networks: "float32" or "bfloat16". Not float16: gradients through the decoder underflow.

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
    ) -> None:
        self.source, self.revision, self.random_weights = source, revision, random_weights
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
        if not self._parts:
            self._parts = self._random() if self.random_weights else self._pretrained()
            for name in _PARTS:
                self._parts[name].requires_grad_(False).eval()
        self._device = torch.device(device)
        for name in _PARTS:
            self._parts[name].to(self._device)

    def _pretrained(self) -> dict[str, Any]:
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
        from transformers import AutoTokenizer, CLIPTextModel
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        if self.revision:
            where: dict[str, Any] = {"pretrained_model_name_or_path": self.source, "revision": self.revision}
        else:
            where = {"pretrained_model_name_or_path": str(resolve(self.source)), "local_files_only": True}
        try:
            safe = {**where, "use_safetensors": True, "output_loading_info": True}
            plain = {**safe, "low_cpu_mem_usage": False, "torch_dtype": self._dtype}
            unet, of_unet = UNet2DConditionModel.from_pretrained(**plain, subfolder="unet")
            vae, of_vae = AutoencoderKL.from_pretrained(**plain, subfolder="vae")
            text_encoder, of_text_encoder = CLIPTextModel.from_pretrained(
                **safe, subfolder="text_encoder", dtype=self._dtype
            )
            tokenizer = AutoTokenizer.from_pretrained(**where, subfolder="tokenizer")
            scheduler = DDIMScheduler.load_config(**where, subfolder="scheduler")
        except Exception as error:
            raise WeightsError(
                f"model.source: cannot load {self.source!r}"
                + (f" (revision {self.revision})" if self.revision else "")
                + f": {type(error).__name__}: {error}\nA directory must hold unet/, vae/, text_encoder/, tokenizer/ "
                "and scheduler/ in the diffusers layout as safetensors; a hub id needs a network connection or a "
                "cached copy. suite=random runs the same architecture without weights."
            ) from error
        # Both libraries fill what a file lacks with random numbers, and only warn.
        for name, info in (("unet", of_unet), ("vae", of_vae), ("text_encoder", of_text_encoder)):
            if info["missing_keys"]:
                raise WeightsError(
                    f"model.source: {self.source!r} lacks weights of its {name}: {sorted(info['missing_keys'])[:3]} "
                    "...; was it cut, or written by an incompatible version of diffusers or transformers?"
                )
        for key in ("beta_schedule", "beta_start", "beta_end", "num_train_timesteps", "prediction_type"):
            expected, found = self._scheduler_config[key], scheduler.get(key, _SCHEDULER_DEFAULTS.get(key))
            if expected != found:
                raise WeightsError(
                    f"model.architecture.scheduler.{key}: {expected!r} is configured, and {self.source!r} was trained "
                    f"with {found!r}; set it to that"
                )
        return dict(unet=unet, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer)

    def _random(self) -> dict[str, Any]:
        from diffusers import AutoencoderKL, UNet2DConditionModel
        from open_clip.tokenizer import SimpleTokenizer
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

        if self._architecture is None:
            raise WeightsError(
                "model.architecture: needed for random weights, but null; give the four configs"
            )
        config = self._architecture
        bpe = SimpleTokenizer()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return dict(
                unet=nn.Module.to(UNet2DConditionModel(**config["unet"]), self._dtype),
                vae=nn.Module.to(AutoencoderKL(**config["vae"]), self._dtype),
                text_encoder=CLIPTextModel(CLIPTextConfig(**config["text_encoder"])).to(self._dtype),
                tokenizer=CLIPTokenizer(
                    vocab=bpe.encoder,
                    merges=list(bpe.bpe_ranks),
                    bos_token="<start_of_text>",
                    **dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<end_of_text>"),
                    model_max_length=config["text_encoder"]["max_position_embeddings"],
                ),
            )

    # -- the model -------------------------------------------------------------------------------------------------

    def _part(self, name: str) -> Any:
        if not self._parts:
            raise WeightsError("LatentDiffusion is not loaded: call load(device) first")
        return self._parts[name]

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The frozen networks by name: unet, vae, text_encoder."""
        return {name: self._part(name) for name in _PARTS}

    @property
    def device(self) -> torch.device:
        return self._device

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """The checkpoint's schedule; needs no weights where the configuration or the directory tells it."""
        config = self._scheduler_config
        kind = {"scaled_linear": ScaledLinear, "linear": Linear}.get(config["beta_schedule"])
        if kind is None:
            raise WeightsError(
                f"model.source: {self.source!r} has beta_schedule {config['beta_schedule']!r}; "
                "allowed: scaled_linear, linear"
            )
        return kind(config["num_train_timesteps"], config["beta_start"], config["beta_end"])

    @cached_property
    def _scheduler_config(self) -> Mapping[str, Any]:
        """Read from the configuration or the directory; `load` checks that a hub's checkpoint says the same."""
        if self._architecture is not None:
            return {**_SCHEDULER_DEFAULTS, **self._architecture["scheduler"]}
        path = resolve(self.source) / "scheduler" / "scheduler_config.json"
        try:
            config = {**_SCHEDULER_DEFAULTS, **json.loads(path.read_text(encoding="utf-8"))}
        except (OSError, ValueError, TypeError) as error:
            raise WeightsError(
                f"{path} is missing or is not the JSON file of a scheduler: {error}"
            ) from error
        if config["prediction_type"] not in _KINDS:
            raise WeightsError(
                f"{path}: prediction_type {config['prediction_type']!r}; allowed: {', '.join(_KINDS)}"
            )
        missing = {"beta_schedule", "beta_start", "beta_end"} - config.keys()
        if missing:
            raise WeightsError(f"{path} lacks {', '.join(sorted(missing))}, which define the noise schedule")
        return config

    @property
    def sample_shape(self) -> tuple[int, ...]:
        config = self._part("unet").config
        return config.in_channels, config.sample_size, config.sample_size

    def check_prompts(self, prompts: Sequence[str]) -> None:
        tokenizer = self._part("tokenizer")
        warn_of_unknown_words(tokenizer, prompts, self.source, f"{tokenizer.name_or_path}/tokenizer")

    @torch.no_grad()
    def condition(self, prompts: Sequence[str]) -> Tensor:
        """Last hidden states of the text encoder, (b, tokens, width), float32.

        Too long prompts are truncated; words outside a word-level vocabulary are warned of.
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
        kind = _KINDS[self._scheduler_config["prediction_type"]]
        return Prediction(kind, raw.to(x_t.dtype), x_t, self.schedule.alpha(t), self.schedule.sigma(t)).eps

    def decode(self, x0: Tensor) -> Tensor:
        vae = self._part("vae")
        pixels = vae.decode(x0.to(self._dtype) / vae.config.scaling_factor, return_dict=False)[0]
        return pixels.float() / 2 + 0.5

    def encode(self, images: Tensor) -> Tensor:
        """Mean of the VAE's posterior, scaled: (b, c, h, w) from images (b, 3, H, W) in [0, 1]."""
        vae = self._part("vae")
        posterior = vae.encode((images * 2 - 1).to(self._dtype), return_dict=False)[0]
        return posterior.mean.float() * vae.config.scaling_factor
