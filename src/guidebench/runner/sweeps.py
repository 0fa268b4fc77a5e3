"""The sweep behind a table: experiments/<paper>/<name>.yaml, expanded into jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from guidebench.errors import ConfigError
from guidebench.runner.build import Job
from guidebench.runner.compose import compose_config, expand, merge, parse, shipped
from guidebench.runner.suggest import suggestion

DEFAULT_SIZE = "small"
_KEYS = {"overrides", "sizes", "layout"}


@dataclass(frozen=True)
class SweptJob:
    """One job of a sweep with what was chosen for it."""

    job: Job
    overrides: tuple[str, ...]

    def choice(self, key: str) -> str:
        """The value that the overrides give to a key."""
        return next(o.split("=", 1)[1] for o in reversed(self.overrides) if o.split("=", 1)[0] == key)

    @property
    def name(self) -> str:
        """Short name for logs and messages."""
        return " ".join(self.overrides)


def table_names() -> list[str]:
    """Every table that can be made, as `paper/name`; `paper.yaml` beside them holds the paper's own numbers."""
    root = shipped("experiments")
    found = (path for path in root.glob("*/*.yaml") if path.name != "paper.yaml")
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in found)


def load(name: str) -> dict[str, Any]:
    """The YAML of a table: `overrides`, `sizes` and `layout`.

    Raises:
        ConfigError: there is no such table, or a key is unknown.
    """
    path = shipped("experiments") / f"{name}.yaml"
    if name not in table_names():
        raise ConfigError(
            f"table {name!r}: there is none; {suggestion(name, table_names())}allowed: {', '.join(table_names())}"
        )
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if document.keys() != _KEYS:
        raise ConfigError(f"{path}: has the keys {sorted(document)}, must have {sorted(_KEYS)}")
    return document


def jobs(document: dict[str, Any], overrides: Sequence[str]) -> list[SweptJob]:
    """Every job of a table's sweep, composed and checked.

    Args:
        document: the table's YAML.
        overrides: the user's, which win over the table's own.

    Raises:
        ConfigError: an override is wrong, or the size is not declared.
    """
    size = next((str(o.value()) for o in parse(overrides) if o.key_or_group == "size"), DEFAULT_SIZE)
    if size not in document["sizes"]:
        raise ConfigError(
            f"size={size}: {suggestion(size, document['sizes'])}allowed: {', '.join(document['sizes'])}"
        )
    merged = merge(document["overrides"], [f"size={size}"], document["sizes"][size], overrides)
    return [SweptJob(Job.from_config(compose_config(job)), tuple(job)) for job in expand(merged)]
