"""The U-Net and the noisy classifier of "Diffusion Models Beat GANs", in the key layout of their checkpoints.

`UNet` has the parameter names and shapes of OpenAI's `256x256_diffusion_uncond.pt` and its siblings, `EncoderUNet`
those of `256x256_classifier.pt`, so that the published files load strictly. Small instances serve as embedded models.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, scaled_dot_product_attention

from guidebench.errors import ConfigError

Resample = Callable[[Tensor], Tensor]


def time_features(times: Tensor, dim: int) -> Tensor:
    """Cosines, then sines, of t at dim/2 frequencies falling geometrically from 1 towards 1e-4.

    Args:
        times: (b,).
        dim: even.

    Returns:
        (b, dim), float32.
    """
    exponents = torch.arange(dim // 2, device=times.device, dtype=torch.float32) / (dim // 2)
    angles = times.float()[:, None] * torch.exp(-math.log(10_000.0) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class Downsample(nn.Module):
    """Halves height and width by a strided convolution: key `op`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, H, W) -> (b, c, H/2, W/2)."""
        return self.op(x)


class Upsample(nn.Module):
    """Doubles height and width by repetition and a convolution: key `conv`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, H, W) -> (b, c, 2H, 2W)."""
        return self.conv(_double(x))


class ResBlock(nn.Module):
    """Two normalised convolutions with the time embedding between them, added to a skip connection.

    Args:
        channels: of the input.
        emb_channels: of the time embedding.
        out_channels: of the output.
        scale_shift: the embedding gives a scale and a shift after the second norm, instead of a term before it.
        resample: `_halve`, `_double`, or None: what happens to the features before the first convolution, and to
            the skip connection.
        dropout: rate before the second convolution.
        groups: of the norms.
    """

    def __init__(
        self,
        channels: int,
        emb_channels: int,
        out_channels: int,
        scale_shift: bool,
        dropout: float,
        groups: int,
        resample: Resample | None = None,
    ) -> None:
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(emb_channels, out_channels * (2 if scale_shift else 1))
        )
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            _zero(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = (
            nn.Identity() if out_channels == channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(b, c, H, W) and (b, e) -> (b, c', H', W')."""
        norm, activation, convolution = self.in_layers
        h = activation(norm(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = convolution(h)
        injected = self.emb_layers(emb)[:, :, None, None]
        if self.scale_shift:
            scale, shift = injected.chunk(2, dim=1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + injected)
        return self.skip_connection(x) + h


class AttentionBlock(nn.Module):
    """Residual self-attention over all positions; of the 3c channels of `qkv`, each head owns one run of q, k, v.

    Args:
        channels: c, a multiple of `head_channels`.
        head_channels: channels of one head.
        groups: of the norm.
    """

    def __init__(self, channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        self.heads = _heads(channels, head_channels)
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = _zero(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, H, W) -> (b, c, H, W)."""
        flat = x.flatten(2)
        per_head = self.qkv(self.norm(flat)).unflatten(1, (self.heads, 3, -1)).transpose(-1, -2)
        attended = scaled_dot_product_attention(*per_head.unbind(2)).transpose(-1, -2).flatten(1, 2)
        return (flat + self.proj_out(attended)).unflatten(2, x.shape[2:])


class AttentionPool(nn.Module):
    """Attention of the mean over all positions, with a learned position each; q, k, v are thirds of `qkv_proj`.

    Args:
        side: height and width of the feature map.
        channels: c, a multiple of `head_channels`.
        head_channels: channels of one head.
        out_channels: of the result.
    """

    def __init__(self, side: int, channels: int, head_channels: int, out_channels: int) -> None:
        super().__init__()
        self.heads = _heads(channels, head_channels)
        self.positional_embedding = nn.Parameter(torch.randn(channels, side**2 + 1) / channels**0.5)
        self.qkv_proj = nn.Conv1d(channels, 3 * channels, 1)
        self.c_proj = nn.Conv1d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, side, side) -> (b, out)."""
        flat = x.flatten(2)
        tokens = torch.cat([flat.mean(2, keepdim=True), flat], dim=2) + self.positional_embedding
        q, k, v = self.qkv_proj(tokens).unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        pooled = scaled_dot_product_attention(q[:, :, :1], k, v)  # one query: the mean's
        return self.c_proj(pooled.transpose(-1, -2).flatten(1, 2))[:, :, 0]


class Block(nn.ModuleList):
    """Layers in a row, of which the residual blocks are told the time."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(b, c, H, W) and (b, e) -> (b, c', H', W')."""
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class _Encoder(nn.Module):
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
    ) -> None:
        super().__init__()
        self.widths = [int(mult * model_channels) for mult in channel_mult]
        self.sides = [image_size >> level for level in range(len(channel_mult))]
        _check(image_size, self.widths, num_groups)
        self._scale_shift, self._dropout, self._groups = use_scale_shift_norm, dropout, num_groups
        self._attended, self._head_channels = set(attention_resolutions), num_head_channels
        self._model_channels = model_channels
        self._emb_channels = 4 * model_channels
        self.time_embed = nn.Sequential(
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
                    Block([self._res(width, width, _halve) if resblock_updown else Downsample(width)])
                )
                self._skips.append(width)
        self.middle_block = Block(
            [
                self._res(channels, channels),
                AttentionBlock(channels, num_head_channels, num_groups),
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
        )

    def _attend(self, width: int, side: int) -> Iterator[AttentionBlock]:
        if side in self._attended:
            yield AttentionBlock(width, self._head_channels, self._groups)

    def embed(self, times: Tensor) -> Tensor:
        """Time embedding (b, 4 model_channels) of times (b,), in the network's precision."""
        features = time_features(times, self._model_channels)
        return self.time_embed(features.to(next(self.time_embed.parameters()).dtype))

    def down(self, x: Tensor, emb: Tensor) -> list[Tensor]:
        """The feature maps of all input blocks, the middle block's last."""
        maps = []
        for block in self.input_blocks:
            x = block(x, emb)
            maps.append(x)
        return [*maps, self.middle_block(x, emb)]


class UNet(_Encoder):
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

    References: Dhariwal & Nichol, "Diffusion Models Beat GANs on Image Synthesis", NeurIPS 2021, section 3.
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
        if num_classes is not None:
            self.label_emb = nn.Embedding(num_classes, self._emb_channels)
        self.num_classes = num_classes
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
                    layers.append(self._res(width, width, _double) if resblock_updown else Upsample(width))
                self.output_blocks.append(Block(layers))
                channels = width
        self.out = nn.Sequential(
            nn.GroupNorm(num_groups, channels),
            nn.SiLU(),
            _zero(nn.Conv2d(channels, out_channels, 3, padding=1)),
        )

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
        *skips, h = self.down(x, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        return self.out(h)


class EncoderUNet(_Encoder):
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


def _halve(x: Tensor) -> Tensor:
    return avg_pool2d(x, 2)


def _double(x: Tensor) -> Tensor:
    return interpolate(x, scale_factor=2, mode="nearest")


def _zero(module: nn.Module) -> nn.Module:
    """Residual branches and the output start at zero."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def _heads(channels: int, head_channels: int) -> int:
    if channels % head_channels:
        raise ConfigError(
            f"num_head_channels={head_channels} does not divide a width of {channels} channels with attention; "
            "choose a divisor of the widths of all levels in attention_resolutions and of the last level."
        )
    return channels // head_channels


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
