"""The sweep behind a table: experiments/<paper>/<name>.yaml, expanded into jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from guidebench.errors import ConfigError
from guidebench.runner.build import Job
from guidebench.runner.compose import compose_config, expand, merge, parse, shipped
from guidebench.runner.suggest import suggestion

DEFAULT_SIZE = "small"
_KEYS = {"overrides", "sizes", "layout"}
_STUDY_KEYS = {"study", "sizes", "layouts"}
_OF_THE_MACHINE = ("paths.", "device", "batch_size", "memory_budget_gb", "logger")
"""Overrides that say where and how to run, not what: a table does not mention them."""


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


@dataclass(frozen=True)
class Sweep:
    """A table with the jobs that fill it.

    Args:
        name: `paper/name`.
        layout: of the table, for `report.spec.parse_spec`.
        jobs: every job, composed and checked; they differ in the table's row key and the seed alone.
        asked: the user's own overrides.
    """

    name: str
    layout: dict[str, Any]
    jobs: tuple[SweptJob, ...]
    asked: tuple[str, ...]

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the first job, for what all jobs share."""
        return self.jobs[0].job.config

    @property
    def root(self) -> Path:
        """Folder of the store."""
        return Path(self.config["paths"]["results"]) / "runs"

    @property
    def stem(self) -> str:
        """Name of the table's files: suite and size stand in it where they are not the defaults."""
        suite, size = self.config["suite"], self.config["size"]
        parts = [
            self.name.replace("/", "_"),
            *([suite] * (suite != "embedded")),
            *([size] * (size != DEFAULT_SIZE)),
        ]
        return "_".join(parts)

    @property
    def labels(self) -> dict[str, str]:
        """What was run, for headings: what all jobs share, and what the user changed."""
        config = self.config
        labels = {
            "suite": config["suite"],
            "size": config["size"],
            "model": config["model"]["source"] + (" (random weights)" if config["random_weights"] else ""),
            "sampler": f"{config['sampler']['_target_'].rpartition('.')[2]} {config['n_steps']} steps",
            "optimisation steps": str(config["n_opt"]),
            "cfg scale": f"{config['cfg_scale']:g}",
            "strength": ", ".join(f"{method} {value:g}" for method, value in config["strength"].items()),
        }
        ours = [o for o in self.asked if not o.startswith((*_OF_THE_MACHINE, "suite=", "size="))]
        return labels | ({"overrides": " ".join(ours)} if ours else {})


def table_names() -> list[str]:
    """Every table that can be made, as `paper/name`."""
    root = shipped("experiments")
    names = (path.relative_to(root).with_suffix("").as_posix() for path in root.glob("*/*.yaml"))
    return sorted(name for name in names if not name.endswith("/paper"))


def document(name: str) -> dict[str, Any]:
    """The YAML of a table: `overrides`, `sizes` and `layout`; of a study: `study`, `sizes` and `layouts`.

    Raises:
        ConfigError: there is no such table, or its keys are wrong.
    """
    path = shipped("experiments") / f"{name}.yaml"
    if name not in table_names():
        near = suggestion(name, table_names())
        raise ConfigError(f"table {name!r}: there is none; {near}allowed: {', '.join(table_names())}")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if content.keys() not in (_KEYS, _STUDY_KEYS):
        raise ConfigError(
            f"{path}: has the keys {sorted(content)}, must have {sorted(_KEYS)}, or for a study {sorted(_STUDY_KEYS)}"
        )
    return content


def layouts(name: str) -> dict[str, dict[str, Any]]:
    """The layouts that a table's YAML declares, by the suffix of their files: one, or a study's, the main one first."""
    content = document(name)
    found: dict[str, dict[str, Any]] = content.get("layouts") or {"": content["layout"]}
    return found


def is_study(name: str) -> bool:
    """Whether a table's records are computed in one process instead of by jobs."""
    return "study" in document(name)


def load(name: str, overrides: Sequence[str] = ()) -> Sweep:
    """Every job of a table's sweep, composed and checked.

    Args:
        name: `paper/name`.
        overrides: the user's, which win over the table's own.

    Raises:
        ConfigError: an override is wrong, the size is not declared, or the sweep runs over a key that the table
            has no room for.
    """
    content = document(name)
    if is_study(name):
        raise ConfigError(
            f"table {name}: is a study, computed at once by `guidebench table {name}`; it has no jobs"
        )
    sizes, row_key = content["sizes"], content["layout"]["rows"]["key"]
    size = next((str(o.value()) for o in parse(overrides) if o.key_or_group == "size"), DEFAULT_SIZE)
    if size not in sizes:
        raise ConfigError(f"size={size}: {suggestion(size, sizes)}allowed: {', '.join(sizes)}")
    merged = merge(content["overrides"], [f"size={size}"], sizes[size], overrides)
    for override in parse(merged):
        if override.is_sweep_override() and override.key_or_group not in (row_key, "seed"):
            raise ConfigError(
                f"{override.input_line}: the table {name} compares {row_key} over seeds, so one table cannot sweep "
                f"{override.key_or_group}; make one table per value, or sweep with `guidebench run -m`"
            )
    jobs = tuple(SweptJob(Job.from_config(compose_config(job)), tuple(job)) for job in expand(merged))
    return Sweep(name, content["layout"], jobs, tuple(overrides))
