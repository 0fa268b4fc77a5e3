"""The layers of "Diffusion Models Beat GANs" and of the networks that descend from it, with their published keys."""

import math
from collections.abc import Callable

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
        return self.conv(double(x))


class ResBlock(nn.Module):
    """Two normalised convolutions with the time embedding between them, added to a skip connection.

    Args:
        channels: of the input.
        emb_channels: of the time embedding.
        out_channels: of the output.
        scale_shift: the embedding gives a scale and a shift after the second norm, instead of a term before it.
        resample: `halve`, `double`, or None: what happens to the features before the first convolution, and to
            the skip connection.
        dropout: rate before the second convolution.
        groups: of the norms.
        z_channels: of a semantic code (DiffAE) that scales once more after the time; it stands behind the time
            embedding in `emb`. 0: there is none.
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
        z_channels: int = 0,
    ) -> None:
        super().__init__()
        self.scale_shift, self.resample, self.split = scale_shift, resample, (emb_channels, z_channels)
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(emb_channels, out_channels * (2 if scale_shift else 1))
        )
        if z_channels:
            self.cond_emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(z_channels, out_channels))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            zero(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = (
            nn.Identity() if out_channels == channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(b, c, H, W) and (b, e + z) -> (b, c', H', W')."""
        norm, activation, convolution = self.in_layers
        h = activation(norm(x))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = convolution(h)
        time, code = emb.split(self.split, dim=1)
        injected = self.emb_layers(time)[:, :, None, None]
        if self.scale_shift:
            scale, shift = injected.chunk(2, dim=1)
            h = self.out_layers[0](h) * (1 + scale) + shift
        else:
            h = self.out_layers[0](h + injected)
        if code.shape[1]:
            h = h * (1 + self.cond_emb_layers(code)[:, :, None, None])
        return self.skip_connection(x) + self.out_layers[1:](h)


class AttentionBlock(nn.Module):
    """Residual self-attention over all positions.

    Args:
        channels: c, a multiple of `head_channels`.
        head_channels: channels of one head.
        groups: of the norm.
        thirds: of the 3c channels of `qkv`, the first c are all heads' q, then k, then v; otherwise each head owns one
            run of its q, k and v.
    """

    def __init__(self, channels: int, head_channels: int, groups: int, thirds: bool = False) -> None:
        super().__init__()
        self.heads, self.thirds = _heads(channels, head_channels), thirds
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = zero(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, H, W) -> (b, c, H, W)."""
        flat = x.flatten(2)
        parts = (3, self.heads, -1) if self.thirds else (self.heads, 3, -1)
        per_head = self.qkv(self.norm(flat)).unflatten(1, parts).transpose(-1, -2)
        q, k, v = per_head.unbind(1 if self.thirds else 2)
        attended = scaled_dot_product_attention(q, k, v).transpose(-1, -2).flatten(1, 2)
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
    """Layers in a row, of which the residual blocks are told the time (and the semantic code)."""

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """(b, c, H, W) and (b, e + z) -> (b, c', H', W')."""
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


def halve(x: Tensor) -> Tensor:
    """Means over squares of two by two."""
    return avg_pool2d(x, 2)


def double(x: Tensor) -> Tensor:
    """Every pixel as a square of two by two."""
    return interpolate(x, scale_factor=2, mode="nearest")


def zero(module: nn.Module) -> nn.Module:
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
