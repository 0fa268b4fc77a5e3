"""Two small image classifiers of different families: residual, and VGG-like."""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class SmallResNet(nn.Module):
    """A residual network of one torchvision `BasicBlock` per stage; each stage after the first halves the side.

    Args:
        widths: channels of the stages; (16, 32, 64, 128) has 0.31 M parameters with 10 classes.
        n_classes: number of logits.

    References: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    def __init__(self, widths: Sequence[int], n_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList([_residual(widths[0], widths[0], 1)])
        self.stages.extend(_residual(n_in, n_out, 2) for n_in, n_out in itertools.pairwise(widths))
        self.head = nn.Linear(widths[-1], n_classes)

    def features(self, x: Tensor) -> list[Tensor]:
        """Output of every stage, (b, widths[i], H / 2^i, W / 2^i), of normalised images (b, 3, H, W)."""
        return _outputs(self.stem(x), self.stages)

    def pooled(self, x: Tensor) -> Tensor:
        """Spatial mean of the last stage, (b, widths[-1]): what the head sees."""
        return self.features(x)[-1].mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, n_classes) of normalised images (b, 3, H, W)."""
        return self.head(self.pooled(x))


class SmallVGG(nn.Module):
    """A plain network: per stage twice convolution, batch norm, ReLU, then a maximum over 2 x 2 pixels.

    Args:
        widths: channels of the stages; (16, 32, 64, 128) has 0.30 M parameters with 10 classes.
        n_classes: number of logits.

    References: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015.
    """

    def __init__(self, widths: Sequence[int], n_classes: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_plain(n_in, n_out) for n_in, n_out in itertools.pairwise((3, *widths)))
        self.head = nn.Linear(widths[-1], n_classes)

    def features(self, x: Tensor) -> list[Tensor]:
        """Output of every stage, (b, widths[i], H / 2^(i+1), W / 2^(i+1)), of normalised images (b, 3, H, W)."""
        return _outputs(x, self.stages)

    def pooled(self, x: Tensor) -> Tensor:
        """Spatial mean of the last stage, (b, widths[-1]): what the head sees."""
        return self.features(x)[-1].mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (b, n_classes) of normalised images (b, 3, H, W)."""
        return self.head(self.pooled(x))


def _outputs(x: Tensor, stages: nn.ModuleList) -> list[Tensor]:
    return list(itertools.accumulate(stages, lambda y, stage: stage(y), initial=x))[1:]


def _residual(n_in: int, n_out: int, stride: int) -> BasicBlock:
    """A basic block; its shortcut is a convolution where shape or width changes."""
    shortcut = (
        nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))
        if (n_in, stride) != (n_out, 1)
        else None
    )
    return BasicBlock(n_in, n_out, stride, shortcut)


def _plain(n_in: int, n_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n in (n_in, n_out):
        layers += [
            nn.Conv2d(n, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.MaxPool2d(2))
