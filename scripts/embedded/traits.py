"""The network that reads a rendered person's numbers: regression on the people that recognisers are trained on."""

import json

import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from embedded.augment import augment
from embedded.data import DEVICE, to_tensor
from embedded.output import WEIGHTS, half
from embedded.people import load_people
from embedded.stages import Loss, train_in_stages
from guidebench.data.worlds.faces.world import FACES
from guidebench.models.networks.small_classifiers import SmallResNet


def train(name: str, config: DictConfig) -> None:
    """Train the network and write it under its name."""
    torch.manual_seed(config.seed)
    numbers = torch.tensor(
        [FACES.person("train", person, 1)[0].identity for person in range(config.persons)], device=DEVICE
    )
    architecture = {"widths": OmegaConf.to_container(config.widths), "n_classes": numbers.shape[1]}
    network = SmallResNet(list(config.widths), numbers.shape[1])

    def loss_of(stage: DictConfig) -> Loss:
        people = load_people("train", stage.persons, stage.portraits)

        def loss(generator: torch.Generator) -> Tensor:
            persons = torch.randint(stage.persons, (stage.batch_size,), generator=generator)
            which = torch.randint(stage.portraits, (stage.batch_size,), generator=generator)
            images = to_tensor(np.stack([people[i, j] for i, j in zip(persons, which, strict=True)]))
            images = augment(images, stage.min_crop, generator)
            return F.mse_loss(network(images).float(), numbers[persons.to(DEVICE)])

        return loss

    def export(model: nn.Module) -> None:
        folder = WEIGHTS / name
        folder.mkdir(parents=True, exist_ok=True)
        save_file(half(model).state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"architecture": architecture}, indent=2) + "\n")

    train_in_stages(name, network, config, loss_of, export)
