"""Prompt sets: categorised prompts in a CSV file, and prompts one by one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from guidebench.data.prompt_files import Case, fault, read_cases, tidy
from guidebench.errors import DataError
from guidebench.problems import TextToImage


class PromptSet(ABC):
    """Prompts in named categories; subclasses say where the CSV file is.

    Args:
        categories: which ones, in this order; None takes all, in the file's order.
        limit: the first n prompts of each category; None takes all.
    """

    gives: tuple[str, ...] = ("prompt", "category")

    def __init__(self, categories: Sequence[str] | None = None, limit: int | None = None) -> None:
        if limit is not None and limit < 1:
            raise DataError(
                f"dataset.limit={limit}; allowed: 1 or more prompts per category, or null for all."
            )
        self.categories = None if categories is None else list(categories)
        self.limit = limit

    @abstractmethod
    def _file(self) -> Path:
        """Where the CSV file is; may fetch it."""

    def problems(self, seeds: Sequence[int]) -> list[TextToImage]:
        """Every selected prompt with every seed, prompts outermost.

        Raises:
            DataError: the file is missing or malformed, or a category does not exist.
        """
        return [
            TextToImage(case_id, seed, prompt, category)
            for case_id, prompt, category in self.cases()
            for seed in seeds
        ]

    def cases(self) -> list[Case]:
        """The selected prompts.

        Raises:
            DataError: the file is missing or malformed, or a category does not exist.
        """
        by_category: dict[str, list[Case]] = {}
        for case in read_cases(self._file()):
            by_category.setdefault(case.category, []).append(case)
        wanted = list(by_category) if self.categories is None else [tidy(str(c)) for c in self.categories]
        unknown = [c for c in wanted if c not in by_category]
        if unknown:
            raise DataError(
                f"dataset.categories: no {unknown} in {self._file()}; allowed: {list(by_category)}."
            )
        return [case for category in wanted for case in by_category[category][: self.limit]]


class PromptList:
    """Prompts as they are given, in one category.

    Args:
        prompts: at least one, no two alike.
    """

    paper: str = ""
    gives: tuple[str, ...] = ("prompt", "category")

    def __init__(self, prompts: Sequence[str]) -> None:
        if isinstance(prompts, str) or not prompts:
            raise DataError(f"dataset.prompts={prompts!r}: allowed is a list of at least one prompt.")
        self.prompts: list[str] = []
        for index, prompt in enumerate(prompts):
            text = tidy(prompt) if isinstance(prompt, str) else ""
            wrong = fault(text) if isinstance(prompt, str) else f"is {prompt!r}, not text; put it into quotes"
            if wrong or text in self.prompts:
                raise DataError(f"dataset.prompts[{index}] {wrong or 'is given twice'}.")
            self.prompts.append(text)

    def problems(self, seeds: Sequence[int]) -> list[TextToImage]:
        """Every prompt with every seed, prompts outermost."""
        return [
            TextToImage(f"prompt-{index:03d}", seed, prompt, "prompts")
            for index, prompt in enumerate(self.prompts)
            for seed in seeds
        ]
