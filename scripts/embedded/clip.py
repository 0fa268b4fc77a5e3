"""The two CLIPs: contrastive training with an auxiliary loss on facts."""

import json
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor, nn

from embedded.augment import augment
from embedded.data import CONTEXT, DEVICE, FACTS, Mixture, build_tokenizer
from embedded.output import WEIGHTS
from embedded.stages import Loss, train_in_stages


class Trainee(nn.Module):
    """A CLIP with a linear head that reads facts from either embedding; the head is not kept."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.clip = CLIP(**settings, output_dict=False)
        self.facts = nn.Linear(settings["embed_dim"], len(FACTS))


def model_config(config: DictConfig) -> dict[str, Any]:
    """open_clip's description of the architecture."""
    vision, text = OmegaConf.to_container(config.vision), OmegaConf.to_container(config.text)
    assert isinstance(vision, dict) and isinstance(text, dict)
    text |= {"context_length": CONTEXT, "vocab_size": len(build_tokenizer())}
    return {"embed_dim": config.embed_dim, "vision_cfg": vision, "text_cfg": text}


def train(name: str, config: DictConfig) -> None:
    """Train one CLIP and write it under its name."""
    torch.manual_seed(config.seed)
    trainee = Trainee(model_config(config))
    clip = trainee.clip
    mean = torch.tensor(list(config.mean), device=DEVICE).view(1, 3, 1, 1)
    std = torch.tensor(list(config.std), device=DEVICE).view(1, 3, 1, 1)

    def loss_of(stage: DictConfig) -> Loss:
        mixture = Mixture(stage.worlds, stage.images)

        def loss(generator: torch.Generator) -> Tensor:
            batch = mixture.batch(stage.batch_size, generator)
            images = augment(batch.images, stage.min_crop, generator)
            images = F.adaptive_avg_pool2d(images, stage.vision.image_size)
            seen = clip.encode_image(((images + 1.0) / 2.0 - mean) / std).float()
            told = clip.encode_text(batch.tokens).float()
            logits = clip.logit_scale.exp().clamp(max=100.0) * F.normalize(seen) @ F.normalize(told).T
            target = torch.arange(len(seen), device=DEVICE)
            contrast = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
            facts = F.binary_cross_entropy_with_logits(
                trainee.facts(seen).float(), batch.shown
            ) + F.binary_cross_entropy_with_logits(trainee.facts(told).float(), batch.said)
            return contrast + stage.fact_weight * facts

        return loss

    def export(model: nn.Module) -> None:
        folder = WEIGHTS / name
        folder.mkdir(parents=True, exist_ok=True)
        state = {key: value.half().contiguous() for key, value in model.clip.state_dict().items()}
        save_file(state, folder / "open_clip_model.safetensors")
        preprocess = {
            "size": [config.vision.image_size, config.vision.image_size],
            "mode": "RGB",
            "mean": list(config.mean),
            "std": list(config.std),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        }
        settings = {"model_cfg": model_config(config), "preprocess_cfg": preprocess}
        (folder / "open_clip_config.json").write_text(json.dumps(settings, indent=2) + "\n")
        build_tokenizer().save_pretrained(folder / "tokenizer")

    train_in_stages(name, trainee, config, loss_of, export)
