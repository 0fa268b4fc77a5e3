"""What identifies results: what a configuration changes about its classes, the classes' revisions, the weights.

A parameter that equals its class's default is no part of an identity, so a new option with a default orphans nothing.
The code's part is each class's `revision`, 1 where it declares none; the revisions that a class inherits count too.
Whoever changes what a class computes raises it; `tests/contracts/test_recorded_code.py` asks for it.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from guidebench.runner.components import build, component_class, parameters


def digest(config: Any) -> str:
    """Short stable hash of plain containers; neither key order nor writing 1 for 1.0 matters."""
    text = json.dumps(_plain(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def revision(cls: type) -> int:
    """The revision of a class's code: 1, and what it and its bases have added to that."""
    declared = (vars(base).get("revision", 1) for base in cls.__mro__)
    return 1 + sum(number - 1 for number in declared if isinstance(number, int))


def identity(node: Any) -> Any:
    """What of a component's configuration decides its results.

    Left out are parameters that equal their class's default and those that the class declares `execution_only`: they
    change how something is computed, not what.

    Args:
        node: a checked component, or whatever stands in one; plain containers.

    Returns:
        Plain containers; each component with the revision of its class under `_revision_`.
    """
    if isinstance(node, list):
        return [identity(value) for value in node]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {key: identity(value) for key, value in node.items()}
    cls = component_class(node["_target_"], "identity")
    kept: dict[str, Any] = {}
    for key in parameters(cls).keys() - set(getattr(cls, "execution_only", ())):
        default = _default(cls, key)
        if key in node and not _is_default(node[key], default):
            kept[key] = identity(node[key])
        elif (code := revision(type(default))) > 1:
            kept[key] = {"_revision_": code}
    return {"_target_": node["_target_"], "_revision_": revision(cls), **kept}


def generation_identity(
    config: Mapping[str, Any], fingerprints: Mapping[str, str], uses: Sequence[str]
) -> dict[str, Any]:
    """What the samples of a job depend on beside their problems: model, method, and what that method uses.

    Args:
        config: a job's checked configuration.
        fingerprints: identity of the weights, by component; of what is learned ("artefact.NAME"), of its recipe.
        uses: the collaborators that the method declares; one that goes on with another method uses what that one does.
    """
    used = ("model", "method", *uses)
    return {
        **{key: identity(config[key]) for key in used if key in config},  # artefacts stand within the method
        "cfg_scale": config["cfg_scale"],
        "weights": {key: value for key, value in fingerprints.items() if key.partition(".")[0] in used},
    }


def job_identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What tells the jobs of a sweep apart: what they make and how they measure it, not where they run."""
    parts = ("model", "method", "sampler", "loss", "gradient", "dataset", "metrics")
    return {
        **{key: identity(config[key]) for key in parts},
        "cfg_scale": config["cfg_scale"],
        "seed": config["seed"],
    }


def features_identity(cls: type, node: Mapping[str, Any], fingerprint: str) -> dict[str, Any]:
    """What the features of a metric of whole sets depend on beside the pictures; metrics of one kind share them.

    Args:
        cls: the metric's class.
        node: the metric's checked configuration.
        fingerprint: of its network's weights.
    """
    source = next(base for base in cls.__mro__ if "features" in vars(base))
    value_only = {"_target_", *getattr(cls, "value_only", ())}
    parts = {key: identity(value) for key, value in node.items() if key not in value_only}
    return {"features": fingerprint, "code": [source.__qualname__, revision(source)], "parts": parts}


def reference_identity(cls: type, node: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """What the features of a metric's reference images depend on beside `features_identity`.

    Args:
        cls: the metric's class.
        node: the metric's checked configuration.
        names: of the images.
    """
    return {
        "pictures": names,
        **{key: identity(node[key]) for key in getattr(cls, "value_only", ()) if key in node},
    }


def _is_default(value: Any, default: Any) -> bool:
    if isinstance(value, dict) and "_target_" in value:
        built = build(value, "identity")
        return type(built) is type(default) and bool(built == default)
    try:
        return json.dumps(_plain(value), sort_keys=True) == json.dumps(_plain(default), sort_keys=True)
    except TypeError:  # a default that no YAML can spell, or none at all
        return False


def _default(cls: type, key: str) -> Any:
    """The default of a parameter; `inspect.Parameter.empty` where there is none."""
    if dataclasses.is_dataclass(cls):
        factories = {f.name: f.default_factory for f in dataclasses.fields(cls)}
        factory = factories.get(key, dataclasses.MISSING)
        if factory is not dataclasses.MISSING:
            return factory()
    return parameters(cls)[key].default


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    return int(node) if isinstance(node, float) and node.is_integer() else node
