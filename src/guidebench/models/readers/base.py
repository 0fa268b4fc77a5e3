"""What every network that reads samples offers, whatever it makes of them."""

from abc import ABC, abstractmethod

import torch


class Reader(ABC):
    """A frozen network; loaded at the first call, and shared by all adapters with equal settings."""

    @property
    @abstractmethod
    def network_id(self) -> str:
        """Names the weights; equal ids mean the same network, which must not guide and judge at once."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Identifies the contents of the weights; follows files, and downloads nothing that has a checksum."""

    @abstractmethod
    def load(self, device: torch.device | str) -> None:
        """Read the weights now instead of at the first call.

        Raises:
            WeightsError: they are missing, damaged, or do not fit the architecture.
        """
