"""One job: a composed configuration, resolved once, checked, and the components that it names."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from guidebench.errors import ConfigError
from guidebench.runner.components import build, check
from guidebench.runner.identity import digest, generation_identity, job_identity
from guidebench.runner.interpolation import refuse_resolvers
from guidebench.runner.schema import RunConfig
from guidebench.runner.suggest import suggestion

COMPONENTS = ("model", "dataset", "loss", "sampler", "method", "gradient", "logger")
"""Top-level nodes that are one component each; `metrics` and `networks` hold several."""


@dataclass(frozen=True)
class Job:
    """A checked configuration; nothing is loaded yet.

    Args:
        config: the resolved configuration as plain containers.
    """

    config: dict[str, Any]

    @classmethod
    def from_config(cls, cfg: DictConfig) -> "Job":
        """Resolve and check a composed configuration.

        Raises:
            ConfigError: a value is missing, does not resolve or is out of range, or a component's keys do not fit its
                class.
        """
        refuse_resolvers(cfg)
        try:
            config: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            told = str(error).partition("\n")[0]
            raise ConfigError(f"{getattr(error, 'full_key', None) or 'configuration'}: {told}") from error
        job = cls({str(key): value for key, value in config.items()})
        check_run(job.config)
        for path, node in job.components():
            check(node, path)
        return job

    @property
    def seeds(self) -> list[int]:
        """The seeds of the job's cases: `seed` is one, or a list of them."""
        seed = self.config["seed"]
        return list(seed) if isinstance(seed, list) else [seed]

    @property
    def seeds_text(self) -> str:
        """The seeds in words, runs of them shortened: "0-3,7"."""
        runs: list[list[int]] = []
        for seed in sorted(self.seeds):
            if runs and seed == runs[-1][-1] + 1:
                runs[-1].append(seed)
            else:
                runs.append([seed])
        return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)

    @property
    def run_id(self) -> str:
        """Tells this job from every other one, wherever and however it runs."""
        return digest(job_identity(self.config))

    def components(self) -> Iterator[tuple[str, Any]]:
        """Config path and node of every component."""
        for name in COMPONENTS:
            yield name, self.config[name]
        for group in ("metrics", "networks"):
            for name, node in self.config[group].items():
                yield f"{group}.{name}", node

    def build(self, path: str) -> Any:
        """Build the component at a path ("model", "networks.guide_clip"); collaborators arrive in calls."""
        node: Any = self.config
        for key in path.split("."):
            node = node[key]
        return build(node, path)

    def metrics(self) -> dict[str, Any]:
        """The metrics by name."""
        return {name: build(node, f"metrics.{name}") for name, node in self.config["metrics"].items()}

    def generation_config(self, fingerprints: Mapping[str, str]) -> dict[str, Any]:
        """What samples of this job depend on beside their problems (`identity.generation_identity`)."""
        return generation_identity(self.config, fingerprints, self.build("method").uses)


def check_run(config: Mapping[str, Any]) -> None:
    """Hold the keys of a run that are no components against what is allowed.

    Raises:
        ConfigError: an unknown key, or a value outside its range.
    """
    known = [field.name for field in fields(RunConfig)]
    for key in config:
        if key not in known:
            raise ConfigError(f"{key}: no such key; {suggestion(key, known)}there are {', '.join(known)}")
    for path, (allowed, fits) in _RANGES.items():
        node: Any = config
        for key in path.split("."):
            node = node.get(key) if isinstance(node, Mapping) else None
        if node is not None and not fits(node):
            raise ConfigError(f"{path}: got {node!r}; allowed: {allowed}")
    _check_device(config["device"])


def _check_device(name: str) -> None:
    import torch

    if name == "auto":
        return
    kind, _, index = name.partition(":")
    there = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }
    usable = [device for device, count in there.items() if count]
    if kind not in there or (index and not index.isdecimal()):
        raise ConfigError(f"device: got {name!r}; allowed: auto, cpu, cuda, cuda:N, mps")
    if int(index or 0) >= there[kind]:
        raise ConfigError(
            f"device: got {name!r}, which this machine has not; here: auto, {', '.join(usable)}"
        )


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _seeds(value: Any) -> bool:
    seeds = value if isinstance(value, list) else [value]
    plain = all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 for seed in seeds)
    return plain and 0 < len(seeds) == len(set(seeds))


_RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "seed": ("a whole number from 0, or a list of different ones", _seeds),
    "n_steps": ("a whole number from 1", _count),
    "method.n_opt": ("a whole number from 0", lambda value: value == 0 or _count(value)),
    "batch_size": ("a whole number from 1", _count),
    "dataset.limit": ("a whole number from 1, or null for all", _count),
    "cfg_scale": (
        "a number from 0: 0 is unconditional, 1 plain conditional sampling",
        lambda value: math.isfinite(value) and value >= 0,
    ),
    "memory_budget_gb": ("a number from 0, or null", lambda value: value >= 0),
    "checkpoint_seconds": ("a number from 0", lambda value: value >= 0),
    "paths.results": ("a folder", lambda value: bool(value.strip())),
    "paths.tables": ("a folder", lambda value: bool(value.strip())),
}
"""Allowed values of keys that are no components, in words and as a test."""
