"""The problems a method solves: plain data, one class per kind. Methods declare which kinds they handle."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One unit of work: a case of a dataset together with the seed of its randomness.

    Args:
        case_id: identifies the case within its dataset; never contains the prompt's text.
        seed: the seed of the run.
    """

    case_id: str
    seed: int


@dataclass(frozen=True)
class TextToImage(Problem):
    """Make an image of `prompt`.

    Args:
        prompt: the text.
        category: the dataset's category, for tables that are broken down by it.
    """

    prompt: str
    category: str
