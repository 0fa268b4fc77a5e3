"""The margins that face recognisers are trained with: what is done to the cosine between a face and its own class."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

EDGE = 1e-3
"""Cosines stay this far from -1 and 1, and angles from 0 and pi: the arc cosine has no slope there."""


def with_margin(cosines: Tensor, labels: Tensor, angular: Tensor, additive: Tensor) -> Tensor:
    """cos(theta_y + angular) - additive at the true class y, cos(theta_j) elsewhere.

    Args:
        cosines: (b, k).
        labels: (b,), the true classes.
        angular: (b,), radians.
        additive: (b,).

    Returns:
        (b, k).
    """
    at = labels[:, None]
    angle = cosines.gather(1, at).clamp(-1 + EDGE, 1 - EDGE).acos() + angular[:, None]
    return cosines.scatter(1, at, angle.clamp(EDGE, math.pi - EDGE).cos() - additive[:, None])


class Margin(nn.Module, ABC):
    """Logits s (cosines with a margin) of embeddings among the classes.

    Args:
        features: dimension of the embeddings.
        classes: k.
        scale: s.
        margin: m.
    """

    def __init__(self, features: int, classes: int, scale: float, margin: float) -> None:
        super().__init__()
        self.scale, self.margin = scale, margin
        self.kernel = nn.Parameter(0.01 * torch.randn(classes, features))

    def forward(self, embeddings: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Logits (b, k) in float32.

        Args:
            embeddings: (b, d), not normalised.
            labels: (b,).
            generator: of random margins.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = embeddings.float()
            cosines = normalize(embeddings) @ normalize(self.kernel).T
            angular, additive = self.margins(embeddings.detach().norm(dim=1), generator)
            return self.scale * with_margin(cosines, labels, angular, additive)

    @abstractmethod
    def margins(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Angular and additive margin of each embedding, (b,) each, given their lengths (b,)."""


class CosFace(Margin):
    """cos(theta) - m.

    References: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018, eq. 4.
    """

    def margins(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(lengths), torch.full_like(lengths, self.margin)


class ArcFace(Margin):
    """cos(theta + m).

    References: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face Recognition", CVPR 2019, eq. 3.
    """

    def margins(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.full_like(lengths, self.margin), torch.zeros_like(lengths)


class ElasticFace(Margin):
    """cos(theta + E) with E ~ N(m, deviation^2), drawn for every picture anew: ElasticFace-Arc.

    Args:
        features: dimension of the embeddings.
        classes: k.
        scale: s.
        margin: m.
        deviation: of the margins.

    References: Boutros et al., "ElasticFace: Elastic Margin Loss for Deep Face Recognition", CVPRW 2022, eq. 4.
    """

    def __init__(self, features: int, classes: int, scale: float, margin: float, deviation: float) -> None:
        super().__init__(features, classes, scale, margin)
        self.deviation = deviation

    def margins(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        draw = torch.randn(lengths.shape, generator=generator).to(lengths)
        return self.margin + self.deviation * draw, torch.zeros_like(lengths)


class AdaFace(Margin):
    """cos(theta - m q) - m (1 + q), where q in [-1, 1] tells the quality of the picture by its embedding's length.

    q = clip(h (|f| - mean) / deviation), with running mean and deviation of the lengths.

    Args:
        features: dimension of the embeddings.
        classes: k.
        scale: s.
        margin: m.
        concentration: h.
        momentum: weight of a batch in the running statistics.

    References: Kim et al., "AdaFace: Quality Adaptive Margin for Face Recognition", CVPR 2022, eq. 12 to 15.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        features: int,
        classes: int,
        scale: float,
        margin: float,
        concentration: float = 0.333,
        momentum: float = 0.01,
    ) -> None:
        super().__init__(features, classes, scale, margin)
        self.concentration, self.momentum = concentration, momentum
        self.register_buffer("mean", torch.tensor(20.0))
        self.register_buffer("deviation", torch.tensor(100.0))

    def margins(self, lengths: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        lengths = lengths.clamp(0.001, 100.0)
        if self.training:
            self.mean.lerp_(lengths.mean(), self.momentum)
            self.deviation.lerp_(lengths.std(), self.momentum)
        quality = (self.concentration * (lengths - self.mean) / (self.deviation + 1e-3)).clamp(-1.0, 1.0)
        return -self.margin * quality, self.margin * (1.0 + quality)
