"""What Hydra's own node may hold: it names classes and factories that Hydra would call, so it has an allow-list too."""

from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf

from guidebench.errors import ConfigError
from guidebench.runner.interpolation import refuse_resolvers

_RESOLVERS = ("now", "hydra")
"""By which Hydra names its folders."""
_PLUGINS = ("hydra._internal.core_plugins.", "hydra_plugins.")
"""Hydra's own launchers and sweepers, and those of installed plugins."""
_LOGGING_CLASSES = (
    "logging.FileHandler",
    "logging.Formatter",
    "logging.NullHandler",
    "logging.StreamHandler",
    "logging.handlers.RotatingFileHandler",
)
_LOGGING_FACTORIES = ("colorlog.ColoredFormatter",)
_STREAMS = ("ext://sys.stdout", "ext://sys.stderr")


def check_hydra(node: DictConfig) -> None:
    """Refuse what would make Hydra call code that no plugin of it brought: before Hydra acts on it.

    Args:
        node: `hydra` of a composed configuration.

    Raises:
        ConfigError: a callback, a target, a logging class or an import that is not allowed.
    """
    refuse_resolvers(node, "hydra", allowed=_RESOLVERS)
    plain: Any = OmegaConf.to_container(node, resolve=False)
    for key in ("callbacks", "job.env_set"):
        found = OmegaConf.select(node, key)
        if found:
            raise ConfigError(f"hydra.{key}: got {', '.join(map(str, found))}; allowed: nothing")
    for path, key, value in _items(plain, "hydra"):
        if key == "_target_" and not str(value).startswith(_PLUGINS):
            raise ConfigError(
                f"{path}: got {value!r}; allowed: launchers and sweepers of Hydra and its plugins"
            )
    for name in ("job_logging", "hydra_logging"):
        for path, key, value in _items(plain.get(name), f"hydra.{name}"):
            _check_logging(path, key, value)


def _check_logging(path: str, key: str, value: Any) -> None:
    """One key of a logging configuration, whose classes, factories and `ext://` values are imported and called."""
    if key == "class" and value not in _LOGGING_CLASSES:
        raise ConfigError(f"{path}: got {value!r}; allowed: {', '.join(_LOGGING_CLASSES)}")
    if key == "()" and value not in _LOGGING_FACTORIES:
        raise ConfigError(f"{path}: got {value!r}; allowed: {', '.join(_LOGGING_FACTORIES)}")
    if key == ".":
        raise ConfigError(f"{path}: allowed: nothing")
    if isinstance(value, str) and value.startswith(("ext://", "cfg://")) and value not in _STREAMS:
        raise ConfigError(f"{path}: got {value!r}; allowed: {', '.join(_STREAMS)}")


def _items(node: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """Every key below a node with its path and value, and every entry of a list."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in entries:
        where = f"{path}.{key}" if isinstance(node, dict) else f"{path}[{key}]"
        yield where, str(key), value
        yield from _items(value, where)
