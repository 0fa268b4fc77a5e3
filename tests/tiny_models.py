"""Networks of a few thousand random weights, in the layouts of real ones."""

import json
from pathlib import Path
from typing import Any

import torch

ARCHITECTURE: dict[str, Any] = {
    "unet": {
        "sample_size": 8,
        "block_out_channels": [8, 16],
        "layers_per_block": 1,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    },
    "vae": {
        "sample_size": 32,
        "latent_channels": 4,
        "block_out_channels": [8, 8, 8],
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ["DownEncoderBlock2D"] * 3,
        "up_block_types": ["UpDecoderBlock2D"] * 3,
        "scaling_factor": 0.5,
    },
    "text_encoder": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "projection_dim": 16,
    },
    "scheduler": {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
    },
}
"""Of `LatentDiffusion`: latents 4 x 8 x 8, images 3 x 32 x 32."""


CLASSES = ("cat", "dog", "tiger", "lion")


def make_classifier_directory(
    path: Path,
    architecture: str = "resnet",
    classes: tuple[str, ...] = CLASSES,
    seed: int = 0,
    multilabel: bool = False,
) -> Path:
    """A tiny classifier of 16 x 16 images with random weights in the embedded suite's layout: 6 features."""
    from safetensors.torch import save_file

    from guidebench.models.networks.small_classifiers import SmallResNet, SmallVGG

    config = {
        "architecture": architecture,
        "widths": [4, 6],
        "classes": list(classes),
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "image_size": 16,
        "multilabel": multilabel,
    }
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = {"resnet": SmallResNet, "vgg": SmallVGG}[architecture]([4, 6], len(classes))
        module.head.weight.data *= 5  # so that classes differ
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()},
        path / "model.safetensors",
    )
    return path


def make_clip_directory(path: Path, quick_gelu: bool = False, mean: float = 0.5, seed: int = 0) -> Path:
    """A tiny CLIP with random weights in open_clip's directory layout."""
    import open_clip
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "a", "two", "red", "blue", "circle", "squares", "<eos>"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 8)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", eos_token="<eos>"
    )
    fast.save_pretrained(path / "tokenizer")
    config = {
        "model_cfg": {
            "embed_dim": 12,
            "quick_gelu": quick_gelu,
            "vision_cfg": {"image_size": 16, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
            "text_cfg": {"context_length": 6, "vocab_size": len(words), "width": 16, "heads": 2, "layers": 2},
        },
        "preprocess_cfg": {"mean": [mean] * 3, "std": [0.25] * 3},
    }
    (path / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = open_clip.create_model(f"local-dir:{path}", load_weights=False)
    save_file(module.state_dict(), path / "open_clip_model.safetensors")
    return path


def make_head_directory(path: Path, clip: str, seed: int = 0) -> Path:
    """An aesthetic head with random weights, for a CLIP of `make_clip_directory`; its scores lie around 5."""
    from safetensors.torch import save_file

    (path / "config.json").write_text(json.dumps({"in_features": 12, "clip": clip}))
    weight = 2 * torch.randn(1, 12, generator=torch.Generator().manual_seed(seed))
    save_file({"weight": weight, "bias": torch.tensor([5.0])}, path / "model.safetensors")
    return path
