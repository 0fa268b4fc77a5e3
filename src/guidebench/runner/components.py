"""Components: classes that configurations name. Checked against their signatures, then built from plain containers."""

import functools
import importlib
import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from guidebench.errors import ConfigError, GuidebenchError
from guidebench.runner.suggest import suggestion

ENTRY_POINTS = "guidebench.components"
"""Group of entry points under which an installed package declares the modules that hold its own components."""

_OURS = tuple(
    f"guidebench.{layer}."
    for layer in (
        "artefacts",
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


@functools.cache
def allowed() -> tuple[str, ...]:
    """Beginnings of the targets that a configuration may name: ours, and what installed packages declare."""
    return _OURS + tuple(f"{declared.value}." for declared in entry_points(group=ENTRY_POINTS))


def component_class(target: object, where: str) -> type:
    """The class that `_target_` names.

    Raises:
        ConfigError: the target is no component's, does not exist, or is no class.
    """
    if not isinstance(target, str) or not target.startswith(allowed()):
        raise ConfigError(
            f"{where}._target_: got {target!r}; only components may be named "
            f"({', '.join(prefix + '*' for prefix in allowed())}). To name your own class, put it into one of them, or "
            f"declare its module as an entry point {ENTRY_POINTS!r} of your installed package."
        )
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{where}._target_: {target!r} does not exist ({error})") from error
    if not isinstance(found, type) or found.__module__ != module:  # what a module imports is not a component
        raise ConfigError(f"{where}._target_: {target!r} is not a class defined in {module}")
    return found


@functools.cache
def parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    """What a component takes, by name, with annotations as types; what it hands on as ** belongs to its base."""
    own = inspect.signature(cls, eval_str=True).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in own.values()):
        return own
    base = next(c for c in cls.__mro__[1:] if "__init__" in vars(c))
    named = {name: p for name, p in own.items() if p.kind is not p.VAR_KEYWORD}
    return named | {name: p for name, p in parameters(base).items() if name not in named}


def check(node: Any, where: str) -> None:
    """Hold a component's keys against its class's signature, and its nested components' too.

    Args:
        node: plain containers (dicts, lists, scalars).
        where: config path, for messages.

    Raises:
        ConfigError: an unknown or missing key, a value that does not fit, or a target that is not allowed.
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
    known = parameters(component_class(node["_target_"], where))
    for key, value in node.items():
        if key == "_target_":
            continue
        if str(key).startswith("_") or key not in known:
            raise ConfigError(
                f"{where}.{key}: {node['_target_']} has no such parameter; "
                f"{suggestion(str(key), known)}it takes {', '.join(known) or 'none'}"
            )
        hint = known[key].annotation
        if not _accepts(hint, value):
            words = [str(word) for choice in (hint, *get_args(hint)) for word in _words(choice)]
            raise ConfigError(
                f"{where}.{key}: got {_shown(value)}; {suggestion(str(value), words)}allowed: {_described(hint)}"
            )
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in node:
            raise ConfigError(f"{where}.{name}: missing; {node['_target_']} needs it")


def _accepts(hint: Any, value: Any) -> bool:
    """Whether a YAML value fits an annotation; of components, that there is one, not whether it is the right one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_accepts(choice, value) for choice in arguments)
    if origin is Literal:
        return value in arguments
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (int, str, bool, NoneType):
        return type(value) is hint
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, dict) and all(_accepts(arguments[1], item) for item in value.values())
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return isinstance(value, list) and all(_accepts(arguments[0], item) for item in value)
    if _is_component(hint):
        return isinstance(value, dict) and "_target_" in value
    return True


def _is_component(hint: Any) -> bool:
    return isinstance(hint, type) and hint.__module__.startswith("guidebench.")


def _words(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) is Literal else ()


_PLAIN = {float: "a number", int: "a whole number", str: "a text", bool: "true or false", NoneType: "null"}


def _described(hint: Any) -> str:
    """An annotation in words."""
    arguments = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return ", or ".join(_described(choice) for choice in arguments)
    if get_origin(hint) is Literal:
        return ", ".join(map(str, arguments))
    if hint in _PLAIN:
        return _PLAIN[hint]
    if _is_component(hint):
        return f"a component, {hint.__name__}: a mapping with a _target_, chosen as group@path=choice"
    origin = get_origin(hint)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping, each value {_described(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list, each {_described(arguments[0])}"
    return str(getattr(hint, "__name__", hint))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def build(node: Any, where: str) -> Any:
    """Build a component, its nested components first; lists, mappings and scalars stand for themselves.

    No interpolation is resolved and nothing but classes of `component_class` is called, whatever the values say.

    Args:
        node: plain containers.
        where: config path, for messages.

    Raises:
        ConfigError: a constructor refused its arguments.
    """
    if isinstance(node, list):
        return [build(value, f"{where}[{index}]") for index, value in enumerate(node)]
    if not isinstance(node, dict):
        return node
    values = {key: build(value, f"{where}.{key}") for key, value in node.items() if key != "_target_"}
    if "_target_" not in node:
        return values
    cls = component_class(node["_target_"], where)
    try:
        return cls(**values)
    except GuidebenchError as error:
        told = str(error)
        raise ConfigError(told if told.startswith(where) else f"{where}: {told}") from error
    except (TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ConfigError(f"{where}: {cls.__name__} refuses its values ({error})") from error
