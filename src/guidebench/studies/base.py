"""What a study declares and returns."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Args:
        records: of each table by its name, as `report.table.build_table` takes them.
        claims: a sentence for each claim of the paper: what it says, what was found, the verdict.
    """

    records: Mapping[str, pd.DataFrame]
    claims: tuple[str, ...]


class Study(ABC):
    """An experiment whose records are computed directly; the constructor takes hyper-parameters only.

    A subclass declares `paper`. The same hyper-parameters give the same findings to the last bit on one machine.
    """

    paper: str

    @abstractmethod
    def run(self, progress: Callable[[str], None]) -> Findings:
        """Compute everything.

        Args:
            progress: told what is being computed.
        """

    @abstractmethod
    def draw(self, findings: Findings, folder: Path, stem: str) -> list[Path]:
        """Write the figures as SVG files `<stem>_<figure>.svg` and return their paths."""

    @property
    @abstractmethod
    def setting(self) -> Mapping[str, str]:
        """What was computed, for the heading of its tables."""
