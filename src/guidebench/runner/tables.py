"""A table composed: the jobs of its rows and blocks, or its study; nothing has run."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from guidebench.errors import ConfigError
from guidebench.report.spec import RowSpec, TableSpec
from guidebench.runner.components import check
from guidebench.runner.compose import compose_config, expand, merge, parse
from guidebench.runner.interpolation import refuse_resolvers
from guidebench.runner.job import Job
from guidebench.runner.suggest import suggestion
from guidebench.runner.table_file import SOURCES, TableFile

if TYPE_CHECKING:
    from guidebench.studies.base import Study

_OF_THE_MACHINE = (
    "paths.",
    "device=",
    "batch_size=",
    "memory_budget_gb=",
    "logger",
    "save_latents=",
    "retry_failed=",
    "checkpoint",
)
"""Overrides that say where and how to run, not what: neither a table nor the name of its files mentions them."""


@dataclass(frozen=True)
class RowJob:
    """The job of one row in one block, with all its seeds.

    Args:
        row: name of the row.
        block: name of the block; "" where the table has none.
        job: composed and checked.
        overrides: what it was composed of.
    """

    row: str
    block: str
    job: Job
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        """Short name for logs and messages."""
        return ", ".join(filter(None, [self.row, self.block]))


@dataclass(frozen=True)
class ComposedTable:
    """A table with what fills it; nothing has run.

    Args:
        file: its YAML.
        specs: layouts by suffix, with the chosen rows alone.
        size: which was chosen.
        asked: the user's own overrides.
        jobs: one per row and block; none of a study.
        study: instantiated; None of a table with jobs.
        tables: where its files go.
        results: where everything goes.
    """

    file: TableFile
    specs: Mapping[str, TableSpec]
    size: str
    asked: tuple[str, ...]
    jobs: tuple[RowJob, ...]
    study: "Study | None"
    tables: Path
    results: Path

    @property
    def name(self) -> str:
        """`paper/name`."""
        return self.file.name

    @property
    def source(self) -> str:
        """Of the table's records: one of `SOURCES`, or "study"."""
        return "study" if self.study else str(self.file.content.get("source", SOURCES[0]))

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the first job, for what all jobs share."""
        return self.jobs[0].job.config

    @property
    def root(self) -> Path:
        """Folder of the store."""
        return self.results / "runs"

    @property
    def costs(self) -> str:
        """What the paper's own run costs in this suite, in words; empty where it is not known."""
        return str(self.file.content.get("costs", {}).get(self.config["suite"], "")) if self.jobs else ""

    @property
    def changed(self) -> tuple[str, ...]:
        """The user's overrides that change what is computed."""
        return tuple(o for o in self.asked if not o.startswith((*_OF_THE_MACHINE, "suite=", "size=")))

    @property
    def stem(self) -> str:
        """Beginning of the names of all files: suite and size where they are not the defaults, and a short hash of
        what the user changed, so that no run replaces the table of another.
        """
        parts = [self.name.replace("/", "_")]
        parts += [self.config["suite"]] if self.jobs and self.config["suite"] != "embedded" else []
        parts += [self.size] if self.size != self.default_size else []
        if self.changed:
            parts.append(hashlib.sha256("\n".join(sorted(self.changed)).encode()).hexdigest()[:6])
        return "_".join(parts)

    @property
    def default_size(self) -> str:
        """The size without `size=`."""
        return _default_size(self.file)

    @cached_property
    def labels(self) -> dict[str, str]:
        """What was run, for headings: what all jobs share, what was tuned, and what the user changed."""
        if self.study:  # nothing is approximated by a smaller model: the suite is full
            labels = {"suite": "full", "size": self.size, **self.study.setting}
        else:
            labels = {"suite": self.config["suite"], "size": self.size, **self._shared()}
            labels |= {"tuned": "; ".join(filter(None, map(self._tuned, self.specs[""].rows)))}
        return {k: v for k, v in labels.items() if v} | (
            {"overrides": " ".join(self.changed)} if self.changed else {}
        )

    def _shared(self) -> dict[str, str]:
        configs = [entry.job.config for entry in self.jobs]
        described = {
            "model": [_model(config) for config in configs],
            "sampler": [
                f"{_class(config['sampler'])} {config['sampler']['n_steps']} steps" for config in configs
            ],
            "cfg scale": [f"{config['cfg_scale']:g}" for config in configs],
        }
        return {key: values[0] if len(set(values)) == 1 else "varies" for key, values in described.items()}

    def _tuned(self, row: RowSpec) -> str:
        keys = _tuned_keys(self.file.content["rows"][row.name])
        if not keys:
            return ""
        entry = next(entry for entry in self.jobs if entry.row == row.name)
        values = [override for override in entry.overrides if override.partition("=")[0] in keys]
        return f"{row.label} {', '.join(values) or 'nothing in this suite'}"


def _class(node: Mapping[str, Any]) -> str:
    return str(node["_target_"]).rpartition(".")[2]


def _model(config: Mapping[str, Any]) -> str:
    model = config["model"]
    return str(model.get("source", _class(model))) + " (random weights)" * config["random_weights"]


def compose_table(name: str, overrides: Sequence[str] = (), root: Path | None = None) -> ComposedTable:
    """A table with its jobs, or its study, composed and checked.

    Args:
        name: `paper/name`.
        overrides: the user's, which win over the table's own. What was tuned for some rows is changed in those alone.
            `rows=a,b` chooses rows, `blocks=` blocks; of a study `size=…`, `source.<key>=…` and `paths.…=…`.
        root: the folder `experiments`; the shipped one without it.

    Raises:
        ConfigError: an override is wrong, the size or a row is not declared, or an override would make rows alike.
    """
    file = TableFile.read(name, root)
    chosen = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    size, sizes = chosen.get("size", _default_size(file)), file.content["sizes"]
    if size not in sizes:
        raise ConfigError(f"size={size}: {suggestion(size, sizes)}allowed: {', '.join(sizes)}")
    return (_study if file.is_study else _jobs)(file, size, overrides)


def _default_size(file: TableFile) -> str:
    return "paper" if file.is_study else "small"


def _study(file: TableFile, size: str, overrides: Sequence[str]) -> ComposedTable:
    paths = ("paths.results", "paths.tables")
    asked = dict(override.partition("=")[::2] for override in overrides)
    for key in asked:
        if key != "size" and key not in paths and not key.startswith("source."):
            known = [*paths, "size", *(f"source.{name}" for name in file.content["source"])]
            raise ConfigError(
                f"{key}: a study has no such key; {suggestion(key, known)}allowed: size, source.*, {', '.join(paths)}"
            )
    own = [override for override in overrides if override.startswith("source.")]
    merged = OmegaConf.merge(
        {"source": file.content["source"]},
        {"source": file.content["sizes"][size]},
        OmegaConf.from_dotlist(own),
    )
    refuse_resolvers(merged)
    config = OmegaConf.to_container(merged, resolve=True)
    assert isinstance(config, dict)
    check(config["source"], "source")
    results = Path(asked.get("paths.results", "results"))
    tables = Path(asked.get("paths.tables", results / "runs" / "tables"))
    study = Job({str(key): value for key, value in config.items()}).build("source")
    return ComposedTable(file, file.specs, size, tuple(overrides), (), study, tables, results)


def _jobs(file: TableFile, size: str, overrides: Sequence[str]) -> ComposedTable:
    content = file.content
    rows, overrides, picked_rows = _picked("rows", content["rows"], overrides)
    blocks, overrides, picked_blocks = _picked("blocks", file.blocks or {"": []}, overrides)
    ours = {override.get_key_element().lstrip("+~") for override in parse(overrides)}
    _refuse_what_tells_apart(file, rows, blocks, ours)
    suite = next((str(o.value()) for o in parse(overrides) if o.key_or_group == "suite"), "embedded")
    tuned_keys = {key for entry in rows.values() for key in _tuned_keys(entry)}
    jobs = []
    for block in blocks:
        for row, entry in rows.items():
            shared = [f"task={content['task']}", *content.get("overrides", ())]
            layers = [shared, [f"size={size}"], content["sizes"][size], blocks[block], entry["overrides"]]
            tuned = entry.get("tuned", {}).get(suite, [])
            elsewhere = tuned_keys - _tuned_keys(entry)  # what the user tunes does not concern the other rows
            asked = [o for o in overrides if o.partition("=")[0] not in elsewhere]
            composed = _seeds_together(merge(*layers, tuned, asked))
            job = Job.from_config(compose_config(composed))
            jobs.append(RowJob(row, block, job, tuple(composed)))
    spec = file.specs[""]
    spec = dataclasses.replace(
        spec,
        rows=tuple(row for row in spec.rows if row.name in rows),
        comparisons=tuple(c for c in spec.comparisons if c.row in rows and c.against in rows),
        blocks=tuple(block for block in blocks if block),
    )
    paths = {key: Path(jobs[0].job.config["paths"][key]) for key in ("tables", "results")}
    own = (*overrides, *picked_rows, *picked_blocks)
    return ComposedTable(file, {"": spec}, size, own, tuple(jobs), None, **paths)


def _tuned_keys(row: Mapping[str, Any]) -> set[str]:
    return {override.partition("=")[0] for chosen in row.get("tuned", {}).values() for override in chosen}


def _picked(
    key: str, declared: Mapping[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """The rows or blocks that `rows=a,b` names, all without it; the other overrides; and that override itself."""
    own = [override for override in overrides if override.startswith(f"{key}=")]
    others = [override for override in overrides if override not in own]
    if not own:
        return dict(declared), others, []
    names = [name for name in own[-1].partition("=")[2].strip("[]'\"").split(",") if name]
    for name in names:
        if name not in declared:
            raise ConfigError(
                f"{key}={name}: the table has no such one; {suggestion(name, declared)}allowed: {', '.join(declared)}"
            )
    return {name: entry for name, entry in declared.items() if name in names}, others, own[-1:]


def _refuse_what_tells_apart(
    file: TableFile, rows: Mapping[str, Any], blocks: Mapping[str, Sequence[str]], asked: set[str]
) -> None:
    """No override may say what a row or block is: the row would bear a wrong name. What was tuned may be changed."""
    says = {f"rows.{row}": entry.get("overrides", ()) for row, entry in rows.items()}
    says |= {f"blocks.{block}": own for block, own in blocks.items()} | {
        "task": [f"task={file.content['task']}"]
    }
    for where, own in says.items():
        for override in parse(own):
            key = override.get_key_element().lstrip("+~")
            if key in asked:
                choice = where.partition(".")[0]
                way_out = (
                    f"choose with {choice}={','.join(file.content.get(choice, {}))}"
                    if choice in ("rows", "blocks")
                    else "make a table of its own"
                )
                raise ConfigError(
                    f"{key}: the table {file.name} sets it itself ({where}: {override.input_line}), and would bear "
                    f"wrong names; {way_out}, or use `guidebench run`"
                )


def _seeds_together(overrides: Sequence[str]) -> list[str]:
    """`seed=range(0,3)` as the list of seeds of one job; a sweep over any other key has no room in a table."""
    found = []
    for override in parse(overrides):
        line = override.input_line or ""
        if override.is_sweep_override():
            if override.key_or_group != "seed":
                raise ConfigError(
                    f"{line}: a table cannot sweep {override.key_or_group}: its rows and blocks are declared; "
                    "make one table per value, or sweep with `guidebench run -m`"
                )
            values = [job[0].partition("=")[2] for job in expand([line])]
            line = f"seed=[{','.join(values)}]" if len(values) != 1 else f"seed={values[0]}"
        found.append(line)
    return found
