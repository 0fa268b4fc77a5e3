"""CLIP through open_clip: one adapter for hub checkpoints, local directories and random weights."""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from guidebench.devices import exact_arithmetic
from guidebench.errors import ConfigError, WeightsError
from guidebench.models import weights
from guidebench.models.readers.base import Reader
from guidebench.models.vocabulary import refuse_code, warn_of_cut_texts, warn_of_unknown_words

_PRECISIONS = {
    "fp32": torch.float32,
    "fp64": torch.float64,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
_CONFIG, _CHECKPOINT, _TOKENIZER = "open_clip_config.json", "open_clip_model.safetensors", "tokenizer"


class _Network(NamedTuple):
    """What one set of hyper-parameters loads."""

    module: nn.Module
    tokenizer: Callable[..., Tensor]
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class CLIP(Reader):
    """A frozen CLIP; loaded at the first call, and shared by all adapters with equal settings.

    Images and texts are mapped to the unit sphere: u = f(x) / |f(x)|, v = g(y) / |g(y)|.

    Args:
        architecture: an open_clip model name such as `ViT-g-14`. Give it or `directory`, not both.
        pretrained: the open_clip tag of the weights, such as `laion2b_s12b_b42k`; downloaded on first use.
        directory: a model in open_clip's layout (`open_clip_config.json`, `open_clip_model.safetensors`,
            `tokenizer/` for transformers' AutoTokenizer); absolute, or relative to the package's weights.
        random_weights: build the architecture with random weights and download nothing (smoke runs,
            measurements). The weights depend on the network's name alone.
        quick_gelu: activation x * sigmoid(1.702 x) in place of GELU. None takes what the weights declare; a
            value asserts it, and a contradiction is refused. Either way the built network is checked.
        normalisation: mean and standard deviation of the pixels: `own`, those of the network's preprocessing
            config, or `openai`, OpenAI's for every network.
        precision: `fp32`, `fp64`, `bf16` or `fp16`; embeddings are in float32 (float64 for `fp64`).

    Cost: one forward of the image (or text) tower per image (or text).

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021;
        Cherti et al., "Reproducible scaling laws for contrastive language-image learning", CVPR 2023.

    Differs from the paper: DOODL's official code normalises pixels with OpenAI's statistics whatever the
    network (`normalisation: openai`); open_clip registers others for some checkpoints: the default is `own`.
    """

    architecture: str | None = None
    pretrained: str | None = None
    directory: str | None = None
    random_weights: bool = False
    quick_gelu: bool | None = None
    normalisation: str = "own"
    precision: str = "fp32"

    paper: ClassVar[str] = "Radford et al. 2021; DOODL, Sec. 5.1"

    def __post_init__(self) -> None:
        if (self.architecture is None) == (self.directory is None):
            raise ConfigError(
                f"clip: give either architecture or directory, got architecture={self.architecture!r}, "
                f"directory={self.directory!r}."
            )
        if self.architecture is not None and self.pretrained is None and not self.random_weights:
            raise ConfigError(
                f"clip.pretrained is not set for architecture={self.architecture!r}: give an open_clip tag "
                "such as 'laion2b_s12b_b42k', or ask for random weights with random_weights=true."
            )
        if self.normalisation not in ("own", "openai"):
            raise ConfigError(f"clip.normalisation={self.normalisation!r}; allowed: 'own', 'openai'.")
        if self.precision not in _PRECISIONS:
            raise ConfigError(f"clip.precision={self.precision!r}; allowed: {', '.join(_PRECISIONS)}.")

    @property
    def network_id(self) -> str:
        """Names the weights, whatever their precision or preprocessing; equal ids mean the same network."""
        name = self.directory or f"{_bare(self.architecture)}/{self.pretrained}"
        return f"clip:{name}" + (" (random weights)" if self.random_weights else "")

    @property
    def image_size(self) -> int:
        """Side of the square images that the network sees, in pixels. Loads the network."""
        return _load(self).size

    def fingerprint(self) -> str:
        """Identifies the contents of the weights, for the hash of stored samples; follows local files."""
        if self.directory is not None and not self.random_weights:
            return weights.digest(weights.resolve(self.directory))
        return self.network_id

    def load(self, device: torch.device | str) -> None:
        self.encode_text([""], device)

    def encode_image(self, images: Tensor) -> Tensor:
        """Embeds images; differentiable with respect to them.

        Images of another size are resized (shorter side, antialiased bicubic, then clamped to [0, 1] against
        overshoot) and cropped at the centre.

        Args:
            images: (n, 3, H, W) in [0, 1], any floating-point type and device; the network follows.

        Returns:
            Unit vectors (n, d).

        Raises:
            WeightsError: the weights are missing, damaged, or do not fit the architecture.
        """
        network = _load(self)
        network.module.to(images.device)
        if images.shape[-2:] != (network.size, network.size):
            from torchvision.transforms.v2 import functional as transforms

            images = transforms.resize(
                images, [network.size], transforms.InterpolationMode.BICUBIC, antialias=True
            )
            images = transforms.center_crop(images, [network.size, network.size]).clamp(0, 1)
        mean, std = (
            torch.tensor(v, dtype=images.dtype, device=images.device) for v in (network.mean, network.std)
        )
        pixels = (images - mean[:, None, None]) / std[:, None, None]
        embeddings = network.module.encode_image(pixels.to(_PRECISIONS[self.precision]))  # type: ignore[operator]
        return normalize(embeddings.to(self._output_dtype), dim=-1)

    def encode_text(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """Embeds texts, without gradient: unit vectors (n, d); see `text_features`."""
        return normalize(self.text_features(texts, device), dim=-1)

    @torch.no_grad()
    def text_features(
        self, texts: Sequence[str], device: torch.device | str = "cpu", max_tokens: int | None = None
    ) -> Tensor:
        """Embeddings of texts before they are normalised, without gradient.

        Args:
            texts: n texts; longer ones are truncated to the network's context length, words outside a word-level
                vocabulary are warned of.
            device: where the network runs.
            max_tokens: truncate to so many tokens, the start's and the end's included, and fill up with zeros.

        Returns:
            (n, d).

        Raises:
            WeightsError: the weights are missing, damaged, or do not fit the architecture.
        """
        network = _load(self)
        network.module.to(device)
        self.check_texts(texts, max_tokens)
        tokens = network.tokenizer(list(texts))
        if max_tokens is not None:
            short = network.tokenizer(list(texts), context_length=max_tokens)
            tokens = pad(short, (0, tokens.shape[1] - max_tokens))
        features = network.module.encode_text(tokens.to(device))  # type: ignore[operator]
        return features.to(self._output_dtype)

    def check_texts(self, texts: Sequence[str], max_tokens: int | None = None) -> None:
        """Warn of what the texts hold that the network cannot read; arguments as for `text_features`."""
        tokenizer = _load(self).tokenizer
        words = getattr(tokenizer, "tokenizer", None)  # transformers', which open_clip's own is not
        if words is None:
            lengths = [len(tokenizer.encode(text)) + 2 for text in texts]  # type: ignore[attr-defined]
        else:
            if self.directory is not None:
                warn_of_unknown_words(words, texts, self.network_id, words.name_or_path)
            lengths = [len(words(text, verbose=False).input_ids) for text in texts]
        limit = max_tokens or tokenizer.context_length  # type: ignore[attr-defined]
        warn_of_cut_texts(lengths, limit, texts, self.network_id)

    @property
    def _output_dtype(self) -> torch.dtype:
        return torch.float64 if self.precision == "fp64" else torch.float32


def _bare(architecture: str | None) -> str:
    """`ViT-L-14-quickgelu` names the same weights as `ViT-L-14`."""
    return (architecture or "").removesuffix("-quickgelu")


@functools.lru_cache(maxsize=4)
def _load(clip: CLIP) -> _Network:
    """Builds the network of these settings: once per process for all losses and metrics that share them."""
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    exact_arithmetic()
    directory = None if clip.directory is None else weights.resolve(clip.directory)
    quick_gelu = _quick_gelu(clip, directory)
    # 'fp64' does not exist in open_clip, and its half precisions keep LayerNorm in float32, as trained
    options: dict[str, Any] = {
        "precision": "fp32" if clip.precision == "fp64" else clip.precision,
        "force_quick_gelu": quick_gelu,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(hashlib.sha256(clip.network_id.encode()).digest()[:4], "little"))
        try:
            if directory is not None:
                if not clip.random_weights and not (directory / _CHECKPOINT).is_file():
                    raise WeightsError(f"{directory} has no {_CHECKPOINT}.")
                module = open_clip.create_model(
                    f"local-dir:{directory}", load_weights=not clip.random_weights, **options
                )
                tokenizer = _local_tokenizer(directory)
            else:
                tag = None if clip.random_weights else clip.pretrained
                module = open_clip.create_model(clip.architecture, pretrained=tag, **options)
                tokenizer = open_clip.get_tokenizer(clip.architecture)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise WeightsError(f"{clip.network_id} could not be loaded: {error}") from error
    _check_activation(module, quick_gelu, clip.network_id)
    if clip.precision == "fp64":
        module = module.double()
    module.eval().requires_grad_(False)
    config = open_clip.get_model_preprocess_cfg(module)
    size = config["size"][0] if isinstance(config["size"], (tuple, list)) else config["size"]
    mean, std = tuple(config["mean"]), tuple(config["std"])
    if clip.normalisation == "openai":
        mean, std = OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    return _Network(module, tokenizer, size, mean, std)


def _local_config(directory: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((directory / _CONFIG).read_text(encoding="utf-8"))
        return config["model_cfg"]
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{directory / _CONFIG} is missing or is not an open_clip config with a 'model_cfg': {error}."
        ) from error


def _local_tokenizer(directory: Path) -> Callable[[list[str]], Tensor]:
    """The directory's own tokenizer, read from disk only."""
    from open_clip.tokenizer import HFTokenizer

    if not (directory / _TOKENIZER).is_dir():
        raise WeightsError(f"{directory} has no folder '{_TOKENIZER}' with the tokenizer's files.")
    refuse_code(directory / _TOKENIZER)
    context_length = _local_config(directory)["text_cfg"].get("context_length", 77)
    tokenizer: Callable[[list[str]], Tensor] = HFTokenizer(
        str(directory / _TOKENIZER),
        context_length=context_length,
        local_files_only=True,
        trust_remote_code=False,
    )
    return tokenizer


def _quick_gelu(clip: CLIP, directory: Path | None) -> bool:
    """The activation the weights were trained with; refuses a setting that contradicts it.

    open_clip only warns when `ViT-L-14` is built with GELU for OpenAI's QuickGELU weights, and every score is
    then wrong by a plausible amount.
    """
    from open_clip import get_model_config, get_pretrained_cfg

    if directory is not None:
        declared = bool(_local_config(directory).get("quick_gelu", False))
    elif clip.pretrained is not None:
        tag = get_pretrained_cfg(clip.architecture, clip.pretrained)
        if not tag:
            raise WeightsError(
                f"open_clip knows no weights '{clip.pretrained}' for {clip.architecture}; "
                "`open_clip.list_pretrained()` lists them."
            )
        declared = bool(tag.get("quick_gelu", False))
    else:
        declared = bool((get_model_config(clip.architecture) or {}).get("quick_gelu", False))
    if clip.quick_gelu not in (None, declared):
        raise WeightsError(
            f"{clip.network_id} was trained with quick_gelu={declared}, the config says "
            f"clip.quick_gelu={clip.quick_gelu}. Remove the key, or set it to {declared}."
        )
    return declared


def _check_activation(module: nn.Module, quick_gelu: bool, name: str) -> None:
    from open_clip.transformer import QuickGELU

    kinds = {type(m) for m in module.modules()} & {QuickGELU, nn.GELU}
    if quick_gelu != (QuickGELU in kinds) or len(kinds) > 1:
        built = ", ".join(sorted(kind.__name__ for kind in kinds)) or "neither"
        raise WeightsError(f"{name} needs quick_gelu={quick_gelu}, but the network was built with {built}.")
