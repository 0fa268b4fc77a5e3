"""The four face recognisers: classification of rendered persons with a margin; the classes' directions are not kept."""

import json

import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from embedded.augment import augment
from embedded.data import DEVICE, to_tensor
from embedded.margins import AdaFace, ArcFace, CosFace, ElasticFace, Margin
from embedded.output import WEIGHTS, half
from embedded.people import load_people
from embedded.stages import Loss, train_in_stages
from guidebench.models.networks.adaface_ir import AdaFaceIR
from guidebench.models.networks.iresnet import IResNet

NETWORKS = {"iresnet": IResNet, "adaface_ir": AdaFaceIR}
MARGINS: dict[str, type[Margin]] = {
    "cosface": CosFace,
    "arcface": ArcFace,
    "elasticface": ElasticFace,
    "adaface": AdaFace,
}


class Trainee(nn.Module):
    """A recogniser and the margin that trains it."""

    def __init__(self, network: nn.Module, margin: Margin) -> None:
        super().__init__()
        self.network, self.margin = network, margin


def train(name: str, config: DictConfig) -> None:
    """Train one recogniser and write it under its name."""
    torch.manual_seed(config.seed)
    architecture = {str(key): value for key, value in OmegaConf.to_container(config.architecture).items()}
    network = NETWORKS[config.network](**architecture)
    margin = MARGINS[config.margin](
        config.architecture.num_features, config.persons, **config.margin_arguments
    )
    trainee = Trainee(network, margin)

    def loss_of(stage: DictConfig) -> Loss:
        people = load_people("train", stage.persons, stage.portraits)

        def loss(generator: torch.Generator) -> Tensor:
            labels = torch.randint(stage.persons, (stage.batch_size,), generator=generator)
            which = torch.randint(stage.portraits, (stage.batch_size,), generator=generator)
            images = to_tensor(np.stack([people[i, j] for i, j in zip(labels, which, strict=True)]))
            images = augment(images, stage.min_crop, generator)
            images = F.interpolate(images, (stage.architecture.image_size,) * 2, mode="bilinear")
            if stage.channels == "bgr":
                images = images.flip(1)
            labels = labels.to(DEVICE)
            return F.cross_entropy(margin(network(images), labels, generator), labels)

        return loss

    def export(model: nn.Module) -> None:
        folder = WEIGHTS / name
        folder.mkdir(parents=True, exist_ok=True)
        save_file(half(model.network).state_dict(), folder / "model.safetensors")
        settings = {"network": config.network, "channels": config.channels, "architecture": architecture}
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")

    train_in_stages(name, trainee, config, loss_of, export)
