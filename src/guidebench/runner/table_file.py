"""The YAML of a table, experiments/<paper>/<name>.yaml, beside its paper's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from guidebench.errors import ConfigError
from guidebench.report.paper import NO_PAPER, PaperNumbers, parse_numbers
from guidebench.report.spec import TableSpec, parse_spec
from guidebench.runner.folders import shipped
from guidebench.runner.suggest import suggestion

SOURCES = ("samples", "resources", "gradients")
"""What a table with jobs shows: what they make, what they take, or how true and dear their gradients are. A study is a
source too, by its `_target_`."""

_LAYOUT = {"title", "paper", "columns", "primary", "comparisons", "group_by", "cluster_by", "expected"}
_OF_JOBS = {"source", "task", "overrides", "rows", "blocks", "sizes", "costs"}
_OF_STUDIES = {"source", "sizes", "tables"}
_ROW_KEYS = {"label", "overrides", "tuned"}


@dataclass(frozen=True)
class TableFile:
    """The YAML of a table, checked.

    Args:
        name: `paper/name`.
        content: plain containers.
        papers: the sections of the paper.yaml beside it.
    """

    name: str
    content: Mapping[str, Any]
    papers: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, root: Path | None = None) -> "TableFile":
        """Read experiments/<paper>/<name>.yaml.

        Args:
            name: `paper/name`.
            root: the folder `experiments`; the shipped one without it.

        Raises:
            ConfigError: there is no such table, or its keys are wrong.
        """
        root = root or shipped("experiments")
        if name not in table_names(root):
            near = suggestion(name, table_names(root))
            raise ConfigError(f"table {name!r}: there is none; {near}allowed: {', '.join(table_names(root))}")
        path = root / f"{name}.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = cls(name, content, _papers(path.parent / "paper.yaml"))
        found._check(path)
        return found

    def _check(self, path: Path) -> None:
        keys = set(self.content)
        allowed, needed = (
            (_OF_STUDIES, _OF_STUDIES)
            if self.is_study
            else (_LAYOUT | _OF_JOBS, {"title", "task", "rows", "columns", "sizes"})
        )
        if not needed <= keys <= allowed:
            raise ConfigError(
                f"{path}: has the keys {', '.join(sorted(keys))}; it must have {', '.join(sorted(needed))} and may "
                f"have {', '.join(sorted(allowed - needed)) or 'no other'}"
            )
        if not self.is_study and self.content.get("source", SOURCES[0]) not in SOURCES:
            raise ConfigError(
                f"{path}: source: got {self.content['source']!r}; allowed: {', '.join(SOURCES)}, or a study's _target_"
            )
        for row, entry in {} if self.is_study else self.content["rows"].items():
            if not set(entry) <= _ROW_KEYS:
                unknown = next(iter(set(entry) - _ROW_KEYS))
                raise ConfigError(
                    f"{path}: rows.{row}.{unknown}: {suggestion(unknown, _ROW_KEYS)}allowed: "
                    f"{', '.join(sorted(_ROW_KEYS))}"
                )

    @property
    def is_study(self) -> bool:
        """Whether its records are computed in one process instead of by jobs."""
        return isinstance(self.content.get("source"), dict)

    @property
    def specs(self) -> dict[str, TableSpec]:
        """The layouts by the suffix of their files: one, or those of a study, the main one first."""
        if not self.is_study:
            layout = {key: self.content[key] for key in _LAYOUT & set(self.content)}
            return {"": self._spec(layout | {"rows": self.content["rows"], "blocks": self.blocks})}
        return {str(suffix): self._spec(layout) for suffix, layout in self.content["tables"].items()}

    @property
    def blocks(self) -> Mapping[str, Sequence[str]]:
        """Overrides by the name of a block; none where the table is one."""
        found: Mapping[str, Sequence[str]] = self.content.get("blocks", {})
        return found

    def _spec(self, layout: Mapping[str, Any]) -> TableSpec:
        section = layout.get("paper")
        if section is not None and section not in self.papers:
            raise ConfigError(
                f"table {self.name}: paper: got {section!r}; {suggestion(str(section), self.papers)}allowed, of "
                f"paper.yaml: {', '.join(self.papers)}"
            )
        numbers: PaperNumbers = (
            NO_PAPER if section is None else parse_numbers(self.papers[section], f"paper.yaml: {section}")
        )
        return parse_spec({key: value for key, value in layout.items() if key != "paper"}, numbers)


def _papers(path: Path) -> Mapping[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {key: value for key, value in content.items() if isinstance(value, dict)}


def table_names(root: Path | None = None) -> list[str]:
    """Every table that can be made, as `paper/name`."""
    root = root or shipped("experiments")
    names = (path.relative_to(root).with_suffix("").as_posix() for path in root.glob("*/*.yaml"))
    return sorted(name for name in names if not name.endswith("/paper"))
