"""Identity loss of a morph: how far it is from both people whom it should pass for."""

from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.diffusion.random import RandomStreams
from guidebench.losses.base import Loss, Objective
from guidebench.models.readers.base import Reader
from guidebench.models.readers.face_recognition import FaceRecogniser
from guidebench.pixels import to_tensor
from guidebench.problems import Problem, field


class Identity(Loss):
    r"""L(x) = d(x, a) + d(x, b) + balance |d(x, a) - d(x, b)|,   d(x, y) = 1 - cos(F(x), F(y)).

    With balance 1, the paper's L*_ID, it is 2 max(d_a, d_b): the farther person alone pulls, and where both are
    equally far the gradient jumps from one to the other. With 0 it is the sum.

    Args:
        recogniser: F, the network that guides; a metric must use another one. Images are resized to its size within
            the graph.
        balance: weight of the difference.
        scale: multiplies the loss.

    Cost: one forward and backward of the recogniser per image; both people's pictures once per batch.

    References: Blasingame & Liu, "AdjointDEIS", NeurIPS 2024, eq. 5.1-5.2; Zhang et al., "MIPGAN", TBIOM 2021.
    """

    paper: str = "AdjointDEIS, Sec. 5"
    reads: tuple[str, ...] = ("a", "b")

    def __init__(self, recogniser: FaceRecogniser, balance: float = 1.0, scale: float = 1.0) -> None:
        self.recogniser, self.balance, self.scale = recogniser, balance, scale

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (self.recogniser,)

    def bind(self, problems: Sequence[Problem], streams: RandomStreams) -> Objective:
        with torch.no_grad():
            a, b = (
                self.recogniser.embed(
                    to_tensor([p.load() for p in field(problems, side, "loss=identity")], streams.device)
                )
                for side in ("a", "b")
            )

        def objective(images: Tensor) -> Tensor:
            embedded = self.recogniser.embed(images)
            d_a, d_b = 1 - (embedded * a).sum(1), 1 - (embedded * b).sum(1)
            return self.scale * (d_a + d_b + self.balance * (d_a - d_b).abs())

        return objective
