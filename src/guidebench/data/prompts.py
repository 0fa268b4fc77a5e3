"""Prompt sets: categorised prompts in a CSV file, and prompts one by one."""

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from guidebench.errors import DataError
from guidebench.problems import TextToImage

_PROMPT_COLUMNS, _CATEGORY_COLUMN = ("Prompt", "Prompts"), "Category"


class Case(NamedTuple):
    """One row; `case_id` is `<category>-<index within the category>`, whatever selection is made later."""

    case_id: str
    prompt: str
    category: str


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
        for case in self._all_cases():
            by_category.setdefault(case.category, []).append(case)
        wanted = list(by_category) if self.categories is None else [_tidy(c) for c in self.categories]
        unknown = [c for c in wanted if c not in by_category]
        if unknown:
            raise DataError(
                f"dataset.categories: no {unknown} in {self._file()}; allowed: {list(by_category)}."
            )
        return [case for category in wanted for case in by_category[category][: self.limit]]

    def _all_cases(self) -> list[Case]:
        file = self._file()
        if not file.is_file():
            raise DataError(
                f"No prompt file at {file}. It must be a CSV file with the columns Prompt,Category."
            )
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            columns = [column.strip() for column in reader.fieldnames or []]
            reader.fieldnames = columns
            prompt_column = next((c for c in _PROMPT_COLUMNS if c in columns), None)
            if prompt_column is None or _CATEGORY_COLUMN not in columns:
                raise DataError(
                    f"{file} has the columns {columns}; needed: Prompt (or Prompts) and Category."
                )
            rows = [(_tidy(row[prompt_column]), _tidy(row[_CATEGORY_COLUMN])) for row in reader]
        cases: list[Case] = []
        counts: dict[str, int] = {}
        for line, (prompt, category) in enumerate(rows, start=1):
            if not prompt or not category:
                raise DataError(
                    f"{file}, row {line}: prompt {prompt!r}, category {category!r}; both are needed."
                )
            slug = re.sub(r"[^a-z0-9]+", "-", category.lower()).strip("-")
            index = counts.setdefault(slug, 0)
            counts[slug] += 1
            cases.append(Case(f"{slug}-{index:03d}", prompt, category))
        return cases


class PromptList:
    """Prompts as they are given, in one category.

    Args:
        prompts: at least one, no two alike.
    """

    paper: str = ""
    gives: tuple[str, ...] = ("prompt", "category")

    def __init__(self, prompts: Sequence[str]) -> None:
        self.prompts = [] if isinstance(prompts, str) else [_tidy(prompt) for prompt in prompts]
        if not all(self.prompts) or not self.prompts or len(set(self.prompts)) < len(self.prompts):
            raise DataError(
                f"dataset.prompts={prompts!r}: allowed is a list of at least one, none empty or given twice."
            )

    def problems(self, seeds: Sequence[int]) -> list[TextToImage]:
        """Every prompt with every seed, prompts outermost."""
        return [
            TextToImage(f"prompt-{index:03d}", seed, prompt, "prompts")
            for index, prompt in enumerate(self.prompts)
            for seed in seeds
        ]


def _tidy(text: str | None) -> str:
    """Single spaces, none at the ends: DrawBench's file has `Gary Marcus et al. ` with a trailing one."""
    return " ".join((text or "").split())
