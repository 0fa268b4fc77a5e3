"""The latent text-to-image model: a text encoder trained on captions alone, then a U-Net with it frozen."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from omegaconf import DictConfig
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from embedded.data import CAPTIONS, CHECKPOINTS, CONTEXT, DEVICE, FACTS, Mixture, build_tokenizer, to_tensor
from embedded.output import ALPHAS, WEIGHTS, half, write_pipeline_files
from embedded.stages import Loss, train_in_stages


class Reader(nn.Module):
    """A text encoder with heads for what a caption and each of its phrases say; the heads are not kept."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__()
        tokenizer = build_tokenizer()
        self.encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.width,
                intermediate_size=4 * config.width,
                projection_dim=config.width,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                max_position_embeddings=CONTEXT,
                hidden_act="gelu",
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        self.facts = nn.Linear(config.width, len(FACTS))
        self.meaning = nn.Linear(config.width, len(FACTS))


def train_text_encoder(name: str, config: DictConfig) -> None:
    """Train the text encoder to know what each phrase and the whole caption say; write `text_encoder`."""
    torch.manual_seed(config.seed)
    reader = Reader(config)
    end = build_tokenizer().eos_token_id

    def loss_of(stage: DictConfig) -> Loss:
        mixture = Mixture(stage.worlds, stage.images)

        def loss(generator: torch.Generator) -> Tensor:
            batch = mixture.batch(stage.batch_size, generator)
            hidden = reader.encoder(batch.tokens).last_hidden_state
            rows = torch.arange(len(hidden), device=DEVICE)
            whole = hidden[rows, batch.tokens.eq(end).int().argmax(1)]
            told = F.binary_cross_entropy_with_logits(reader.facts(whole).float(), batch.said)
            targets = torch.zeros(*batch.tokens.shape, len(FACTS), device=DEVICE)
            row, pair = (batch.meanings[..., 0] >= 0).nonzero(as_tuple=True)
            token, fact = batch.meanings[row, pair].unbind(-1)
            targets[row, token, fact] = 1.0
            phrases = targets.any(dim=-1)
            logits = reader.meaning(hidden[phrases]).float()
            return stage.fact_weight * (told + F.binary_cross_entropy_with_logits(logits, targets[phrases]))

        return loss

    def export(model: nn.Module) -> None:
        half(model.encoder).save_pretrained(write_pipeline_files() / "text_encoder")

    train_in_stages(name, reader, config, loss_of, export)


def build_unet(config: DictConfig, latent_channels: int) -> UNet2DConditionModel:
    """The untrained U-Net for 16x16 latents.

    Besides cross-attention, the pooled text is added to the time embedding, which teaches colours early.
    """
    down = tuple("CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in config.cross_attention)
    up = tuple("CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(config.cross_attention))
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(config.channels),
        layers_per_block=config.layers,
        down_block_types=down,
        up_block_types=up,
        cross_attention_dim=config.text_width,
        attention_head_dim=config.heads,
        norm_num_groups=config.groups,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=config.heads,
    )


@torch.no_grad()
def grown(small: UNet2DConditionModel, large: UNet2DConditionModel) -> UNet2DConditionModel:
    """`large`, for latents of more channels, which does on the first of them what `small` does."""
    state, channels = large.state_dict(), small.config.in_channels
    for key, known in small.state_dict().items():
        if key == "conv_in.weight":
            state[key].zero_()[:, :channels] = known
        elif key in ("conv_out.weight", "conv_out.bias"):
            state[key].zero_()[:channels] = known
        else:
            state[key].copy_(known)
    large.load_state_dict(state)
    return large


@dataclass(frozen=True)
class Drawn:
    """A batch of latents (b, c, 16, 16), noise of their shape, states of the text encoder, and times in (0, 1)."""

    clean: Tensor
    noise: Tensor
    hidden: Tensor
    times: Tensor


class Latents:
    """Batches of latents and prompts of several worlds, from the written autoencoder and text encoder.

    Args:
        stage: of a configuration: its worlds and how prompts, noise and times are drawn.
    """

    def __init__(self, stage: DictConfig) -> None:
        folder = WEIGHTS / "text_to_image"
        self.stage = stage
        self.encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").float().to(DEVICE).eval()
        vae = AutoencoderKL.from_pretrained(folder / "vae").float().to(DEVICE).eval()
        self.null = build_tokenizer()("", padding="max_length", return_tensors="pt").input_ids[0]
        self.mixture = Mixture(stage.worlds, stage.images)
        self.latents = [
            _encode_all(vae, world, part.images)
            for world, part in zip(stage.worlds, self.mixture.parts, strict=True)
        ]

    def batch(self, generator: torch.Generator) -> Drawn:
        """A random batch."""
        size, channels = self.stage.batch_size, self.stage.latent_channels
        rows = self.mixture.rows(size, generator)
        means, stds = (
            torch.cat([part[which][r, :channels].float() for part, r in zip(self.latents, rows, strict=True)])
            for which in ("mean", "std")
        )
        caption = torch.randint(CAPTIONS, (size,), generator=generator).split([len(r) for r in rows])
        prompt = torch.cat(
            [
                torch.from_numpy(part.tokens[r, c.numpy()]).long()
                for part, r, c in zip(self.mixture.parts, rows, caption, strict=True)
            ]
        )
        prompt[torch.rand(size, generator=generator) < self.stage.prompt_dropout] = self.null
        clean = (means + stds * torch.randn(means.shape, generator=generator)).to(DEVICE)
        noise = torch.randn(clean.shape, generator=generator)
        # An offset per channel: else a picture's mean colour is read from the noise, whatever the prompt.
        noise += self.stage.noise_offset * torch.randn(size, clean.shape[1], 1, 1, generator=generator)
        # Stratified times: one in each of `size` equal slices; pictures are in order of their world.
        slices = (torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)) / size
        return Drawn(clean, noise.to(DEVICE), self.states(prompt), slices.to(DEVICE))

    @torch.no_grad()
    def states(self, prompt: Tensor) -> Tensor:
        """What the U-Net sees of tokens (b, 32)."""
        return self.encoder(prompt.to(DEVICE)).last_hidden_state


def train_unet(name: str, config: DictConfig) -> None:
    """Train the U-Net on cached latents; write `unet`, or a folder of its own for another `objective` than epsilon.

    A stage with more `latent_channels` than the one before goes on with a grown copy. Stages with fewer than the
    autoencoder has see its first ones. `start` names a folder with a written U-Net to begin with.
    """
    torch.manual_seed(config.seed)
    start = config.get("start")
    unet = (
        UNet2DConditionModel.from_pretrained(WEIGHTS / start / "unet").float()
        if start
        else build_unet(config.unet, config.latent_channels)
    )
    objective = OBJECTIVES[config.get("objective", "epsilon")]

    def adapt(stage: DictConfig) -> UNet2DConditionModel:
        nonlocal unet
        if stage.latent_channels != unet.config.in_channels:
            unet = grown(unet, build_unet(config.unet, stage.latent_channels))
        # On a CPU a fifth faster than the fused kernel, whose backward is slow.
        unet.set_attn_processor(AttnProcessor())
        return unet

    def loss_of(stage: DictConfig) -> Loss:
        latents = Latents(stage)
        return lambda generator: objective(stage, unet, latents.batch(generator))

    def export(model: nn.Module) -> None:
        half(model).save_pretrained(_folder(config) / "unet")

    train_in_stages(name, unet, config, loss_of, export, adapt)


def _folder(config: DictConfig) -> Path:
    if config.get("objective", "epsilon") == "epsilon":
        return write_pipeline_files()
    folder = WEIGHTS / "flow"
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=float(config.shift))
    scheduler.save_pretrained(folder / "scheduler")
    return folder


def epsilon(stage: DictConfig, unet: nn.Module, drawn: Drawn) -> Tensor:
    """The error of the clean latents that the noise implies, times min(SNR, `min_snr`) + `least_weight`.

    Without the last term this is min-SNR (Hang et al. 2023), which hardly sees the highest noise levels, where it is
    decided what stands where; with 1 it is the error of the velocity.
    """
    times = (1000 * drawn.times).long().clamp(max=999)
    alpha = ALPHAS.to(DEVICE)[times].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * drawn.clean + (1.0 - alpha).sqrt() * drawn.noise
    predicted = unet(noisy, times, drawn.hidden).sample.float()
    snr = (alpha / (1.0 - alpha)).flatten()
    weight = (snr.clamp(max=stage.min_snr) + stage.get("least_weight", 0.0)) / snr
    return (weight * ((predicted - drawn.noise) ** 2).mean(dim=(1, 2, 3))).mean()


def flow(stage: DictConfig, unet: nn.Module, drawn: Drawn) -> Tensor:
    """The error of the velocity on straight lines from picture (t = 0) to noise (t = 1), logit-normal times.

    References: Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", ICML 2024.
    """
    times = torch.sigmoid(torch.special.ndtri(drawn.times.clamp(1e-4, 1 - 1e-4)))
    times = stage.shift * times / (1.0 + (stage.shift - 1.0) * times)
    t = times.view(-1, 1, 1, 1)
    predicted = unet((1.0 - t) * drawn.clean + t * drawn.noise, 1000 * times, drawn.hidden).sample.float()
    return ((predicted - (drawn.noise - drawn.clean)) ** 2).mean()


OBJECTIVES: dict[str, Callable[[DictConfig, nn.Module, Drawn], Tensor]] = {"epsilon": epsilon, "flow": flow}
"""What a configuration's `objective` minimises."""


@torch.no_grad()
def _encode_all(vae: AutoencoderKL, world: str, images: object) -> dict[str, Tensor]:
    """Encode a world once: scaled posterior means and standard deviations, half precision."""
    path = CHECKPOINTS / "data" / world / "latents.pt"
    parameters = (*vae.encoder.parameters(), *vae.quant_conv.parameters())
    encoder = float(sum(weight.double().abs().sum() for weight in parameters))
    if path.exists():
        stored = torch.load(path, weights_only=True)
        if len(stored["mean"]) == len(images) and stored["encoder"] == encoder:
            return stored
    means, stds = [], []
    for start in range(0, len(images), 256):
        with torch.autocast(DEVICE.type, torch.bfloat16):
            posterior = vae.encode(to_tensor(images[start : start + 256])).latent_dist
        means.append((vae.config.scaling_factor * posterior.mean).half().cpu())
        stds.append((vae.config.scaling_factor * posterior.std).half().cpu())
    stored = {"mean": torch.cat(means), "std": torch.cat(stds), "encoder": encoder}
    torch.save(stored, path)
    return stored
