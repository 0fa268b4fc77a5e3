"""Autoencoder of the latent model: 64x64x3 <-> 16x16x8."""

import copy

import torch
from diffusers import AutoencoderKL
from omegaconf import DictConfig
from torch import Tensor, nn

from embedded.data import DEVICE, Mixture, load, to_tensor
from embedded.output import half, write_pipeline_files
from embedded.stages import Loss, train_in_stages
from guidebench.data.worlds import WORLDS

SCALE = 0.544
"""What latents are multiplied with: the first four channels had this over their deviation when the others came."""

FIRST = 4


def build(config: DictConfig, latent_channels: int) -> AutoencoderKL:
    """The untrained autoencoder."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=latent_channels,
        block_out_channels=tuple(config.channels),
        down_block_types=("DownEncoderBlock2D",) * len(config.channels),
        up_block_types=("UpDecoderBlock2D",) * len(config.channels),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
        scaling_factor=SCALE,
    )


@torch.no_grad()
def grown(small: AutoencoderKL, large: AutoencoderKL) -> AutoencoderKL:
    """`large`, whose first channels of the latents are those of `small`; the decoder hardly sees the others yet."""
    old, new = small.config.latent_channels, large.config.latent_channels
    state, known = large.state_dict(), small.state_dict()
    moments = [*range(old), *range(new, new + old)]  # means, then logarithms of variances
    for key, value in state.items():
        if value.shape == known[key].shape:
            value.copy_(known[key])
        elif key == "encoder.conv_out.weight":
            value[:new] *= 2.0  # too weak a channel is given up for the prior
            value[moments] = known[key]
        elif key == "encoder.conv_out.bias":
            value[new:] = -5.0
            value[moments] = known[key]
        elif key == "quant_conv.weight":
            value.copy_(torch.eye(2 * new)[:, :, None, None])
            value[torch.tensor(moments)[:, None], moments] = known[key]
        elif key == "quant_conv.bias":
            value.zero_()[moments] = known[key]
        elif key == "post_quant_conv.weight":
            value.copy_(torch.eye(new)[:, :, None, None])
            value[:old, :old] = known[key]
        elif key == "post_quant_conv.bias":
            value.zero_()[:old] = known[key]
        elif key == "decoder.conv_in.weight":
            nn.init.normal_(value, std=0.03)[:, :old] = known[key]
        else:
            raise ValueError(f"{key} differs")
    large.load_state_dict(state)
    return large


@torch.no_grad()
def standardised(vae: AutoencoderKL, images: Tensor) -> AutoencoderKL:
    """The same autoencoder, whose channels after the first four have mean 0 and deviation 1 once scaled."""
    vae = copy.deepcopy(vae)
    if vae.config.latent_channels == FIRST:
        return vae
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in images.split(64)])
    channels = vae.config.latent_channels
    shift = latents.mean(dim=(0, 2, 3))
    factor = 1.0 / (SCALE * latents.std(dim=(0, 2, 3)))
    shift[:FIRST], factor[:FIRST] = 0.0, 1.0
    into, back = vae.quant_conv, vae.post_quant_conv
    back.bias += back.weight[:, :, 0, 0] @ shift
    back.weight /= factor[:, None, None]
    into.weight[:channels] *= factor[:, None, None, None]
    into.bias[:channels] = (into.bias[:channels] - shift) * factor
    into.bias[channels:] += 2.0 * factor.log()
    return vae


def train(name: str, config: DictConfig) -> None:
    """Train all of it, then (in stages with `decoder_only`) the decoder on fixed latents; write `vae`.

    A stage with more `latent_channels` than the one before goes on with a grown copy. The first channels are held
    near what they were (`anchor`), so that a U-Net that knows them can go on, too.
    """
    torch.manual_seed(config.seed)
    vae = build(config, FIRST)
    before: AutoencoderKL | None = None

    def adapt(stage: DictConfig) -> AutoencoderKL:
        nonlocal vae, before
        channels = stage.get("latent_channels", FIRST)
        if channels != vae.config.latent_channels:
            before = copy.deepcopy(vae).eval().requires_grad_(False)
            torch.manual_seed(stage.seed)
            vae = grown(vae, build(config, channels))
        return vae

    def loss_of(stage: DictConfig) -> Loss:
        mixture = Mixture(stage.worlds, stage.images)
        decoder_only = bool(stage.get("decoder_only", False))
        anchor = float(stage.get("anchor", 0.0))
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
            kl = 0.5 * (mean**2 + std**2 - 1.0 - 2.0 * torch.log(std)).mean(dim=(0, 2, 3))
            kl[FIRST:] *= stage.get("kl_of_others", 1.0)
            error = decoded - images
            edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
            rebuilt = error.abs().mean() + 2.0 * (error**2).mean()
            total = rebuilt + stage.edge_weight * edges + stage.kl_weight * kl.mean()
            if anchor and before is not None:
                some = slice(0, stage.anchored)
                with torch.no_grad():
                    held = before.encode(images[some]).latent_dist.mean.float()
                total = total + anchor * ((mean[some, :FIRST] - held) ** 2).mean()
            return total

        return loss

    pictures = torch.cat([to_tensor(load(world, "train", 256).images) for world in WORLDS])

    def export(model: nn.Module) -> None:
        half(standardised(model, pictures)).save_pretrained(write_pipeline_files() / "vae")

    train_in_stages(name, vae, config, loss_of, export, adapt)


def _shift_colors(images: Tensor, generator: torch.Generator) -> Tensor:
    """Fade half of the pictures towards a random colour: the decoder learns what lies between backgrounds."""
    count = len(images)
    color = 2.0 * torch.rand(count, 3, 1, 1, generator=generator) - 1.0
    amount = 0.5 * torch.rand(count, 1, 1, 1, generator=generator)
    amount *= torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return torch.lerp(images, color.to(images).expand_as(images), amount.to(images))
