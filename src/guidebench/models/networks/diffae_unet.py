"""The network of diffusion autoencoders, in the key layout of their checkpoints.

`AutoencoderUNet` has the parameter names and shapes of DiffAE's `ffhq256_autoenc` (one of `model.*`, `ema_model.*`):
ADM's U-Net, whose residual blocks also read a semantic code, and the encoder that reads the code from a picture.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guidebench.models.networks.adm_blocks import AttentionBlock, Resample, halve
from guidebench.models.networks.adm_unet import Denoiser


class EncoderBlock(nn.Module):
    """One normalised convolution beside a skip connection: DiffAE's residual block without conditioning.

    Args:
        channels: of the input.
        out_channels: of the output.
        groups: of the norm.
        resample: of the features before the convolution, and of the skip connection.
    """

    def __init__(
        self, channels: int, out_channels: int, groups: int, resample: Resample | None = None
    ) -> None:
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.skip_connection = (
            nn.Identity() if out_channels == channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, H, W) -> (b, c', H', W')."""
        h = self.in_layers[:2](x)
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        return self.skip_connection(x) + self.in_layers[2](h)


class SemanticEncoder(nn.Module):
    """z = E(x_0): the way down of the U-Net without a time, pooled over all positions.

    Args:
        image_size: side of the images, pixels.
        model_channels: base width.
        in_channels: of the images.
        z_channels: length of the code.
        num_res_blocks: residual blocks per level.
        channel_mult: width of each level over `model_channels`.
        attention_resolutions: sides of the feature maps that have attention, pixels.
        num_head_channels: channels per attention head.
        num_groups: of every group norm.

    References: Preechakul et al. 2022, section 3.1 and appendix B.
    """

    def __init__(
        self,
        image_size: int,
        model_channels: int,
        in_channels: int,
        z_channels: int,
        num_res_blocks: int,
        channel_mult: Sequence[float],
        attention_resolutions: Sequence[int],
        num_head_channels: int,
        num_groups: int,
    ) -> None:
        super().__init__()
        widths = [int(mult * model_channels) for mult in channel_mult]
        channels = widths[0]
        self.input_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(in_channels, channels, 3, padding=1))])
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                layers: list[nn.Module] = [EncoderBlock(channels, width, num_groups)]
                if image_size >> level in attention_resolutions:
                    layers.append(AttentionBlock(width, num_head_channels, num_groups))
                self.input_blocks.append(nn.Sequential(*layers))
                channels = width
            if level < len(widths) - 1:
                self.input_blocks.append(nn.Sequential(EncoderBlock(width, width, num_groups, halve)))
        self.middle_block = nn.Sequential(
            EncoderBlock(channels, channels, num_groups),
            AttentionBlock(channels, num_head_channels, num_groups),
            EncoderBlock(channels, channels, num_groups),
        )
        self.out = nn.Sequential(
            nn.GroupNorm(num_groups, channels),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, z_channels, 1),
            nn.Flatten(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, in_channels, H, W) -> (b, z)."""
        for block in self.input_blocks:
            x = block(x)
        return self.out(self.middle_block(x))


class TimeEmbedding(nn.Module):
    """The two layers of ADM's time embedding under DiffAE's key `time_embed.time_embed`."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.time_embed = layers

    def forward(self, features: Tensor) -> Tensor:
        """(b, model_channels) -> (b, e)."""
        return self.time_embed(features)


class AutoencoderUNet(Denoiser):
    """eps_hat(x_t, t, z) and z = encoder(x_0).

    Args:
        image_size: side of the images, pixels; divisible by 2^(levels - 1), on both ways down.
        model_channels: base width.
        z_channels: length of the semantic code.
        num_res_blocks: residual blocks per level on the ways down; one more on the way up.
        channel_mult: width of each level of the U-Net over `model_channels`, finest level first.
        encoder_channel_mult: the same of the encoder, which may have more levels.
        attention_resolutions: sides of the feature maps (pixels) that have attention.
        num_head_channels: channels per attention head; as many as the attended levels have is one head.
        dropout: rate in the U-Net's residual blocks, for training.
        num_groups: of every group norm.
        in_channels: of the images, and of the noise.

    References: Preechakul et al., "Diffusion Autoencoders: Toward a Meaningful and Decodable Representation", CVPR
        2022, section 3 and appendix B.
    """

    def __init__(
        self,
        image_size: int,
        model_channels: int,
        z_channels: int = 512,
        num_res_blocks: int = 2,
        channel_mult: Sequence[float] = (1, 1, 2, 2, 4, 4),
        encoder_channel_mult: Sequence[float] = (1, 1, 2, 2, 4, 4, 4),
        attention_resolutions: Sequence[int] = (16,),
        num_head_channels: int = 512,
        dropout: float = 0.1,
        num_groups: int = 32,
        in_channels: int = 3,
    ) -> None:
        super().__init__(
            image_size,
            model_channels,
            in_channels,
            in_channels,
            num_res_blocks,
            channel_mult,
            attention_resolutions,
            num_head_channels,
            True,
            True,
            dropout,
            num_groups,
            z_channels,
        )
        self.time_embed = TimeEmbedding(self.time_embed)
        self.encoder = SemanticEncoder(
            image_size,
            model_channels,
            in_channels,
            z_channels,
            num_res_blocks,
            encoder_channel_mult,
            attention_resolutions,
            num_head_channels,
            num_groups,
        )

    def forward(self, x: Tensor, times: Tensor, z: Tensor) -> Tensor:
        """The predicted noise (b, 3, H, W).

        Args:
            x: noisy images (b, 3, H, W), in the weights' precision.
            times: (b,), table indices.
            z: semantic codes (b, z_channels).
        """
        return self.predict(x, torch.cat([self.embed(times), z], dim=1))
