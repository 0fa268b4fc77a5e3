"""Train the embedded suite's models from nothing and write them in standard layouts.

    python scripts/train_embedded.py MODEL [key=value ...]

``MODEL`` is ``vae``, ``clip_guide``, ``clip_score``, ``text_to_image``, ``all`` or ``report``
(measure the written models). Each model has one configuration in ``conf/train/MODEL.yaml``, whose
keys can be set on the command line. A run that is stopped resumes from its checkpoint when it is
started again; ``checkpoints/`` can be removed once the weights are written.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from omegaconf import DictConfig, OmegaConf
from open_clip.model import CLIP
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from guidebench.data.worlds import scenes, scenes_captions, scenes_judge

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "checkpoints"
WEIGHTS = ROOT / "src" / "guidebench" / "weights" / "embedded"
MODELS = ("vae", "clip_guide", "clip_score", "text_to_image")
CONTEXT = 32
CAPTIONS = 4  # captions per scene
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

_PAIRS = [(color, shape) for color in scenes.COLORS for shape in scenes.SHAPES]
_PAIR_INDEX = {pair: index for index, pair in enumerate(_PAIRS)}
_ROLES = [(relation, word) for relation in scenes.RELATIONS for word in (*scenes.COLORS, *scenes.SHAPES)]
_ROLE_INDEX = {role: len(_PAIRS) + index for index, role in enumerate(_ROLES)}
_TOTAL = len(_PAIRS) + len(_ROLES)
_BACKGROUND = _TOTAL + 4
FACTS = _BACKGROUND + len(scenes.BACKGROUNDS)
"""Length of a fact vector: pairs present, who stands where, how many objects, which background."""


# -------------------------------------------------------------------------------------------- data


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the word-level tokenizer: lower-case, no punctuation, end-of-text has the highest id."""
    words = ["<pad>", "<unk>", "<bos>", *scenes_captions.VOCABULARY, "<eos>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(r"[^a-z\s]"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>",
        special_tokens=[("<bos>", vocabulary["<bos>"]), ("<eos>", vocabulary["<eos>"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=CONTEXT,
    )


def _scene_facts(scene: scenes.Scene) -> np.ndarray:
    facts = np.zeros(FACTS, dtype=np.uint8)
    for item in scene.objects:
        facts[_PAIR_INDEX[item.color, item.shape]] = 1
    for first in scene.objects:
        for second in scene.objects:
            for relation in scenes.RELATIONS:
                if first is not second and scenes.stands(relation, first, second):
                    facts[_ROLE_INDEX[relation, first.color]] = 1
                    facts[_ROLE_INDEX[relation, first.shape]] = 1
    facts[_TOTAL + len(scene.objects) - 1] = 1
    facts[_BACKGROUND + list(scenes.BACKGROUNDS).index(scene.background.name)] = 1
    return facts


def _caption_facts(description: scenes_captions.Description) -> np.ndarray:
    facts = np.zeros(FACTS, dtype=np.uint8)
    for group in description.groups:
        if group.color and group.shape:
            facts[_PAIR_INDEX[group.color, group.shape]] = 1
    opposite = {"left": "right", "right": "left", "above": "below", "below": "above"}
    for first, relation, second in description.relations:
        for index, role in ((first, relation), (second, opposite[relation])):
            group = description.groups[index]
            for word in (group.color, group.shape):
                if word:
                    facts[_ROLE_INDEX[role, word]] = 1
    facts[_TOTAL + sum(group.count for group in description.groups) - 1] = 1
    if "background" in description.words:
        name = description.words[description.words.index("background") - 1]
        facts[_BACKGROUND + list(scenes.BACKGROUNDS).index(name)] = 1
    return facts


def _token_targets(description: scenes_captions.Description) -> np.ndarray:
    """Colour, shape, count and size (0: not said) of the noun phrase that ends at each token."""
    targets = np.zeros((CONTEXT, 4), dtype=np.uint8)
    for position, owner in enumerate(description.owners):
        last = position + 1 == len(description.owners) or description.owners[position + 1] != owner
        if owner >= 0 and last:
            group = description.groups[owner]
            targets[position + 1] = (
                1 + list(scenes.COLORS).index(group.color) if group.color else 0,
                1 + scenes.SHAPES.index(group.shape) if group.shape else 0,
                group.count,
                1 + list(scenes.SIZES).index(group.size) if group.size else 0,
            )
    return targets


def _render_range(split: str, start: int, stop: int) -> dict[str, np.ndarray]:
    ids = build_tokenizer().get_vocab()
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("images", "scene_facts", "tokens", "caption_facts", "targets")
    }
    for index in range(start, stop):
        rng = scenes.split_rng(split, index)
        scene = scenes.sample(rng)
        columns["images"].append(scenes.render(scene))
        columns["scene_facts"].append(_scene_facts(scene))
        descriptions = [scenes_captions.describe(scene, rng) for _ in range(CAPTIONS)]
        tokens = np.full((CAPTIONS, CONTEXT), ids["<pad>"], dtype=np.int16)
        for row, description in zip(tokens, descriptions, strict=True):
            line = [ids["<bos>"], *(ids[word] for word in description.words)][: CONTEXT - 1]
            row[: len(line) + 1] = [*line, ids["<eos>"]]
        columns["tokens"].append(tokens)
        columns["caption_facts"].append(np.stack([_caption_facts(d) for d in descriptions]))
        columns["targets"].append(np.stack([_token_targets(d) for d in descriptions]))
    return {name: np.stack(rows) for name, rows in columns.items()}


def load_scenes(split: str, count: int) -> dict[str, np.ndarray]:
    """Return the first ``count`` scenes of a split as arrays, rendering them on the first call.

    Args:
        split: ``"train"``, ``"validation"`` or ``"test"``.
        count: Number of scenes.

    Returns:
        ``images`` (n, 64, 64, 3) uint8, ``tokens`` (n, 4, 32) int16 caption tokens, ``scene_facts``
        (n, f) and ``caption_facts`` (n, 4, f) 0/1, ``targets`` (n, 4, 32, 4) what noun tokens mean.
    """
    folder = CHECKPOINTS / "data" / split
    names = ("images", "scene_facts", "tokens", "caption_facts", "targets")
    files = {name: folder / f"{name}.npy" for name in names}
    if not all(path.exists() and len(np.load(path, mmap_mode="r")) >= count for path in files.values()):
        folder.mkdir(parents=True, exist_ok=True)
        edges = [*range(0, count, 2000), count]
        with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
            ranges = zip([split] * (len(edges) - 1), edges[:-1], edges[1:], strict=True)
            parts = list(pool.map(_render_range, *zip(*ranges, strict=True)))
        for name, path in files.items():
            partial = path.with_suffix(f".{os.getpid()}.npy")
            np.save(partial, np.concatenate([part[name] for part in parts]))
            partial.replace(path)
    return {name: np.load(path, mmap_mode="r")[:count] for name, path in files.items()}


def to_tensor(images: np.ndarray) -> Tensor:
    """Turn uint8 pictures (n, 64, 64, 3) into a float tensor (n, 3, 64, 64) in [-1, 1]."""
    return torch.from_numpy(np.array(images)).to(DEVICE).permute(0, 3, 1, 2).float() / 127.5 - 1.0


# ---------------------------------------------------------------------------------------- training


class Trainer:
    """A resumable loop: AdamW, warm-up then cosine decay, EMA, checkpoints by the clock.

    Args:
        name: Name of the checkpoint file.
        model: What is trained; moved to the device.
        config: Needs ``seed``, ``steps``, ``lr``, ``warmup``; optional ``weight_decay``, ``ema``.
    """

    def __init__(self, name: str, model: nn.Module, config: DictConfig) -> None:
        self.name = name
        self.path = CHECKPOINTS / f"{name}.pt"
        self.model = model.to(DEVICE).train()
        self.steps = int(config.steps)
        self.lr, self.warmup = float(config.lr), int(config.warmup)
        self.decay = config.get("ema")
        decay = [p for p in model.parameters() if p.ndim > 1]
        plain = [p for p in model.parameters() if p.ndim <= 1]
        weight_decay = float(config.get("weight_decay", 0.01))
        self.optimizer = torch.optim.AdamW(
            [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=self.lr,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False) if self.decay else None
        self.step = 0
        self.seconds = 0.0
        self.generator = torch.Generator().manual_seed(int(config.seed))
        if self.path.exists():
            self._load()

    def run(
        self,
        loss: Callable[[torch.Generator], Tensor],
        export: Callable[[], None] | None = None,
        export_every: int = 0,
    ) -> None:
        """Train to the last step.

        Args:
            loss: Draws a batch with the generator it is given and returns a scalar loss.
            export: Writes the current model; called every ``export_every`` steps and at the end.
            export_every: Steps between exports, 0 for none.
        """
        saved = logged = time.monotonic()
        mean = 0.0
        while self.step < self.steps:
            begin = time.monotonic()
            rate = min(1.0, (self.step + 1) / self.warmup)
            rate *= 0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * self.step / self.steps))
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * rate
            with torch.autocast(DEVICE.type, torch.bfloat16):
                value = loss(self.generator)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self._update_ema()
            self.step += 1
            mean += 0.02 * (float(value.detach()) - mean) if self.step > 1 else float(value.detach())
            now = time.monotonic()
            self.seconds += now - begin
            if now - logged > 15 or self.step == self.steps:
                per_step = self.seconds / self.step
                left = per_step * (self.steps - self.step) / 60
                clock = time.strftime("%H:%M:%S")
                print(
                    f"{clock} {self.name} {self.step}/{self.steps} loss {mean:.4f} "
                    f"{per_step * 1e3:.0f} ms/step, {left:.1f} min left",
                    flush=True,
                )
                logged = now
            if now - saved > 120 or self.step == self.steps:
                self._save()
                saved = now
            if export and (self.step == self.steps or (export_every and self.step % export_every == 0)):
                export()

    @property
    def best(self) -> nn.Module:
        """The averaged model where there is one, else the model itself."""
        return self.ema if self.ema is not None else self.model

    def _update_ema(self) -> None:
        if self.ema is None:
            return
        decay = min(float(self.decay), (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), 1.0 - decay)
            for target, source in zip(self.ema.buffers(), self.model.buffers(), strict=True):
                target.copy_(source)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        partial = self.path.with_suffix(".partial")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        partial.replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, map_location=DEVICE, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        print(f"{self.name}: resuming at step {self.step}", flush=True)


def _indices(count: int, size: int, generator: torch.Generator) -> np.ndarray:
    return torch.randint(count, (size,), generator=generator).numpy()


def _half(module: nn.Module) -> nn.Module:
    """Return a half-precision copy for writing."""
    return copy.deepcopy(module).half()


# --------------------------------------------------------------------------------------------- VAE


def train_vae(config: DictConfig) -> None:
    """Train the autoencoder, measure its latent scale and write ``text_to_image/vae``."""
    torch.manual_seed(config.seed)
    data = load_scenes("train", config.images)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=tuple(config.channels),
        down_block_types=("DownEncoderBlock2D",) * len(config.channels),
        up_block_types=("UpDecoderBlock2D",) * len(config.channels),
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=scenes.IMAGE_SIZE,
        mid_block_add_attention=False,
    )
    trainer = Trainer("vae", vae, config)

    def loss(generator: torch.Generator, batch_size: int = config.batch_size) -> Tensor:
        images = to_tensor(data["images"][_indices(config.images, batch_size, generator)])
        if not vae.encoder.conv_in.weight.requires_grad:
            images = _shift_colors(images, generator)
        posterior = vae.encode(images).latent_dist
        mean, std = posterior.mean.float(), posterior.std.float()
        noise = torch.randn(mean.shape, generator=generator).to(DEVICE)
        decoded = vae.decode(mean + std * noise).sample.float()
        kl = 0.5 * (mean**2 + std**2 - 1.0 - 2.0 * torch.log(std)).mean()
        error = decoded - images
        edges = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        rebuilt = error.abs().mean() + 2.0 * (error**2).mean()
        return rebuilt + config.edge_weight * edges + config.kl_weight * kl

    def export() -> None:
        model = trainer.best
        with torch.no_grad():
            latents = model.encode(to_tensor(data["images"][:1024])).latent_dist.mode()
        model.register_to_config(scaling_factor=round(float(1.0 / latents.std()), 4))
        _half(model).save_pretrained(WEIGHTS / "text_to_image" / "vae")
        _write_shared_files()

    trainer.run(loss, export, export_every=1000)
    # The latents are final now; the decoder alone is trained further, beside the text-to-image model.
    vae.load_state_dict(trainer.best.state_dict())
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    trainer = Trainer("vae_decoder", vae, OmegaConf.merge(config, config.decoder))
    trainer.run(lambda generator: loss(generator, config.decoder.batch_size), export, export_every=500)


def _shift_colors(images: Tensor, generator: torch.Generator) -> Tensor:
    """Fade half of the pictures towards a random colour: the decoder learns what lies between backgrounds."""
    count = len(images)
    color = 2.0 * torch.rand(count, 3, 1, 1, generator=generator) - 1.0
    amount = 0.5 * torch.rand(count, 1, 1, 1, generator=generator)
    amount *= torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    return torch.lerp(images, color.to(images).expand_as(images), amount.to(images))


def _write_shared_files() -> None:
    """Write the tokenizer, the scheduler's configuration and the pipeline's index."""
    folder = WEIGHTS / "text_to_image"
    build_tokenizer().save_pretrained(folder / "tokenizer")
    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


# -------------------------------------------------------------------------------------------- CLIP


class _ClipTrainee(nn.Module):
    """A CLIP with a linear head that reads facts from either embedding; the head is not kept."""

    def __init__(self, clip: CLIP, embed_dim: int) -> None:
        super().__init__()
        self.clip = clip
        self.facts = nn.Linear(embed_dim, FACTS)


def _clip_config(config: DictConfig) -> dict[str, Any]:
    vision = OmegaConf.to_container(config.vision)
    text = OmegaConf.to_container(config.text)
    assert isinstance(vision, dict) and isinstance(text, dict)
    text |= {"context_length": CONTEXT, "vocab_size": len(build_tokenizer())}
    return {"embed_dim": config.embed_dim, "vision_cfg": vision, "text_cfg": text}


def _augment(images: Tensor, min_crop: float, generator: torch.Generator) -> Tensor:
    """Random crops resized back, small noise, and a blur for some: what guidance will show a CLIP."""
    count = len(images)
    draw = torch.rand(count, 5, generator=generator).to(images.device)
    scale = torch.where(draw[:, 0] < 0.6, min_crop + (1.0 - min_crop) * draw[:, 1], torch.ones(1).to(images))
    theta = torch.zeros(count, 2, 3, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, :, 2] = (2.0 * draw[:, 2:4] - 1.0) * (1.0 - scale)[:, None]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    blurred = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    images = torch.where((draw[:, 4] < 0.3)[:, None, None, None], blurred, images)
    noise = torch.randn(images.shape, generator=generator).to(images)
    return images + 0.1 * torch.rand(count, 1, 1, 1, generator=generator).to(images) * noise


def train_clip(name: str, config: DictConfig) -> None:
    """Train one CLIP contrastively (with an auxiliary loss on the scene's facts) and write it."""
    torch.manual_seed(config.seed)
    data = load_scenes("train", config.images)
    clip = CLIP(**_clip_config(config), output_dict=False)
    trainee = _ClipTrainee(clip, config.embed_dim)
    trainer = Trainer(name, trainee, config)
    mean = torch.tensor(list(config.mean), device=DEVICE).view(1, 3, 1, 1)
    std = torch.tensor(list(config.std), device=DEVICE).view(1, 3, 1, 1)

    def loss(generator: torch.Generator) -> Tensor:
        rows = _indices(config.images, config.batch_size, generator)
        which = _indices(CAPTIONS, config.batch_size, generator)
        images = _augment(to_tensor(data["images"][rows]), config.min_crop, generator)
        images = F.adaptive_avg_pool2d(images, config.vision.image_size)
        tokens = torch.from_numpy(data["tokens"][rows, which].astype(np.int64)).to(DEVICE)
        seen = clip.encode_image(((images + 1.0) / 2.0 - mean) / std).float()
        said = clip.encode_text(tokens).float()
        logits = clip.logit_scale.exp().clamp(max=100.0) * F.normalize(seen) @ F.normalize(said).T
        target = torch.arange(len(rows), device=DEVICE)
        contrast = 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
        scene_facts = torch.from_numpy(data["scene_facts"][rows]).to(DEVICE).float()
        caption_facts = torch.from_numpy(data["caption_facts"][rows, which]).to(DEVICE).float()
        facts = F.binary_cross_entropy_with_logits(trainee.facts(seen).float(), scene_facts)
        facts = facts + F.binary_cross_entropy_with_logits(trainee.facts(said).float(), caption_facts)
        return contrast + config.fact_weight * 10.0 * facts

    def export() -> None:
        folder = WEIGHTS / name
        folder.mkdir(parents=True, exist_ok=True)
        state = {key: value.half().contiguous() for key, value in clip.state_dict().items()}
        save_file(state, folder / "open_clip_model.safetensors")
        preprocess = {
            "size": [config.vision.image_size, config.vision.image_size],
            "mode": "RGB",
            "mean": list(config.mean),
            "std": list(config.std),
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        }
        settings = {"model_cfg": _clip_config(config), "preprocess_cfg": preprocess}
        (folder / "open_clip_config.json").write_text(json.dumps(settings, indent=2) + "\n")
        build_tokenizer().save_pretrained(folder / "tokenizer")

    trainer.run(loss, export, export_every=600)


# ----------------------------------------------------------------------------------- text to image


class _Reader(nn.Module):
    """A text encoder with heads for what a caption says; the heads are not kept."""

    def __init__(self, encoder: CLIPTextModel, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.facts = nn.Linear(width, FACTS)
        self.sizes = (1 + len(scenes.COLORS), 1 + len(scenes.SHAPES), 5, 1 + len(scenes.SIZES))
        self.meaning = nn.Linear(width, sum(self.sizes))


def train_text_encoder(config: DictConfig) -> CLIPTextModel:
    """Train the text encoder to know what each noun phrase and the whole caption say."""
    torch.manual_seed(config.seed)
    options = config.text_encoder
    tokenizer = build_tokenizer()
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.width,
            intermediate_size=4 * options.width,
            projection_dim=options.width,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            max_position_embeddings=CONTEXT,
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    reader = _Reader(encoder, options.width)
    settings = OmegaConf.create({"seed": config.seed, "warmup": 100, "ema": 0.99, **options})
    trainer = Trainer("text_encoder", reader, settings)
    data = load_scenes("train", config.images)
    end = tokenizer.eos_token_id

    def loss(generator: torch.Generator) -> Tensor:
        rows = _indices(config.images, options.batch_size, generator)
        which = _indices(CAPTIONS, options.batch_size, generator)
        tokens = torch.from_numpy(data["tokens"][rows, which].astype(np.int64)).to(DEVICE)
        hidden = encoder(tokens).last_hidden_state
        whole = hidden[torch.arange(len(rows), device=DEVICE), tokens.eq(end).int().argmax(1)]
        facts = torch.from_numpy(data["caption_facts"][rows, which]).to(DEVICE).float()
        value = 10.0 * F.binary_cross_entropy_with_logits(reader.facts(whole).float(), facts)
        targets = torch.from_numpy(data["targets"][rows, which].astype(np.int64)).to(DEVICE)
        nouns = targets[..., 2] > 0
        logits = reader.meaning(hidden[nouns]).float().split(reader.sizes, dim=-1)
        for column, part in enumerate(logits):
            value = value + F.cross_entropy(part, targets[nouns][:, column])
        return value

    def export() -> None:
        folder = WEIGHTS / "text_to_image" / "text_encoder"
        _half(trainer.best.encoder).save_pretrained(folder)
        _write_shared_files()

    trainer.run(loss, export)
    return trainer.best.encoder.eval().requires_grad_(False)


def build_unet(config: DictConfig, text_width: int) -> UNet2DConditionModel:
    """Return the untrained U-Net for 16x16x4 latents.

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
        cross_attention_dim=text_width,
        attention_head_dim=config.heads,
        norm_num_groups=config.groups,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=config.heads,
    )


@torch.no_grad()
def _encode_all(vae: AutoencoderKL, images: np.ndarray) -> tuple[Tensor, Tensor]:
    """Encode pictures once: scaled posterior means and standard deviations, half precision."""
    path = CHECKPOINTS / "data" / "latents.pt"
    encoder = float(sum(weight.double().abs().sum() for weight in vae.encoder.parameters()))
    if path.exists():
        stored = torch.load(path, weights_only=True)
        if len(stored["mean"]) == len(images) and stored["encoder"] == encoder:
            return stored["mean"], stored["std"]
    means, stds = [], []
    for start in range(0, len(images), 256):
        with torch.autocast(DEVICE.type, torch.bfloat16):
            posterior = vae.encode(to_tensor(images[start : start + 256])).latent_dist
        means.append((vae.config.scaling_factor * posterior.mean).half().cpu())
        stds.append((vae.config.scaling_factor * posterior.std).half().cpu())
    stored = {"mean": torch.cat(means), "std": torch.cat(stds), "encoder": encoder}
    torch.save(stored, path)
    return stored["mean"], stored["std"]


def train_text_to_image(config: DictConfig) -> None:
    """Train the text encoder on captions, then the U-Net on cached latents, and write both."""
    encoder = train_text_encoder(config)
    torch.manual_seed(config.seed)
    data = load_scenes("train", config.images)
    vae = AutoencoderKL.from_pretrained(WEIGHTS / "text_to_image" / "vae").to(DEVICE).eval()
    mean, std = _encode_all(vae, data["images"])
    tokens = torch.from_numpy(np.array(data["tokens"]))
    tokenizer = build_tokenizer()
    null = tokenizer("", padding="max_length", return_tensors="pt").input_ids[0]
    scheduler = DDIMScheduler.from_pretrained(WEIGHTS / "text_to_image" / "scheduler")
    alphas = scheduler.alphas_cumprod.to(DEVICE)
    unet = build_unet(config.unet, config.text_encoder.width)
    trainer = Trainer("unet", unet, config)

    def loss(generator: torch.Generator) -> Tensor:
        size = config.batch_size
        rows, which = _indices(config.images, size, generator), _indices(CAPTIONS, size, generator)
        prompt = tokens[rows, which].long()
        prompt[torch.rand(size, generator=generator) < config.prompt_dropout] = null
        with torch.no_grad():
            hidden = encoder(prompt.to(DEVICE)).last_hidden_state
        spread = torch.randn(mean[rows].shape, generator=generator)
        clean = (mean[rows].float() + std[rows].float() * spread).to(DEVICE)
        noise = torch.randn(clean.shape, generator=generator)
        # An offset per channel: else a picture's mean colour is read from the noise, whatever the prompt.
        noise += config.noise_offset * torch.randn(size, clean.shape[1], 1, 1, generator=generator)
        noise = noise.to(DEVICE)
        # Stratified time steps: one in each of `size` equal slices.
        slices = (torch.arange(size) + torch.rand(size, generator=generator)) / size
        times = (1000 * slices).long().clamp(max=999).to(DEVICE)
        alpha = alphas[times].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1.0 - alpha).sqrt() * noise
        predicted = unet(noisy, times, hidden).sample.float()
        snr = (alpha / (1.0 - alpha)).flatten()
        weight = snr.clamp(max=config.min_snr) / snr
        return (weight * ((predicted - noise) ** 2).mean(dim=(1, 2, 3))).mean()

    def export() -> None:
        _half(trainer.best).save_pretrained(WEIGHTS / "text_to_image" / "unet")
        _write_shared_files()

    trainer.run(loss, export, export_every=config.export_every)


# ------------------------------------------------------------------------------------------ report


class Generator:
    """Samples the written text-to-image model with DDIM and classifier-free guidance.

    Args:
        guidance: Classifier-free guidance scale.
        steps: Number of DDIM steps.
    """

    def __init__(self, guidance: float = 5.0, steps: int = 20) -> None:
        folder = WEIGHTS / "text_to_image"
        self.guidance, self.steps = guidance, steps
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet").float().to(DEVICE).eval()
        self.vae = AutoencoderKL.from_pretrained(folder / "vae").float().to(DEVICE).eval()
        self.encoder = CLIPTextModel.from_pretrained(folder / "text_encoder").float().to(DEVICE).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
        self.scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")

    @torch.no_grad()
    def __call__(self, prompts: list[str], seed: int = 0) -> np.ndarray:
        """Generate one picture per prompt.

        Args:
            prompts: Texts.
            seed: Seed of the initial noise.

        Returns:
            uint8 pictures (n, 64, 64, 3).
        """
        pictures = []
        noise = torch.Generator().manual_seed(seed)
        self.scheduler.set_timesteps(self.steps)
        for start in range(0, len(prompts), 64):
            batch = prompts[start : start + 64]
            tokens = self.tokenizer(
                batch + [""] * len(batch),
                padding="max_length",
                truncation=True,
                max_length=CONTEXT,
                return_tensors="pt",
            ).input_ids
            hidden = self.encoder(tokens.to(DEVICE)).last_hidden_state
            latents = torch.randn(len(batch), 4, 16, 16, generator=noise).to(DEVICE)
            for time_step in self.scheduler.timesteps:
                both = self.unet(torch.cat([latents, latents]), time_step, hidden).sample
                said, null = both.chunk(2)
                predicted = null + self.guidance * (said - null)
                latents = self.scheduler.step(predicted, time_step, latents).prev_sample
            decoded = self.vae.decode(latents / self.vae.config.scaling_factor).sample
            pictures.append(_to_uint8(decoded))
        return np.concatenate(pictures)


def _to_uint8(images: Tensor) -> np.ndarray:
    return ((images.float() + 1.0) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()


def judge_prompts(count: int) -> dict[str, list[str]]:
    """Return ``count`` test prompts of each category, drawn from scenes of the test split."""
    prompts: dict[str, list[str]] = {name: [] for name in ("one", "two", "relation", "count", "held out")}
    held_out = sorted(scenes.HELD_OUT)
    for index in range(count):
        rng = scenes.split_rng("test", 10**6 + index)
        first, second = scenes.sample(rng, kind="pair").objects
        one = f"{_article(first.color)} {first.color} {first.shape}"
        two = f"{_article(second.color)} {second.color} {second.shape}"
        relation = list(scenes_captions.RELATION_WORDS)[rng.integers(len(scenes_captions.RELATION_WORDS))]
        number = int(rng.integers(2, 5))
        word = ("two", "three", "four")[number - 2]
        color, shape = held_out[index % len(held_out)]
        prompts["one"].append(one)
        prompts["two"].append(f"{one} and {two}")
        prompts["relation"].append(f"{one} {relation} {two}")
        prompts["count"].append(f"{word} {first.color} {scenes_captions.PLURALS[first.shape]}")
        prompts["held out"].append(f"{_article(color)} {color} {shape}")
    return prompts


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _interval(successes: float, count: int) -> str:
    """Wilson 95 % interval of a rate, as text."""
    rate, z = successes / count, 1.96
    centre = (rate + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return f"{rate:.3f} [{centre - half:.3f}, {centre + half:.3f}] (n={count})"


@torch.no_grad()
def report(models: str = ",".join(MODELS), count: int = 100, guidance: float = 5.0, steps: int = 20) -> None:
    """Measure written models on held-out scenes, and print it.

    Args:
        models: Names of the models, separated by commas.
        count: Prompts per category for the text-to-image model.
        guidance: Classifier-free guidance scale.
        steps: DDIM steps.
    """
    data = load_scenes("test", 1000)
    for name in models.split(","):
        if name == "vae":
            _report_vae(data)
        elif name == "text_to_image":
            _report_text_to_image(Generator(guidance, steps), count)
        else:
            _report_clip(name, data)


def _report_text_to_image(generator: Generator, count: int) -> None:
    for category, prompts in judge_prompts(count).items():
        pictures = generator(prompts, seed=7)
        met = [
            scenes_judge.satisfies(picture, scenes_judge.Requirement.from_prompt(prompt))
            for picture, prompt in zip(pictures, prompts, strict=True)
        ]
        print(f"text_to_image, {category}: judged right {_interval(sum(met), len(met))}", flush=True)


def _report_vae(data: dict[str, np.ndarray]) -> None:
    vae = AutoencoderKL.from_pretrained(WEIGHTS / "text_to_image" / "vae").float().to(DEVICE).eval()
    images = data["images"][:500]
    rebuilt = np.concatenate(
        [_to_uint8(vae(to_tensor(images[start : start + 50])).sample) for start in range(0, 500, 50)]
    )
    error = ((rebuilt.astype(np.float64) - images) ** 2).mean(axis=(1, 2, 3))
    psnr = 10 * np.log10(255.0**2 / error)
    print(f"vae: PSNR {psnr.mean():.2f} dB, 5th percentile {np.percentile(psnr, 5):.2f} (n=500)")
    for name, pictures in (("drawn", images), ("rebuilt", rebuilt)):
        right = 0
        for index, picture in enumerate(pictures):
            want = sorted((o.shape, o.color, o.size) for o in scenes.scene("test", index).objects)
            right += want == sorted((o.shape, o.color, o.size) for o in scenes_judge.parse(picture))
        print(f"parser, {name} pictures: all objects right {_interval(right, len(pictures))}")


def _report_clip(name: str, data: dict[str, np.ndarray]) -> None:
    folder = WEIGHTS / name
    settings = json.loads((folder / "open_clip_config.json").read_text())
    clip = CLIP(**settings["model_cfg"], output_dict=False).to(DEVICE).eval()
    clip.load_state_dict(load_file(folder / "open_clip_model.safetensors"))
    mean = torch.tensor(settings["preprocess_cfg"]["mean"], device=DEVICE).view(1, 3, 1, 1)
    std = torch.tensor(settings["preprocess_cfg"]["std"], device=DEVICE).view(1, 3, 1, 1)
    hits = 0
    groups = list(_distinct_captions(data["tokens"][:, 0], size=100))[:5]
    for rows in groups:
        images = F.adaptive_avg_pool2d(to_tensor(data["images"][rows]), clip.visual.image_size)
        seen = clip.encode_image(((images + 1) / 2 - mean) / std, normalize=True)
        tokens = torch.from_numpy(data["tokens"][rows, 0].astype(np.int64)).to(DEVICE)
        said = clip.encode_text(tokens, normalize=True)
        hits += int(((seen @ said.T).argmax(1).cpu() == torch.arange(len(rows))).sum())
    print(f"{name}: right caption of 100 ranked first {_interval(hits, 100 * len(groups))}", flush=True)


def _distinct_captions(tokens: np.ndarray, size: int) -> Iterator[list[int]]:
    """Yield lists of rows whose captions all say something different."""
    words = {index: word for word, index in build_tokenizer().get_vocab().items() if word[0] != "<"}
    rows: list[int] = []
    seen: set[scenes_judge.Requirement] = set()
    for index, line in enumerate(tokens):
        caption = " ".join(words[token] for token in line.tolist() if token in words)
        meaning = scenes_judge.Requirement.from_prompt(caption)
        if meaning not in seen:
            seen.add(meaning)
            rows.append(index)
        if len(rows) == size:
            yield rows
            rows, seen = [], set()


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", choices=[*MODELS, "all", "report"])
    parser.add_argument("overrides", nargs="*", help="key=value, over conf/train/MODEL.yaml")
    arguments = parser.parse_args()
    if arguments.model == "report":
        report(**{str(key): value for key, value in OmegaConf.from_dotlist(arguments.overrides).items()})
        return
    for name in MODELS if arguments.model == "all" else [arguments.model]:
        config = OmegaConf.load(ROOT / "conf" / "train" / f"{name}.yaml")
        config = OmegaConf.merge(config, OmegaConf.from_dotlist(arguments.overrides))
        assert isinstance(config, DictConfig)
        if name == "vae":
            train_vae(config)
        elif name == "text_to_image":
            train_text_to_image(config)
        else:
            train_clip(name, config)


if __name__ == "__main__":
    main()
