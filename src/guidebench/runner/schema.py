"""Types of the run-level configuration keys. Components are free-form here; `build.check` holds them to their class."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Paths:
    """Where output goes.

    Args:
        results: holds the store in `runs/`; moves everything.
        tables: where tables and galleries are written.
    """

    results: str = "results"
    tables: str = "${paths.results}/runs/tables"


@dataclass
class RunConfig:
    """One job. The keys that are not components."""

    suite: str = MISSING
    size: str = MISSING
    task: str | None = None
    seed: Any = 0
    n_steps: int = MISSING
    cfg_scale: float = MISSING
    batch_size: int = MISSING
    memory_budget_gb: float | None = None
    device: str = "auto"
    random_weights: bool = False
    save_latents: bool = False
    retry_failed: bool = False
    checkpoint_seconds: float = 120.0
    allow_shared_networks: bool = False
    paths: Paths = field(default_factory=Paths)

    model: Any = MISSING
    dataset: Any = MISSING
    networks: dict[str, Any] = field(default_factory=dict)
    loss: Any = MISSING
    sampler: Any = MISSING
    method: Any = MISSING
    gradient: Any = MISSING
    metrics: dict[str, Any] = field(default_factory=dict)
    logger: Any = MISSING


def register() -> None:
    """Make the schema known to Hydra; conf/config.yaml names it first."""
    ConfigStore.instance().store(name="schema", node=RunConfig)
