"""AdaFace's network, in the key layout of its checkpoints (under `state_dict`, with the prefix `model.`).

`layers=(3, 13, 30, 3)` is their IR-101. The same computation as `iresnet` in other places: here a block whose channels
stay is strided without a projection, and the last norm has no parameters.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from guidebench.models.networks.iresnet import final_side, initialise, small_branch


class IRBlock(nn.Module):
    """BN, 3x3, BN, PReLU, 3x3 with the stride, BN; added to the (strided) input, or its projection to more channels.

    Args:
        channels: of the input.
        out_channels: of the output.
        stride: of the second convolution and of the skip connection.
    """

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = (
            nn.MaxPool2d(1, stride)
            if channels == out_channels
            else nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            small_branch(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, H, W) -> (b, c', H / stride, W / stride)."""
        return self.res_layer(x) + self.shortcut_layer(x)


class AdaFaceIR(nn.Module):
    """Embedding of an aligned face, not normalised: AdaFace reads the quality of a picture from its length.

    Args:
        layers: blocks of the four stages.
        widths: channels of the four stages; the first also of the stem.
        image_size: side of the images, pixels.
        num_features: dimension of the embedding.
        dropout: rate before the last layer, for training.

    References: Kim et al., "AdaFace: Quality Adaptive Margin for Face Recognition", CVPR 2022.
    """

    def __init__(
        self,
        layers: Sequence[int] = (3, 13, 30, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
        image_size: int = 112,
        num_features: int = 512,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        channels = widths[0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.PReLU(channels)
        )
        blocks = []
        for width, count in zip(widths, layers, strict=True):
            blocks += [IRBlock(channels, width, 2), *(IRBlock(width, width, 1) for _ in range(count - 1))]
            channels = width
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(channels * final_side(image_size) ** 2, num_features),
            nn.BatchNorm1d(num_features, affine=False),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """(b, 3, side, side) in [-1, 1], blue first -> (b, num_features)."""
        return self.output_layer(self.body(self.input_layer(x)))
