"""Embeddings of a dataset's portraits, which several components need and one computes."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.models.readers.face_recognition import FaceRecogniser
from guidebench.pixels import to_tensor
from guidebench.problems import Picture

_BATCH = 32


def embeddings(recogniser: FaceRecogniser, pictures: Sequence[Picture]) -> Tensor:
    """Embeddings of pictures, (n, d), on the CPU; once per process for equal weights and pictures.

    Cost: one forward of the recogniser per picture.
    """
    return _embeddings(_Weights(recogniser), tuple(pictures))


class _Weights:
    """A recogniser as a key: equal where the weights are."""

    def __init__(self, recogniser: FaceRecogniser) -> None:
        self.recogniser = recogniser
        self._id = (recogniser.network_id, recogniser.fingerprint())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Weights) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)


@functools.lru_cache(maxsize=16)
@torch.no_grad()
def _embeddings(weights: _Weights, pictures: tuple[Picture, ...]) -> Tensor:
    parts = (pictures[start : start + _BATCH] for start in range(0, len(pictures), _BATCH))
    return torch.cat([weights.recogniser.embed(to_tensor([p.load() for p in part])) for part in parts])
