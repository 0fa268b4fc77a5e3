"""Classifiers of the worlds, and the feature network, which reads every fact of every world."""

import json

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from embedded.augment import augment
from embedded.data import DEVICE, FACTS, Mixture
from embedded.output import WEIGHTS, half
from embedded.stages import Loss, train_in_stages
from guidebench.data.worlds import WORLDS
from guidebench.models.networks.small_classifiers import SmallResNet, SmallVGG

ARCHITECTURES = {"resnet": SmallResNet, "vgg": SmallVGG}


def train(name: str, config: DictConfig) -> None:
    """Train one network to name the classes of some worlds (all facts if null) and write it under its name."""
    torch.manual_seed(config.seed)
    worlds = [WORLDS[name] for name in config.classes_of or ()]
    classes = [fact for world in worlds for fact in world.classes] or FACTS
    multilabel = not worlds or any(world.multilabel for world in worlds)
    columns = torch.tensor([FACTS.index(fact) for fact in classes], device=DEVICE)
    network = ARCHITECTURES[config.architecture](list(config.widths), len(classes))
    mean = torch.tensor(list(config.mean), device=DEVICE).view(1, 3, 1, 1)
    std = torch.tensor(list(config.std), device=DEVICE).view(1, 3, 1, 1)

    def loss_of(stage: DictConfig) -> Loss:
        mixture = Mixture(stage.worlds, stage.images)

        def loss(generator: torch.Generator) -> Tensor:
            batch = mixture.batch(stage.batch_size, generator)
            images = F.adaptive_avg_pool2d(batch.images, stage.image_size)
            images = augment(images, stage.min_crop, generator)
            logits = network(((images + 1.0) / 2.0 - mean) / std).float()
            labels = batch.shown[:, columns]
            if multilabel:
                return stage.fact_weight * F.binary_cross_entropy_with_logits(logits, labels)
            return F.cross_entropy(logits, labels.argmax(dim=1), label_smoothing=stage.label_smoothing)

        return loss

    def export(model: nn.Module) -> None:
        folder = WEIGHTS / name
        folder.mkdir(parents=True, exist_ok=True)
        save_file(half(model).state_dict(), folder / "model.safetensors")
        settings = {
            "architecture": config.architecture,
            "widths": OmegaConf.to_container(config.widths),
            "classes": classes,
            "mean": list(config.mean),
            "std": list(config.std),
            "image_size": config.image_size,
            "multilabel": multilabel,
        }
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")

    train_in_stages(name, network, config, loss_of, export)
