"""The study behind a table: experiments/<paper>/<name>.yaml with a `study` instead of a sweep."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from guidebench.errors import ConfigError
from guidebench.runner.components import check
from guidebench.runner.job import Job
from guidebench.runner.suggest import suggestion
from guidebench.runner.sweeps import document
from guidebench.studies.base import Study

DEFAULT_SIZE = "paper"
_PATHS = ("paths.results", "paths.tables")


@dataclass(frozen=True)
class LoadedStudy:
    """A study with its tables.

    Args:
        name: `paper/name`.
        study: instantiated, not yet run.
        layouts: of its tables by name, for `report.spec.parse_spec`.
        size: which was chosen.
        asked: the user's overrides of the study.
        folder: where tables and figures go.
    """

    name: str
    study: Study
    layouts: dict[str, dict[str, Any]]
    size: str
    asked: tuple[str, ...]
    folder: Path

    @property
    def stem(self) -> str:
        """Beginning of the names of all files: the size stands in it where it is not the default."""
        return self.name.replace("/", "_") + (f"_{self.size}" if self.size != DEFAULT_SIZE else "")

    @property
    def labels(self) -> dict[str, str]:
        """What was computed, for headings. Nothing is approximated by a smaller model: the suite is full."""
        labels = {"suite": "full", "size": self.size, **self.study.setting}
        return labels | ({"overrides": " ".join(self.asked)} if self.asked else {})


def load(name: str, overrides: Sequence[str] = ()) -> LoadedStudy:
    """A study, composed and checked.

    Args:
        name: `paper/name`.
        overrides: `size=…`, `study.<key>=…`, `paths.results=…` and `paths.tables=…`.

    Raises:
        ConfigError: an override is wrong, or the size is not declared.
    """
    content = document(name)
    asked = dict(override.partition("=")[::2] for override in overrides)
    for key in asked:
        if key != "size" and key not in _PATHS and not key.startswith("study."):
            near = suggestion(key, ["size", *_PATHS, *(f"study.{known}" for known in content["study"])])
            raise ConfigError(
                f"{key}: a study has no such key; {near}allowed: size, study.*, {', '.join(_PATHS)}"
            )
    size = asked.get("size", DEFAULT_SIZE)
    if size not in content["sizes"]:
        sizes = content["sizes"]
        raise ConfigError(f"size={size}: {suggestion(size, sizes)}allowed: {', '.join(sizes)}")
    of_study = [override for override in overrides if override.startswith("study.")]
    merged = OmegaConf.merge(
        {"study": content["study"]}, {"study": content["sizes"][size]}, OmegaConf.from_dotlist(of_study)
    )
    config = OmegaConf.to_container(merged, resolve=True)
    assert isinstance(config, dict)
    check(config["study"], "study")
    results = asked.get("paths.results", "results")
    folder = Path(asked.get("paths.tables", f"{results}/runs/tables"))
    job = Job({str(key): value for key, value in config.items()})
    return LoadedStudy(name, job.build("study"), content["layouts"], size, tuple(of_study), folder)
