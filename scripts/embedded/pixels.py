"""Networks of noisy pixels: the unconditional model of animals and birds, its classifier, the faces' autoencoder."""

import json
from collections.abc import Callable

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file
from torch import Tensor, nn

from embedded.data import DEVICE, FACTS, Batch, Mixture
from embedded.output import WEIGHTS, half
from embedded.stages import Loss, train_in_stages
from guidebench.data.worlds import WORLDS
from guidebench.models.networks.adm_unet import EncoderUNet, UNet
from guidebench.models.networks.diffae_unet import AutoencoderUNet

ALPHAS = torch.cumprod(1.0 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), dim=0).float().to(DEVICE)
"""ADM's linear schedule: products of 1 - beta."""


def train_unet(name: str, config: DictConfig) -> None:
    """Train the unconditional model to predict the noise, and write it under its name.

    A stage's `weighting` is "noise" for the plain error, or "velocity" for that of the velocity that the predicted
    noise implies (Salimans & Ho 2022): the error over alpha, or over `least_alpha` where that is larger. At the
    highest levels x_t is nearly the noise, so the plain error is small there even where the mean colour of the picture
    is far off.
    """

    def loss(
        stage: DictConfig, network: nn.Module, batch: Batch, noisy: Tensor, noise: Tensor, times: Tensor
    ) -> Tensor:
        return _error(stage, network(noisy, times), noise, times)

    _train(name, config, UNet(**_architecture(config)), loss, {})


def train_autoencoder(name: str, config: DictConfig) -> None:
    """Train the diffusion autoencoder to predict the noise, given what its encoder reads from the clean picture.

    `weighting` as for `train_unet`: what the encoder has to tell is needed where the noise hides the picture.
    """

    def loss(
        stage: DictConfig, network: nn.Module, batch: Batch, noisy: Tensor, noise: Tensor, times: Tensor
    ) -> Tensor:
        return _error(stage, network(noisy, times, network.encoder(batch.images)), noise, times)

    _train(name, config, AutoencoderUNet(**_architecture(config)), loss, {})


def _error(stage: DictConfig, predicted: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    errors = ((predicted.float() - noise) ** 2).mean(dim=(1, 2, 3))
    if stage.weighting == "velocity":
        errors = errors / ALPHAS[times].clamp(min=float(stage.get("least_alpha", 0.0)))
    return errors.mean()


def train_noisy_classifier(name: str, config: DictConfig) -> None:
    """Train a classifier of pictures at every noise level, and write it under its name."""
    classes = [fact for world in config.classes_of for fact in WORLDS[world].classes]
    columns = torch.tensor([FACTS.index(fact) for fact in classes], device=DEVICE)

    def loss(
        stage: DictConfig, network: nn.Module, batch: Batch, noisy: Tensor, noise: Tensor, times: Tensor
    ) -> Tensor:
        return F.cross_entropy(network(noisy, times).float(), batch.shown[:, columns].argmax(dim=1))

    network = EncoderUNet(**_architecture(config), out_channels=len(classes))
    _train(name, config, network, loss, {"classes": classes})


def _architecture(config: DictConfig) -> dict[str, object]:
    return {str(key): value for key, value in OmegaConf.to_container(config.architecture).items()}


def _train(
    name: str,
    config: DictConfig,
    network: nn.Module,
    loss_at: Callable[[DictConfig, nn.Module, Batch, Tensor, Tensor, Tensor], Tensor],
    described: dict[str, object],
) -> None:
    torch.manual_seed(config.seed)
    side = config.architecture.image_size

    def loss_of(stage: DictConfig) -> Loss:
        mixture = Mixture(stage.worlds, stage.images)

        def loss(generator: torch.Generator) -> Tensor:
            batch = mixture.batch(stage.batch_size, generator)
            clean = F.adaptive_avg_pool2d(batch.images, side)
            size = len(clean)
            noise = torch.randn(clean.shape, generator=generator).to(DEVICE)
            slices = (
                torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)
            ) / size
            times = (1000 * slices).long().clamp(max=999).to(DEVICE)
            alpha = ALPHAS[times].view(-1, 1, 1, 1)
            noisy = alpha.sqrt() * clean + (1.0 - alpha).sqrt() * noise
            return loss_at(stage, network, batch, noisy, noise, times)

        return loss

    def export(model: nn.Module) -> None:
        folder = WEIGHTS / name
        folder.mkdir(parents=True, exist_ok=True)
        state = {key: value.contiguous() for key, value in half(model).state_dict().items()}
        save_file(state, folder / "model.safetensors")
        settings = {"architecture": _architecture(config), **described}
        (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")

    train_in_stages(name, network, config, loss_of, export)
