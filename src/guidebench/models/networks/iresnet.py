"""The improved residual network of face recognition, in the key layout of insightface's `arcface_torch`.

ArcFace, CosFace and ElasticFace publish their `backbone.pth` in it; `layers=(3, 13, 30, 3)` is their IResNet-100.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

STRIDES = 4
"""Stages, each of which halves height and width."""


class IResNetBlock(nn.Module):
    """BN, 3x3, BN, PReLU, 3x3 with the stride, BN; added to the input or its strided projection.

    Args:
        channels: of the input.
        out_channels: of the output.
        stride: 2 projects the skip connection too; 1 needs as many channels out as in.
    """

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.prelu = nn.PReLU(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn3 = small_branch(out_channels)
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )
            if stride > 1
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, H, W) -> (b, c', H / stride, W / stride)."""
        h = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(h)) + self.downsample(x)


class IResNet(nn.Module):
    """Embedding of an aligned face, not normalised.

    Args:
        layers: blocks of the four stages.
        widths: channels of the four stages; the first also of the stem.
        image_size: side of the images, pixels.
        num_features: dimension of the embedding.
        dropout: rate before the last layer, for training.

    References: Duta et al., "Improved Residual Networks for Image and Video Recognition", ICPR 2020; Deng et al.,
        "ArcFace", CVPR 2019, section 3.
    """

    def __init__(
        self,
        layers: Sequence[int] = (3, 13, 30, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        image_size: int = 112,
        num_features: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels = widths[0]
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU(channels)
        for number, (width, count) in enumerate(zip(widths, layers, strict=True), start=1):
            blocks = [
                IResNetBlock(channels, width, 2),
                *(IResNetBlock(width, width, 1) for _ in range(count - 1)),
            ]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            channels = width
        self.bn2 = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels * final_side(image_size) ** 2, num_features)
        self.features = nn.BatchNorm1d(num_features)
        self.features.weight.requires_grad_(
            False
        )  # stays 1: scaling one feature would undo the margin's geometry
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, side, side) in [-1, 1] -> (b, num_features)."""
        h = self.prelu(self.bn1(self.conv1(x)))
        for number in range(1, STRIDES + 1):
            h = self.get_submodule(f"layer{number}")(h)
        return self.features(self.fc(self.dropout(torch.flatten(self.bn2(h), 1))))


def final_side(image_size: int) -> int:
    """Side of the last feature map: halved four times, rounded up."""
    return math.ceil(image_size / 2**STRIDES)


def initialise(network: nn.Module) -> None:
    """Unit gain for every convolution."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def small_branch(channels: int) -> nn.BatchNorm2d:
    """The last norm of a residual branch, small at first: random weights keep their scale at any depth."""
    norm = nn.BatchNorm2d(channels)
    nn.init.constant_(norm.weight, 0.2)
    return norm
