"""The networks that embed texts and motions into one space, in the key layout of their checkpoint."""

import torch
from torch import Tensor, nn


class BiGRU(nn.Module):
    """Reads a sequence in both directions; the two last states become one embedding.

    Args:
        inputs: numbers per element.
        hidden: of each direction.
        outputs: of the embedding.
        tags: number of word classes that are embedded beside the elements; 0 for none.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, tags: int = 0) -> None:
        super().__init__()
        if tags:
            self.pos_emb = nn.Linear(tags, inputs)
        self.input_emb = nn.Linear(inputs, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True, bidirectional=True)
        self.output_net = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, outputs)
        )
        self.hidden = nn.Parameter(torch.randn(2, 1, hidden))

    def forward(self, elements: Tensor, tags: Tensor | None = None) -> Tensor:
        """Embeddings (b, outputs) of sequences (b, n, inputs), with the tags of their elements (b, n, tags) if any."""
        if tags is not None:
            elements = elements + self.pos_emb(tags)
        start = self.hidden.expand(-1, len(elements), -1).contiguous()
        _, last = self.gru(self.input_emb(elements), start)
        return self.output_net(torch.cat([last[0], last[1]], dim=1))


class MovementEncoder(nn.Module):
    """Two strided convolutions over time: four frames become one movement.

    Args:
        features: numbers per frame.
        width: of the movements.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv1d(features, width, 4, 2, 1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(width, width, 4, 2, 1),
            nn.Dropout(0.2),
            nn.LeakyReLU(0.2),
        )
        self.out_net = nn.Linear(width, width)

    def forward(self, motions: Tensor) -> Tensor:
        """(b, frames, features) -> (b, frames // 4, width)."""
        return self.out_net(self.main(motions.transpose(1, 2)).transpose(1, 2))


class TextMotionMatch(nn.Module):
    """Embeddings of texts and motions whose distance is small where they belong together.

    Args:
        features: numbers per frame, without the contacts of the feet.
        word: width of the word vectors.
        tags: number of word classes.
        width: of movements, of the text's states and of the embeddings.
        motion_width: of the motion's states.

    References: Guo et al., "Generating Diverse and Natural 3D Human Motions from Text", CVPR 2022, appendix.
    """

    def __init__(
        self, features: int = 259, word: int = 300, tags: int = 15, width: int = 512, motion_width: int = 1024
    ) -> None:
        super().__init__()
        self.movement_encoder = MovementEncoder(features, width)
        self.text_encoder = BiGRU(word, width, width, tags)
        self.motion_encoder = BiGRU(width, motion_width, width)
