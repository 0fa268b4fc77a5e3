"""LAION's published aesthetic heads, as the configurations name them, on its published embeddings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from guidebench.models.readers.aesthetic import AestheticHead
from guidebench.models.readers.clip import CLIP

SCORES = {
    "vit_l_14": [-2.46, -0.14, 1.90, 3.58, 5.10, 6.47, 7.79, 9.05, 10.23, 11.30],
    "vit_b_32": [-1.47, 0.27, 1.99, 3.61, 5.09, 6.39, 7.67, 8.92, 9.92, 11.01],
}
"""Of the embeddings of pictures that people rated 0 to 9: rising, and not within 1 to 10."""


class Embedded(CLIP):
    """A CLIP whose images are embeddings already."""

    def encode_image(self, images: Tensor) -> Tensor:
        return images


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_laions(real_data: Path, checkout: Path, name: str) -> None:
    config = yaml.safe_load((checkout / f"conf/aesthetic/laion_{name}.yaml").read_text())
    file = real_data / "laion_aesthetic" / config["source"].rsplit("/", 1)[-1]
    clip = Embedded("ViT-B-32", random_weights=True)
    head = AestheticHead(clip, str(file), config["architecture"], config["sha256"])
    folder = real_data / "laion_aesthetic" / f"{name}_embeddings"
    embeddings: Sequence[np.ndarray] = [np.load(folder / f"rating{rating}.npy") for rating in range(10)]
    scores = head.score(torch.from_numpy(np.concatenate(embeddings)))
    np.testing.assert_allclose(scores.numpy(), SCORES[name], atol=0.006)
