"""The transformer of the human motion diffusion model, in the key layout of its checkpoints."""

import math

import torch
from torch import Tensor, nn


def positions(where: Tensor, width: int) -> Tensor:
    """Sines and cosines of `where` (n,), alternating, at frequencies 10000^(-2i/width): (n, width), float32."""
    frequencies = torch.exp(
        torch.arange(0, width, 2, device=where.device, dtype=torch.float32) * (-math.log(10_000.0) / width)
    )
    angles = where.float()[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class MotionTransformer(nn.Module):
    """Predicts the clean motion from a noisy one: a token for time and text, then one for each frame.

    The parameter names and shapes are those of `humanml_trans_enc_512`; the table of positions that the file holds
    beside them is computed.

    Args:
        features: numbers per frame.
        width: of the tokens.
        layers: of the encoder.
        heads: of its attention.
        feed_forward: width inside its perceptrons.
        text_width: of the text's embedding.

    References: Tevet et al., "Human Motion Diffusion Model", ICLR 2023, section 3.
    """

    def __init__(
        self,
        features: int = 263,
        width: int = 512,
        layers: int = 8,
        heads: int = 4,
        feed_forward: int = 1024,
        text_width: int = 512,
    ) -> None:
        super().__init__()
        self.width, self.text_width = width, text_width
        self.input_process = nn.ModuleDict({"poseEmbedding": nn.Linear(features, width)})
        layer = nn.TransformerEncoderLayer(width, heads, feed_forward, dropout=0.1, activation="gelu")
        self.seqTransEncoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.embed_timestep = nn.ModuleDict(
            {"time_embed": nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))}
        )
        self.embed_text = nn.Linear(text_width, width)
        self.output_process = nn.ModuleDict({"poseFinal": nn.Linear(width, features)})

    def forward(self, x: Tensor, times: Tensor, text: Tensor) -> Tensor:
        """The clean motion, (b, frames, features).

        Args:
            x: noisy motions (b, frames, features), normalised, in the weights' precision.
            times: (b,), table indices.
            text: embeddings (b, text_width); zero for no text.
        """
        time = self.embed_timestep["time_embed"](positions(times, self.width).to(x.dtype))
        first = time + self.embed_text(text)
        tokens = torch.cat([first[:, None], self.input_process["poseEmbedding"](x)], dim=1)
        places = positions(torch.arange(tokens.shape[1], device=x.device), self.width).to(x.dtype)
        out = self.seqTransEncoder((tokens + places).transpose(0, 1)).transpose(0, 1)
        return self.output_process["poseFinal"](out[:, 1:])
