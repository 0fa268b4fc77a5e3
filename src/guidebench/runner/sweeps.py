"""The sweep behind a table: experiments/<paper>/<name>.yaml, expanded into jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from guidebench.errors import ConfigError
from guidebench.runner.compose import compose_config, expand, merge, parse, shipped
from guidebench.runner.job import Job
from guidebench.runner.suggest import suggestion

DEFAULT_SIZE = "small"
_KEYS = {"overrides", "sizes", "layout"}
_OPTIONAL = {"variants", "costs", "records"}
_RECORDS = ("samples", "resources")
_STUDY_KEYS = {"study", "sizes", "layouts"}
_OF_THE_MACHINE = ("paths.", "device", "batch_size", "memory_budget_gb", "logger")
"""Overrides that say where and how to run, not what: a table does not mention them."""


@dataclass(frozen=True)
class SweptJob:
    """One job of a sweep with what was chosen for it.

    Args:
        job: composed and checked.
        overrides: what was chosen; a variant of the table stands there by its name.
    """

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
        costs: what the paper's own run costs in this suite, in words; empty where it is not known.
        records: what fills the table: the samples of the jobs, or the resources that they take.
    """

    name: str
    layout: dict[str, Any]
    jobs: tuple[SweptJob, ...]
    asked: tuple[str, ...]
    costs: str = ""
    records: str = "samples"

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
        config, rows = self.config, self.layout["rows"]["values"]
        model, sampler = (config[name]["_target_"].rpartition(".")[2] for name in ("model", "sampler"))
        strength = {row: value for row, value in config["strength"].items() if row in rows}
        labels = {
            "suite": config["suite"],
            "size": config["size"],
            "model": config["model"].get("source", model) + " (random weights)" * config["random_weights"],
            "sampler": f"{sampler} {config['sampler']['n_steps']} steps",
            "optimisation steps": str(config["n_opt"]),
            "cfg scale": f"{config['cfg_scale']:g}",
            "strength": ", ".join(f"{row} {value:g}" for row, value in strength.items()),
        }
        if not any("n_opt" in swept.job.config["method"] for swept in self.jobs):
            del labels["optimisation steps"]
        ours = [o for o in self.asked if not o.startswith((*_OF_THE_MACHINE, "suite=", "size="))]
        return labels | ({"overrides": " ".join(ours)} if ours else {})


def table_names() -> list[str]:
    """Every table that can be made, as `paper/name`."""
    root = shipped("experiments")
    names = (path.relative_to(root).with_suffix("").as_posix() for path in root.glob("*/*.yaml"))
    return sorted(name for name in names if not name.endswith("/paper"))


def document(name: str) -> dict[str, Any]:
    """The YAML of a table: `overrides`, `sizes` and `layout`; of a study: `study`, `sizes` and `layouts`.

    A table may also have `variants`, overrides by the name of a row that stands for them where one key does not tell
    the rows apart, `costs`, by suite, what the paper's own run costs, in words, and `records: resources`, where it
    shows what the jobs take (`runner.resources`) and not what they make.

    Raises:
        ConfigError: there is no such table, or its keys are wrong.
    """
    path = shipped("experiments") / f"{name}.yaml"
    if name not in table_names():
        near = suggestion(name, table_names())
        raise ConfigError(f"table {name!r}: there is none; {near}allowed: {', '.join(table_names())}")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if content.keys() - _OPTIONAL not in (_KEYS, _STUDY_KEYS):
        raise ConfigError(
            f"{path}: has the keys {sorted(content)}; a table must have {sorted(_KEYS)} and may have "
            f"{sorted(_OPTIONAL)}, a study must have {sorted(_STUDY_KEYS)}"
        )
    if content.get("records", _RECORDS[0]) not in _RECORDS:
        raise ConfigError(f"{path}: records: got {content['records']!r}; allowed: {', '.join(_RECORDS)}")
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
    variants = content.get("variants", {})
    jobs = tuple(
        SweptJob(Job.from_config(compose_config(_spelled_out(job, row_key, variants))), tuple(job))
        for job in expand(merged)
    )
    costs = content.get("costs", {}).get(jobs[0].job.config["suite"], "")
    return Sweep(name, content["layout"], jobs, tuple(overrides), costs, content.get("records", _RECORDS[0]))


def _spelled_out(
    overrides: Sequence[str], row_key: str, variants: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    """The overrides of a job with the name of a variant replaced by what it stands for; the others win over it."""
    row = next(o.split("=", 1)[1] for o in overrides if o.split("=", 1)[0] == row_key)
    others = [o for o in overrides if o.split("=", 1)[0] != row_key]
    return merge(variants[row], others) if row in variants else overrides
