"""Autoencoder of the latent model: 64x64x3 <-> 16x16x4."""

import torch
from diffusers import AutoencoderKL
from omegaconf import DictConfig
from torch import Tensor, nn

from embedded.data import DEVICE, Mixture, load, to_tensor
from embedded.output import half, write_pipeline_files
from embedded.stages import Loss, train_in_stages


def build(config: DictConfig) -> AutoencoderKL:
    """The untrained autoencoder."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=tuple(config.channels),
        down_block_types=("DownEncoderBlock2D",) * len(config.channels),
        up_block_types=("UpDecoderBlock2D",) * len(config.channels),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )


def train(name: str, config: DictConfig) -> None:
    """Train all of it, then (in stages with `decoder_only`) the decoder on fixed latents; write `vae`."""
    torch.manual_seed(config.seed)
    vae = build(config)

    def loss_of(stage: DictConfig) -> Loss:
        mixture = Mixture(stage.worlds, stage.images)
        decoder_only = bool(stage.get("decoder_only", False))
        vae.encoder.requires_grad_(not decoder_only)
        vae.quant_conv.requires_grad_(not decoder_only)

        def loss(generator: torch.Generator) -> Tensor:
            images = mixture.batch(stage.batch_size, generator).images
            if decoder_only:
                images = _shift_colors(images, generator)
            posterior = vae.encode(images).latent_dist
            mean, std = posterior.mean.float(), posterior.std.float()
            noise = torch.randn(mean.shape, generator=generator).to(DEVICE)
            decoded = vae.decode(mean + std * noise).sample.float()
            kl = 0.5 * (mean**2 + std**2 - 1.0 - 2.0 * torch.log(std)).mean()
            error = decoded - images
            edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
            rebuilt = error.abs().mean() + 2.0 * (error**2).mean()
            return rebuilt + stage.edge_weight * edges + stage.kl_weight * kl

        return loss

    scenes = to_tensor(load("scenes", "train", 1024).images)

    @torch.no_grad()
    def export(model: nn.Module) -> None:
        deviation = model.encode(scenes).latent_dist.mode().std()
        model.register_to_config(scaling_factor=round(float(1.0 / deviation), 4))
        half(model).save_pretrained(write_pipeline_files() / "vae")

    train_in_stages(name, vae, config, loss_of, export)


def _shift_colors(images: Tensor, generator: torch.Generator) -> Tensor:
    """Fade half of the pictures towards a random colour: the decoder learns what lies between backgrounds."""
    count = len(images)
    color = 2.0 * torch.rand(count, 3, 1, 1, generator=generator) - 1.0
    amount = 0.5 * torch.rand(count, 1, 1, 1, generator=generator)
    amount *= torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return torch.lerp(images, color.to(images).expand_as(images), amount.to(images))
