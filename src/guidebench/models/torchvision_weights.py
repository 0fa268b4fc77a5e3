"""Torchvision's published weights, without unpickling and with the checksum that their address carries."""

import re
from typing import Any

from guidebench.errors import WeightsError
from guidebench.models.checkpoints import Checkpoint

_CHECKSUM = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


def published(architecture: str, pretrained: str) -> Any:
    """Torchvision's description of some weights: their address, classes and transforms.

    Raises:
        WeightsError: torchvision has no such weights.
    """
    from torchvision import models

    try:
        return models.get_model_weights(architecture)[pretrained]
    except (ValueError, KeyError) as error:
        raise WeightsError(
            f"torchvision knows no weights {pretrained!r} for {architecture!r}; "
            "`torchvision.models.list_models()` and `get_model_weights(name)` list them."
        ) from error


def checkpoint(architecture: str, pretrained: str) -> Checkpoint:
    """Where these weights come from.

    Raises:
        WeightsError: as for `published`.
    """
    address = published(architecture, pretrained).url
    checksum = _CHECKSUM.search(address)
    return Checkpoint(address, {}, checksum and checksum[1])
