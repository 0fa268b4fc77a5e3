"""The latent text-to-image model: a text encoder trained on captions alone, then a U-Net with it frozen."""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from omegaconf import DictConfig
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from embedded.data import CAPTIONS, CHECKPOINTS, CONTEXT, DEVICE, FACTS, Mixture, build_tokenizer, to_tensor
from embedded.output import WEIGHTS, half, write_pipeline_files
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


def build_unet(config: DictConfig) -> UNet2DConditionModel:
    """The untrained U-Net for 16x16x4 latents.

    Besides cross-attention, the pooled text is added to the time embedding, which teaches colours early.
    """
    down = tuple("CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in config.cross_attention)
    up = tuple("CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(config.cross_attention))
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
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


def train_unet(name: str, config: DictConfig) -> None:
    """Train the U-Net on cached latents with the written autoencoder and text encoder; write `unet`."""
    torch.manual_seed(config.seed)
    folder = WEIGHTS / "text_to_image"
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").float().to(DEVICE).eval()
    vae = AutoencoderKL.from_pretrained(folder / "vae").float().to(DEVICE).eval()
    null = build_tokenizer()("", padding="max_length", return_tensors="pt").input_ids[0]
    alphas = DDIMScheduler.from_pretrained(folder / "scheduler").alphas_cumprod.to(DEVICE)
    unet = build_unet(config.unet)

    def loss_of(stage: DictConfig) -> Loss:
        mixture = Mixture(stage.worlds, stage.images)
        latents = [
            _encode_all(vae, world, part.images)
            for world, part in zip(stage.worlds, mixture.parts, strict=True)
        ]

        def loss(generator: torch.Generator) -> Tensor:
            size = stage.batch_size
            rows = mixture.rows(size, generator)
            means, stds = (
                torch.cat([part[which][r].float() for part, r in zip(latents, rows, strict=True)])
                for which in ("mean", "std")
            )
            caption = torch.randint(CAPTIONS, (size,), generator=generator).split([len(r) for r in rows])
            prompt = torch.cat(
                [
                    torch.from_numpy(part.tokens[r, c.numpy()]).long()
                    for part, r, c in zip(mixture.parts, rows, caption, strict=True)
                ]
            )
            prompt[torch.rand(size, generator=generator) < stage.prompt_dropout] = null
            with torch.no_grad():
                hidden = encoder(prompt.to(DEVICE)).last_hidden_state
            clean = (means + stds * torch.randn(means.shape, generator=generator)).to(DEVICE)
            noise = torch.randn(clean.shape, generator=generator)
            # An offset per channel: else a picture's mean colour is read from the noise, whatever the prompt.
            noise += stage.noise_offset * torch.randn(size, clean.shape[1], 1, 1, generator=generator)
            noise = noise.to(DEVICE)
            # Stratified time steps: one in each of `size` equal slices; pictures are in order of their world.
            slices = (
                torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)
            ) / size
            times = (1000 * slices).long().clamp(max=999).to(DEVICE)
            alpha = alphas[times].view(-1, 1, 1, 1)
            noisy = alpha.sqrt() * clean + (1.0 - alpha).sqrt() * noise
            predicted = unet(noisy, times, hidden).sample.float()
            snr = (alpha / (1.0 - alpha)).flatten()
            weight = snr.clamp(max=stage.min_snr) / snr
            return (weight * ((predicted - noise) ** 2).mean(dim=(1, 2, 3))).mean()

        return loss

    def export(model: nn.Module) -> None:
        half(model).save_pretrained(write_pipeline_files() / "unet")

    train_in_stages(name, unet, config, loss_of, export)


@torch.no_grad()
def _encode_all(vae: AutoencoderKL, world: str, images: object) -> dict[str, Tensor]:
    """Encode a world once: scaled posterior means and standard deviations, half precision."""
    path = CHECKPOINTS / "data" / world / "latents.pt"
    encoder = float(sum(weight.double().abs().sum() for weight in vae.encoder.parameters()))
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
