"""From a composed configuration to components: every `_target_` is checked against its class before anything loads."""

import hashlib
import importlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from guidebench.errors import ConfigError
from guidebench.runner.suggest import suggestion

COMPONENTS = ("model", "dataset", "loss", "sampler", "method", "gradient", "logger")
"""Top-level nodes that are one component each; `metrics` holds several."""

_ALLOWED = tuple(
    f"guidebench.{layer}."
    for layer in (
        "data",
        "diffusion",
        "gradients",
        "losses",
        "methods",
        "metrics",
        "models",
        "operators",
        "runner.loggers",
        "samplers",
        "studies",
    )
)
_GENERATION = ("model", "loss", "sampler", "method", "gradient", "cfg_scale", "random_weights")
"""What a sample depends on beside its problem: the keys of its identity."""

_REVISION = 2
"""Raise when a change to the code changes samples: stored ones then count as another generation config's."""


def component_class(target: object, where: str) -> type:
    """The class that `_target_` names.

    Raises:
        ConfigError: the target lies outside this package's components, does not exist, or is no class.
    """
    if not isinstance(target, str) or not target.startswith(_ALLOWED):
        raise ConfigError(
            f"{where}._target_: got {target!r}; only this package's components may be named "
            f"({', '.join(prefix + '*' for prefix in _ALLOWED)}). To use your own class, put it into one of them."
        )
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}._target_: {target!r} does not exist ({error})") from error
    if not isinstance(found, type) or found.__module__ != module:  # what a module imports is not a component
        raise ConfigError(f"{where}._target_: {target!r} is not a class defined in {module}")
    return found


def check(node: Any, where: str) -> None:
    """Hold a component's keys against its class's signature, and its nested components' too.

    Args:
        node: plain containers (dicts, lists, scalars).
        where: config path, for messages.

    Raises:
        ConfigError: an unknown or missing key, or a target that is not allowed.
    """
    if isinstance(node, dict):
        if "_target_" in node:
            _check_signature(node, where)
        for key, value in node.items():
            check(value, f"{where}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            check(value, f"{where}[{index}]")


def _check_signature(node: dict[str, Any], where: str) -> None:
    cls = component_class(node["_target_"], where)
    parameters = inspect.signature(cls, eval_str=True).parameters
    for key, value in node.items():
        if key == "_target_":
            continue
        if str(key).startswith("_") or key not in parameters:
            raise ConfigError(
                f"{where}.{key}: {node['_target_']} has no such parameter; "
                f"{suggestion(str(key), parameters)}it takes {', '.join(parameters) or 'none'}"
            )
        hint = parameters[key].annotation
        if not _accepts(hint, value):
            words = [str(word) for word in get_args(hint)] if get_origin(hint) is Literal else []
            allowed = ", ".join(words) or getattr(hint, "__name__", str(hint))
            raise ConfigError(
                f"{where}.{key}: got {value!r}; {suggestion(str(value), words)}allowed: {allowed}"
            )
    for name, parameter in parameters.items():
        if parameter.default is parameter.empty and name not in node:
            raise ConfigError(f"{where}.{name}: missing; {node['_target_']} needs it")


def _accepts(hint: Any, value: Any) -> bool:
    """Whether a YAML value fits an annotation; only scalars and literals are judged."""
    if get_origin(hint) in (Union, UnionType):
        return any(_accepts(choice, value) for choice in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (int, str, bool, NoneType):
        return type(value) is hint
    return True


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
            ConfigError: a value is missing or does not resolve, or a component's keys do not fit its class.
        """
        try:
            config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{getattr(error, 'full_key', None) or 'configuration'}: {error}") from error
        assert isinstance(config, dict)
        job = cls({str(key): value for key, value in config.items()})
        for path, node in job.components():
            check(node, path)
        return job

    @property
    def seeds(self) -> list[int]:
        """The seeds of the job's cases: `seed` is one, or a list of them."""
        seed = self.config["seed"]
        return list(seed) if isinstance(seed, list) else [seed]

    def components(self) -> Iterator[tuple[str, Any]]:
        """Config path and node of every component."""
        for name in COMPONENTS:
            yield name, self.config[name]
        for name, node in self.config["metrics"].items():
            yield f"metrics.{name}", node

    def build(self, path: str) -> Any:
        """Instantiate the component at a path ("model", "networks.guide_clip"); collaborators arrive in calls."""
        node: Any = self.config
        for key in path.split("."):
            node = node[key]
        return _instantiate(node, path)

    def metrics(self) -> dict[str, Any]:
        """The metrics by name."""
        return {name: _instantiate(node, f"metrics.{name}") for name, node in self.config["metrics"].items()}

    def generation_config(self, fingerprints: dict[str, str]) -> dict[str, Any]:
        """What samples of this job depend on beside their problems: plain containers.

        They depend on the model and on what the method declares that it `uses`.

        Args:
            fingerprints: identity of each network's weights.
        """
        method: Any = component_class(self.config["method"]["_target_"], "method")
        unused = {"sampler", "loss", "gradient"} - set(method.uses)
        kept = {key: _without_execution_only(self.config[key]) for key in _GENERATION if key not in unused}
        weights = {key: value for key, value in fingerprints.items() if key not in unused}
        return kept | {"weights": weights, "revision": _REVISION}


def _without_execution_only(node: Any) -> Any:
    """The node without settings that its classes declare to change how, not what, is computed."""
    if not isinstance(node, dict):
        return node
    target = node.get("_target_")
    dropped = getattr(component_class(target, "generation"), "execution_only", ()) if target else ()
    return {key: _without_execution_only(value) for key, value in node.items() if key not in dropped}


def _instantiate(node: Any, where: str) -> Any:
    try:
        return instantiate(node, _convert_="all")
    except Exception as error:
        cause = error.__cause__ or error
        raise ConfigError(f"{where}: {cause}") from error


def digest(config: Any) -> str:
    """Short stable hash of plain containers; neither key order nor writing 1 for 1.0 matters."""
    text = json.dumps(_plain_numbers(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain_numbers(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain_numbers(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain_numbers(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node
