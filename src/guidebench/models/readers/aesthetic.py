"""How pleasant an image looks: a linear head on CLIP's image embeddings."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from guidebench.errors import WeightsError
from guidebench.models.checkpoints import Checkpoint
from guidebench.models.readers.base import Reader
from guidebench.models.readers.clip import CLIP


class AestheticHead(Reader):
    """score(x) = w . f(x) + b, about 1 to 10, with f(x) CLIP's embedding of unit length; loaded at the first call.

    Args:
        clip: the CLIP that the head was fitted to.
        source: directory, file or address of the head, see `Checkpoint`.
        architecture: `in_features`, the dimension of the embeddings; null where `source` is a directory, whose
            `config.json` says it, and which CLIP (by its directory) the head belongs to.
        sha256: of the file, see `Checkpoint`.
        random_weights: a head with random weights (seed 0).

    Cost: one forward of CLIP's image tower per image.

    References: LAION, "aesthetic-predictor" (v1): a linear layer on normalised embeddings of OpenAI's CLIPs;
        DOODL, Sec. 5.3.
    """

    paper = "DOODL, Sec. 5.3; LAION's aesthetic predictor"

    def __init__(
        self,
        clip: CLIP,
        source: str,
        architecture: Mapping[str, Any] | None = None,
        sha256: str | None = None,
        random_weights: bool = False,
    ) -> None:
        self.clip = clip
        self._checkpoint = Checkpoint(source, architecture, sha256, random_weights)
        self._layer: nn.Module | None = None

    @property
    def network_id(self) -> str:
        name = self._checkpoint.source.rsplit("/", 1)[-1]
        random = " (random weights)" if self._checkpoint.random_weights else ""
        return f"aesthetic:{name}{random}"

    def fingerprint(self) -> str:
        return self._checkpoint.fingerprint()

    def load(self, device: torch.device | str) -> None:
        """Read CLIP and head now, and see that they fit."""
        self.score(torch.zeros(1, 3, self.clip.image_size, self.clip.image_size, device=device))

    def score(self, images: Tensor) -> Tensor:
        """Scores, (b,), float32; differentiable in the images.

        Args:
            images: (b, 3, H, W) in [0, 1], any size; the networks follow their device.
        """
        if self._layer is None:
            self._layer = self._checkpoint.build(self._fitting_layer, torch.float32)
        embeddings = self.clip.encode_image(images)
        expected = self._layer.in_features
        if embeddings.shape[1] != expected:
            raise WeightsError(
                f"{self.network_id} reads embeddings of dimension {expected}, {self.clip.network_id} gives "
                f"{embeddings.shape[1]}; a head belongs to one CLIP"
            )
        score: Tensor = self._layer.to(images.device)(embeddings.float())
        return score.squeeze(1)

    def _fitting_layer(self, in_features: int, clip: str | None = None) -> nn.Linear:
        if clip not in (None, self.clip.directory):
            raise WeightsError(
                f"{self._checkpoint.source} was fitted to the CLIP {clip!r}, the configuration gives it "
                f"{self.clip.network_id}; set its clip.directory to {clip}"
            )
        return nn.Linear(in_features, 1)
