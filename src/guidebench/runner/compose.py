"""Compose configurations outside Hydra's own main: overrides with suggestions, sweeps of jobs."""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from guidebench.errors import ConfigError
from guidebench.runner import schema
from guidebench.runner.folders import shipped
from guidebench.runner.hydra_node import check_hydra
from guidebench.runner.interpolation import refuse_resolvers
from guidebench.runner.mistakes import explained, refuse_misplaced, refuse_repeats


def quoted(value: str) -> str:
    """A text as a value of an override, whatever characters it holds."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def parse(overrides: Sequence[str]) -> list[Override]:
    """Hydra overrides, parsed.

    Raises:
        ConfigError: one is not a valid override.
    """
    parser, found = OverridesParser.create(), []
    for override in overrides:
        try:
            found += parser.parse_overrides([override])
        except HydraException as error:
            key, equals, value = override.partition("=")
            way_out = (
                f'; quote the value: {key}="{quoted(value)}"' if equals and value else "; allowed: key=value"
            )
            raise ConfigError(f"override {override!r} cannot be read{way_out}") from error
    return found


def compose_config(overrides: Sequence[str], folder: Path | None = None, hydra: bool = False) -> DictConfig:
    """Compose conf/config.yaml with Hydra overrides.

    Args:
        overrides: of one job.
        folder: a copy of conf/; the shipped one without it.
        hydra: keep Hydra's own node, checked, too.

    Raises:
        ConfigError: a key, a choice or a value is wrong; says which are near.
    """
    parsed = parse(overrides)
    refuse_misplaced(parsed)
    try:
        config = _composed(overrides, folder or shipped("conf"))
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # the last: a group set to null
        raise ConfigError(explained(error, parsed, _siblings)) from error
    ours = without_hydra(config)
    refuse_resolvers(ours)
    check_hydra(config.hydra)
    return config if hydra else ours


def without_hydra(config: DictConfig) -> DictConfig:
    """A composed configuration without Hydra's own node."""
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def _composed(overrides: Sequence[str], folder: Path) -> DictConfig:
    schema.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=True)


def _siblings(parent: str, choices: Sequence[str]) -> list[str]:
    """What stands at a config path once groups are chosen; nothing where those do not go together."""
    try:
        config = _composed(choices, shipped("conf"))
    except (HydraException, OmegaConfBaseException, ValueError):
        return []
    node = OmegaConf.select(config, parent) if parent else config
    return (
        [str(name) for name in node if name not in ("_target_", "hydra")]
        if isinstance(node, DictConfig)
        else []
    )


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """A sweep as one list of overrides per job: `method=none,doodl seed=range(0,2)` is four jobs.

    Raises:
        ConfigError: there is no job in it.
    """
    parsed = parse(overrides)
    try:
        batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    except HydraException as error:
        raise ConfigError(f"sweep: {error}") from error
    jobs = [list(job) for batch in batches for job in batch]
    if not jobs:
        raise ConfigError(f"sweep: {' '.join(overrides)} is empty; give every key a value")
    return jobs


def merge(*layers: Sequence[str]) -> list[str]:
    """Overrides with later layers winning over earlier ones of the same key.

    Raises:
        ConfigError: one layer gives a key twice.
    """
    by_key: dict[str, str] = {}
    for layer in layers:
        parsed = parse(layer)
        refuse_repeats(parsed)
        for override in parsed:
            key = override.get_key_element().lstrip("+~")
            by_key.pop(key, None)
            by_key[key] = override.input_line or ""
    return list(by_key.values())
