"""Compose configurations outside Hydra's own main: folders, overrides with suggestions, sweeps of jobs."""

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
from guidebench.runner.suggest import suggestion

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """The folder `conf` or `experiments`: of the checkout where there is one, else of the installed package."""
    checkout = _PACKAGE.parents[1] / name
    return (
        checkout
        if checkout.is_dir() and (_PACKAGE.parents[1] / "pyproject.toml").is_file()
        else _PACKAGE / name
    )


def parse(overrides: Sequence[str]) -> list[Override]:
    """Hydra overrides, parsed.

    Raises:
        ConfigError: one is not a valid override.
    """
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(f"override: {error}") from error


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose conf/config.yaml with Hydra overrides.

    Raises:
        ConfigError: a key, a choice or a value is wrong; says which are near.
    """
    schema.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        try:
            return compose("config", list(overrides))
        except (HydraException, OmegaConfBaseException, ValueError) as error:  # the last: a group set to null
            raise ConfigError(explain(error, overrides)) from error


def explain(error: Exception, overrides: Sequence[str]) -> str:
    """Hydra's error in one line, with the nearest allowed words."""
    message = str(error.__cause__ or error) if "Error merging override" in str(error) else str(error)
    groups = {
        p.name: sorted(q.relative_to(p).with_suffix("").as_posix() for q in p.rglob("*.yaml"))
        for p in shipped("conf").iterdir()
        if p.is_dir()
    }
    parsed = parse(overrides)
    choices = [o.input_line or "" for o in parsed if o.key_or_group in groups and not o.is_sweep_override()]
    for override in parsed:
        key = override.key_or_group
        chosen = str(override.value()) if not override.is_sweep_override() else ""
        near = ""
        nothing = override.value() is None and not override.is_delete()
        if key in groups and (f"'{key}/{chosen}'" in message or nothing):
            near = f"{suggestion(chosen, groups[key])}allowed: {', '.join(groups[key])}"
        elif re.search(rf"Could not override '{re.escape(key)}'|Key '{re.escape(key)}'", message):
            near = _siblings(key, choices)
        if near:
            return f"{override.input_line}: {message.splitlines()[0].rstrip('.')}; {near}"
    return message


def _siblings(key: str, choices: Sequence[str]) -> str:
    """What stands beside a key, once the groups are chosen, the nearest first."""
    parent, _, name = key.rpartition(".")
    config = compose_config(choices)
    node = OmegaConf.select(config, parent) if parent else config
    if not isinstance(node, DictConfig):
        return ""
    names = [str(sibling) for sibling in node if sibling != "_target_"]
    return f"{suggestion(name, names)}{parent or 'the configuration'} has {', '.join(names)}"


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """A sweep as one list of overrides per job: `method=none,doodl seed=range(0,2)` is four jobs."""
    try:
        batches = BasicSweeper.split_arguments(parse(overrides), max_batch_size=None)
    except HydraException as error:
        raise ConfigError(f"sweep: {error}") from error
    return [list(job) for batch in batches for job in batch]


def merge(*layers: Sequence[str]) -> list[str]:
    """Overrides with later layers winning over earlier ones of the same key."""
    by_key: dict[str, str] = {}
    for override in (o for layer in layers for o in parse(layer)):
        key = override.get_key_element().lstrip("+~")
        by_key.pop(key, None)
        by_key[key] = override.input_line or ""
    return list(by_key.values())
