"""The U-Net and the noisy classifier of "Diffusion Models Beat GANs", in the key layout of their checkpoints.

`UNet` has the parameter names and shapes of OpenAI's `256x256_diffusion_uncond.pt` and its siblings, `EncoderUNet`
those of `256x256_classifier.pt`, so that the published files load strictly. Small instances serve as embedded models.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from guidebench.errors import ConfigError
from guidebench.models.networks.adm_blocks import (
    AttentionBlock,
    AttentionPool,
    Block,
    Downsample,
    Resample,
    ResBlock,
    Upsample,
    double,
    halve,
    time_features,
    zero,
)


class Encoder(nn.Module):
    """What the U-Net and the classifier share: time embedding, the way down, the middle."""

    def __init__(
        self,
        image_size: int,
        model_channels: int,
        in_channels: int,
        num_res_blocks: int,
        channel_mult: Sequence[float],
        attention_resolutions: Sequence[int],
        num_head_channels: int,
        resblock_updown: bool,
        use_scale_shift_norm: bool,
        dropout: float,
        num_groups: int,
        z_channels: int = 0,
        num_heads: int | None = None,
        use_new_attention_order: bool = False,
    ) -> None:
        super().__init__()
        self.widths = [int(mult * model_channels) for mult in channel_mult]
        self.sides = [image_size >> level for level in range(len(channel_mult))]
        _check(image_size, self.widths, num_groups)
        self._scale_shift, self._dropout, self._groups = use_scale_shift_norm, dropout, num_groups
        self._attended, self._head_channels = set(attention_resolutions), num_head_channels
        self._num_heads, self._thirds = num_heads, use_new_attention_order
        self._model_channels = model_channels
        self._emb_channels, self._z_channels = 4 * model_channels, z_channels
        self.time_embed: nn.Module = nn.Sequential(
            nn.Linear(model_channels, self._emb_channels),
            nn.SiLU(),
            nn.Linear(self._emb_channels, self._emb_channels),
        )

        channels = self.widths[0]
        self.input_blocks = nn.ModuleList([Block([nn.Conv2d(in_channels, channels, 3, padding=1)])])
        self._skips = [channels]
        for level, (width, side) in enumerate(zip(self.widths, self.sides, strict=True)):
            for _ in range(num_res_blocks):
                self.input_blocks.append(Block([self._res(channels, width), *self._attend(width, side)]))
                channels = width
                self._skips.append(width)
            if level < len(self.widths) - 1:
                self.input_blocks.append(
                    Block([self._res(width, width, halve) if resblock_updown else Downsample(width)])
                )
                self._skips.append(width)
        self.middle_block = Block(
            [
                self._res(channels, channels),
                self._attention(channels),
                self._res(channels, channels),
            ]
        )

    def _res(self, channels: int, out_channels: int, resample: Resample | None = None) -> ResBlock:
        return ResBlock(
            channels,
            self._emb_channels,
            out_channels,
            self._scale_shift,
            self._dropout,
            self._groups,
            resample,
            self._z_channels,
        )

    def _attend(self, width: int, side: int) -> Iterator[AttentionBlock]:
        if side in self._attended:
            yield self._attention(width)

    def _attention(self, width: int) -> AttentionBlock:
        heads = self._num_heads
        if heads is not None and width % heads:
            raise ConfigError(
                f"num_heads={heads} does not divide a width of {width} channels with attention."
            )
        head_channels = self._head_channels if heads is None else width // heads
        return AttentionBlock(width, head_channels, self._groups, self._thirds)

    def embed(self, times: Tensor) -> Tensor:
        """Time embedding (b, e), e = 4 model_channels, of times (b,), in the network's precision."""
        features = time_features(times, self._model_channels)
        return self.time_embed(features.to(next(self.time_embed.parameters()).dtype))

    def down(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """The feature maps of all input blocks, the middle block's last."""
        maps = []
        for block in self.input_blocks:
            x = block(x, emb)
            maps.append(x)
        return [*maps, self.middle_block(x, emb)]


class Denoiser(Encoder):
    """The whole way: down, the middle, and up again beside the maps of the way down. Arguments as of `UNet`."""

    def __init__(
        self,
        image_size: int,
        model_channels: int,
        in_channels: int,
        out_channels: int,
        num_res_blocks: int,
        channel_mult: Sequence[float],
        attention_resolutions: Sequence[int],
        num_head_channels: int,
        resblock_updown: bool,
        use_scale_shift_norm: bool,
        dropout: float,
        num_groups: int,
        z_channels: int = 0,
        num_heads: int | None = None,
        use_new_attention_order: bool = False,
    ) -> None:
        super().__init__(
            image_size,
            model_channels,
            in_channels,
            num_res_blocks,
            channel_mult,
            attention_resolutions,
            num_head_channels,
            resblock_updown,
            use_scale_shift_norm,
            dropout,
            num_groups,
            z_channels,
            num_heads,
            use_new_attention_order,
        )
        self.output_blocks = nn.ModuleList()
        skips, channels = list(self._skips), self.widths[-1]
        for level in reversed(range(len(self.widths))):
            width = self.widths[level]
            for last in [False] * num_res_blocks + [level > 0]:
                layers: list[nn.Module] = [
                    self._res(channels + skips.pop(), width),
                    *self._attend(width, self.sides[level]),
                ]
                if last:
                    layers.append(self._res(width, width, double) if resblock_updown else Upsample(width))
                self.output_blocks.append(Block(layers))
                channels = width
        self.out = nn.Sequential(
            nn.GroupNorm(num_groups, channels),
            nn.SiLU(),
            zero(nn.Conv2d(channels, out_channels, 3, padding=1)),
        )

    def predict(self, x: Tensor, emb: Tensor) -> Tensor:
        """(b, in_channels, H, W) and embeddings (b, e + z) -> (b, out_channels, H, W)."""
        *skips, h = self.down(x, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        return self.out(h)


class UNet(Denoiser):
    """ADM's U-Net.

    Args:
        image_size: side of the images, pixels; divisible by 2^(levels - 1).
        model_channels: base width; the width of each level must be a multiple of `num_groups`.
        in_channels: of the images.
        out_channels: 3 for the noise, 6 for the noise and the variance's interpolation.
        num_res_blocks: residual blocks per level on the way down; one more on the way up.
        channel_mult: width of each level over `model_channels`, finest level first.
        attention_resolutions: sides of the feature maps (pixels, not ratios) that have attention.
        num_head_channels: channels per attention head.
        resblock_updown: resample in residual blocks instead of in convolutions.
        use_scale_shift_norm: adaptive group norm.
        num_classes: of class labels; None for an unconditional model.
        dropout: rate in the residual blocks, for training.
        num_groups: of every group norm. As many groups as channels would take the mean colour from a narrow network.
        num_heads: of every attention, whatever its width, in place of `num_head_channels`: 4 in the 128-px checkpoint.
        use_new_attention_order: as the released flag; true for the 64-px checkpoint. No shape tells.

    References: Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, section 3; the flags
        of each checkpoint in the README of openai/guided-diffusion.
    """

    def __init__(
        self,
        image_size: int,
        model_channels: int,
        in_channels: int = 3,
        out_channels: int = 3,
        num_res_blocks: int = 2,
        channel_mult: Sequence[float] = (1, 2, 4, 8),
        attention_resolutions: Sequence[int] = (32, 16, 8),
        num_head_channels: int = 64,
        resblock_updown: bool = True,
        use_scale_shift_norm: bool = True,
        num_classes: int | None = None,
        dropout: float = 0.0,
        num_groups: int = 32,
        num_heads: int | None = None,
        use_new_attention_order: bool = False,
    ) -> None:
        super().__init__(
            image_size,
            model_channels,
            in_channels,
            out_channels,
            num_res_blocks,
            channel_mult,
            attention_resolutions,
            num_head_channels,
            resblock_updown,
            use_scale_shift_norm,
            dropout,
            num_groups,
            num_heads=num_heads,
            use_new_attention_order=use_new_attention_order,
        )
        if num_classes is not None:
            self.label_emb = nn.Embedding(num_classes, self._emb_channels)
        self.num_classes = num_classes

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None = None) -> Tensor:
        """The network's output (b, out_channels, H, W).

        Args:
            x: noisy images (b, in_channels, H, W), in the weights' precision.
            times: (b,), table indices.
            labels: (b,) integers, for a class-conditional network and for no other.
        """
        emb = self.embed(times)
        if (labels is None) != (self.num_classes is None):
            raise ConfigError(
                f"UNet(num_classes={self.num_classes}) called "
                + ("without labels" if labels is None else "with labels")
                + "; a class-conditional network needs labels and no other takes them."
            )
        if labels is not None:
            emb = emb + self.label_emb(labels)
        return self.predict(x, emb)


class EncoderUNet(Encoder):
    """ADM's noisy classifier: the way down of the U-Net and attention pooling.

    Args:
        image_size: side of the images, pixels.
        model_channels: base width.
        in_channels: of the images.
        out_channels: number of classes.
        num_res_blocks: residual blocks per level.
        channel_mult: width of each level over `model_channels`.
        attention_resolutions: sides of the feature maps that have attention, pixels.
        num_head_channels: channels per attention head.
        resblock_updown: resample in residual blocks instead of in convolutions.
        use_scale_shift_norm: adaptive group norm.
        dropout: rate in the residual blocks, for training.
        num_groups: of every group norm. As many groups as channels would take the mean colour from a narrow network.

    References: Dhariwal & Nichol 2021, section 4 and appendix I.
    """

    def __init__(
        self,
        image_size: int,
        model_channels: int,
        out_channels: int,
        in_channels: int = 3,
        num_res_blocks: int = 2,
        channel_mult: Sequence[float] = (1, 2, 4, 8),
        attention_resolutions: Sequence[int] = (32, 16, 8),
        num_head_channels: int = 64,
        resblock_updown: bool = True,
        use_scale_shift_norm: bool = True,
        dropout: float = 0.0,
        num_groups: int = 32,
    ) -> None:
        super().__init__(
            image_size,
            model_channels,
            in_channels,
            num_res_blocks,
            channel_mult,
            attention_resolutions,
            num_head_channels,
            resblock_updown,
            use_scale_shift_norm,
            dropout,
            num_groups,
        )
        width, side = self.widths[-1], self.sides[-1]
        self.out = nn.Sequential(
            nn.GroupNorm(num_groups, width),
            nn.SiLU(),
            AttentionPool(side, width, num_head_channels, out_channels),
        )

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        """Logits (b, out_channels) of noisy images x (b, in_channels, H, W) at times (b,)."""
        return self.out(self.down(x, self.embed(times))[-1])


def _check(image_size: int, widths: Sequence[int], groups: int) -> None:
    """Group norm and halving need round numbers."""
    rounded = [width for width in widths if width % groups]
    if rounded:
        raise ConfigError(
            f"model_channels x channel_mult gives widths {rounded}; allowed: multiples of num_groups={groups}."
        )
    halvings = len(widths) - 1
    if image_size % (1 << halvings):
        raise ConfigError(
            f"image_size={image_size} cannot be halved {halvings} times for {len(widths)} levels; "
            f"choose a multiple of {1 << halvings}, or fewer levels in channel_mult."
        )
