"""The aesthetic heads: ridge regression of the rule of pleasantness on a written CLIP's image embeddings."""

import json
import time

import numpy as np
import torch
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import Tensor

from embedded.data import DEVICE, load
from embedded.output import WEIGHTS
from guidebench.data.pleasantness import pleasantness
from guidebench.data.worlds import WORLDS
from guidebench.models.readers.clip import CLIP
from guidebench.pixels import to_tensor, to_uint8


def train(name: str, config: DictConfig) -> None:
    """Fit one head in closed form and write it under its name."""
    begin = time.monotonic()
    clip = CLIP(directory=str(WEIGHTS / config.clip))
    generator = torch.Generator().manual_seed(config.seed)
    embeddings, scores = [], []
    for world in WORLDS:
        for start in range(0, config.images, 500):
            drawn = load(world, "train", config.images).images[start : start + 500]
            pictures = vary(to_tensor(drawn), generator)
            scores.append(pleasantness(pictures))
            with torch.no_grad():
                embeddings.append(clip.encode_image(to_tensor(pictures, DEVICE)).double().cpu().numpy())
    weight, bias = ridge(np.concatenate(embeddings), np.concatenate(scores), config.ridge)
    folder = WEIGHTS / name
    folder.mkdir(parents=True, exist_ok=True)
    state = {"weight": torch.from_numpy(weight)[None].float(), "bias": torch.tensor([bias]).float()}
    save_file(state, folder / "model.safetensors")
    settings = {"in_features": len(weight), "clip": f"embedded/{config.clip}"}
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    print(
        f"{name}: fitted to {len(WORLDS) * config.images} pictures in {time.monotonic() - begin:.0f} s",
        flush=True,
    )


def vary(images: Tensor, generator: torch.Generator) -> np.ndarray:
    """Pictures on which the rule varies: saturation, contrast, brightness, blur and grain, each at random.

    Args:
        images: (n, 3, H, W) in [0, 1].
        generator: source of randomness.

    Returns:
        uint8 (n, H, W, 3).
    """
    count = len(images)
    draw = torch.rand(count, 7, 1, 1, 1, generator=generator).unbind(1)
    gray = images.mean(dim=1, keepdim=True).expand_as(images)
    images = torch.lerp(gray, images, torch.where(draw[0] < 0.5, 1.0, 1.6 * draw[1]))
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = torch.lerp(mean, images, torch.where(draw[2] < 0.5, 1.0, 0.3 + draw[3]))
    images = images + torch.where(draw[4] < 0.7, 0.0, draw[5] - 0.5)
    blurred = torch.nn.functional.avg_pool2d(images, 5, stride=1, padding=2, count_include_pad=False)
    images = torch.where(draw[6] < 0.2, blurred, images)
    grain = 0.15 * torch.rand(count, 1, 1, 1, generator=generator) * (draw[6] > 0.7)
    return to_uint8(images + grain * torch.randn(images.shape, generator=generator))


def ridge(features: np.ndarray, targets: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
    """The w and b that minimise mean (f . w + b - y)^2 + strength |w|^2, for features (n, d) and targets (n,)."""
    centre, mean = features.mean(axis=0), targets.mean()
    spread = features - centre
    gram = spread.T @ spread / len(spread) + strength * np.eye(spread.shape[1])
    weight = np.linalg.solve(gram, spread.T @ (targets - mean) / len(spread))
    return weight, float(mean - centre @ weight)
