"""A plain convolutional U-Net: no norms, no attention; what LMC-SDS learns its corrective and its translator with."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def frequencies(values: Tensor, octaves: int) -> Tensor:
    """sin and cos of 2^k pi v, k = 0 .. octaves - 1: (n, 2 octaves) of values (n,)."""
    angles = math.pi * values[:, None] * 2.0 ** torch.arange(octaves, device=values.device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class PlainUNet(nn.Module):
    """Layers of two 3 x 3 convolutions with ReLU: encoder layers end in 2 x 2 max pooling, decoder layers begin with
    bilinear up-sampling and the encoder's output of their size.

    A number per sample (a time, a class) is encoded by frequencies and stands beside every pixel.

    Args:
        channels: of input and output.
        widths: of the encoder's layers, which the decoder mirrors.
        middle: width of the layer between them.
        octaves: of the number's encoding: twice as many input channels.
        bounded: end in tanh, for pixels in [-1, 1].
    """

    def __init__(
        self, channels: int, widths: Sequence[int], middle: int, octaves: int = 5, bounded: bool = True
    ) -> None:
        super().__init__()
        self.octaves, self.bounded = octaves, bounded
        inputs = [channels + 2 * octaves, *widths]
        self.encoder = nn.ModuleList([_layer(a, b) for a, b in zip(inputs, widths, strict=False)])
        self.middle = _layer(widths[-1], middle)
        ups = [middle, *reversed(widths)]
        self.decoder = nn.ModuleList([_layer(a + b, b) for a, b in zip(ups, reversed(widths), strict=False)])
        self.out = nn.Conv2d(widths[0], channels, 1)

    def forward(self, x: Tensor, value: Tensor) -> Tensor:
        """(n, c, h, w) of x (n, c, h, w) and a number per sample (n,); h and w divide by 2 to the depth."""
        code = frequencies(value, self.octaves).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        h, kept = torch.cat([x, code], dim=1), []
        for layer in self.encoder:
            h = layer(h)
            kept.append(h)
            h = F.max_pool2d(h, 2)
        h = self.middle(h)
        for layer in self.decoder:
            h = F.interpolate(h, scale_factor=2.0, mode="bilinear")
            h = layer(torch.cat([h, kept.pop()], dim=1))
        h = self.out(h)
        return torch.tanh(h) if self.bounded else h


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(),
    )
