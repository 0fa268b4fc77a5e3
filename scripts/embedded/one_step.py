"""A model of one step, distilled from the text-to-image model: noise and prompt to what the teacher makes of them.

The teacher's pictures (20 DDIM steps with classifier-free guidance) are made once and kept. The student is a U-Net
that is asked once, at the last time step, and predicts the noise, as SD-Turbo is asked.

References: Luhman & Luhman, "Knowledge Distillation in Iterative Generative Models for Improved Sampling Speed", 2021.
"""

import itertools
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from omegaconf import DictConfig
from torch import Tensor, nn

from embedded.data import CAPTIONS, CHECKPOINTS, DEVICE
from embedded.output import ALPHAS, SCHEDULER, WEIGHTS, half
from embedded.stages import Loss, train_in_stages
from embedded.text_to_image import Latents

LAST = len(ALPHAS) - 1


@dataclass(frozen=True)
class Pairs:
    """n pairs of the teacher: noise and result (n, c, 16, 16), and tokens of the prompts (n, 32)."""

    noise: Tensor
    made: Tensor
    tokens: Tensor


def train(name: str, config: DictConfig) -> None:
    """Distil the written text-to-image model and write `one_step`."""
    torch.manual_seed(config.seed)
    folder = WEIGHTS / "text_to_image"
    student = UNet2DConditionModel.from_pretrained(folder / "unet").float()
    student.set_attn_processor(AttnProcessor())
    vae = AutoencoderKL.from_pretrained(folder / "vae").float().to(DEVICE).eval().requires_grad_(False)

    def loss_of(stage: DictConfig) -> Loss:
        latents = Latents(stage)
        pairs = teach(stage, latents)

        def loss(generator: torch.Generator) -> Tensor:
            rows = torch.randint(len(pairs.noise), (stage.batch_size,), generator=generator)
            noise, made = pairs.noise[rows].float().to(DEVICE), pairs.made[rows].float().to(DEVICE)
            drawn = one_step(student, noise, latents.states(pairs.tokens[rows].long()))
            error = ((drawn - made) ** 2).mean(dim=(1, 2, 3))
            total = (error + stage.huber**2).sqrt().mean()
            seen = slice(0, stage.decoded)
            if stage.decoded:
                pictures, wanted = (
                    vae.decode(z[seen] / vae.config.scaling_factor).sample for z in (drawn, made)
                )
                total = total + stage.pixel_weight * (pictures - wanted).float().abs().mean()
            return total

        return loss

    def export(model: nn.Module) -> None:
        half(model).save_pretrained(WEIGHTS / name / "unet")
        scheduler = EulerDiscreteScheduler.from_config(SCHEDULER.config, timestep_spacing="trailing")
        scheduler.save_pretrained(WEIGHTS / name / "scheduler")

    train_in_stages(name, student, config, loss_of, export)


def one_step(unet: nn.Module, noise: Tensor, hidden: Tensor) -> Tensor:
    """The clean latents that the noise predicted at the last time step implies."""
    alpha = ALPHAS[LAST]
    times = torch.full((len(noise),), LAST, device=noise.device)
    predicted = unet(noise, times, hidden).sample.float()
    return (noise - (1.0 - alpha).sqrt() * predicted) / alpha.sqrt()


@torch.no_grad()
def teach(stage: DictConfig, latents: Latents) -> Pairs:
    """The teacher's pairs, made on the first call."""
    unet = UNet2DConditionModel.from_pretrained(WEIGHTS / "text_to_image" / "unet").float().to(DEVICE).eval()
    teacher = float(sum(weight.double().abs().sum() for weight in unet.parameters()))
    path = CHECKPOINTS / "data" / "one_step_pairs.pt"
    stored = torch.load(path, weights_only=True) if path.exists() else {"teacher": None}
    if stored["teacher"] != teacher:  # teacher changed: its pictures are others
        stored = {"teacher": teacher, "noise": [], "made": [], "tokens": []}
    generator = torch.Generator().manual_seed(stage.seed)
    batches, size = -(-stage.pairs // 100), 100
    for batch in range(batches):
        noise = torch.randn(size, stage.latent_channels, 16, 16, generator=generator)
        rows = latents.mixture.rows(size, generator)
        captions = torch.randint(CAPTIONS, (size,), generator=generator).split([len(r) for r in rows])
        if batch < len(stored["noise"]):
            continue
        tokens = torch.cat(
            [
                torch.from_numpy(part.tokens[r, c.numpy()])
                for part, r, c in zip(latents.mixture.parts, rows, captions, strict=True)
            ]
        )
        with torch.autocast(DEVICE.type, torch.bfloat16):
            made = _sample(unet, noise.to(DEVICE), latents, tokens.long(), stage)
        for column, value in (("noise", noise.half()), ("made", made.half().cpu()), ("tokens", tokens)):
            stored[column].append(value)
        if batch % 10 == 9 or batch == batches - 1:
            torch.save(stored, path)
            print(f"one_step: {(batch + 1) * size} of {stage.pairs} pairs", flush=True)
    columns = (torch.cat(stored[name][:batches]) for name in ("noise", "made", "tokens"))
    return Pairs(*columns)


def _sample(unet: nn.Module, x: Tensor, latents: Latents, tokens: Tensor, stage: DictConfig) -> Tensor:
    """DDIM with guidance, evenly from the last time step to the first."""
    hidden = torch.cat([latents.states(latents.null[None]).expand(len(x), -1, -1), latents.states(tokens)])
    times = torch.linspace(LAST, 0, stage.teacher_steps + 1).round().long()
    for now, then in itertools.pairwise(times):
        at = torch.full((2 * len(x),), int(now), device=x.device)
        blank, told = unet(torch.cat([x, x]), at, hidden).sample.float().chunk(2)
        noise = blank + stage.cfg_scale * (told - blank)
        clean = (x - (1.0 - ALPHAS[now]).sqrt() * noise) / ALPHAS[now].sqrt()
        x = ALPHAS[then].sqrt() * clean + (1.0 - ALPHAS[then]).sqrt() * noise
    return clean
