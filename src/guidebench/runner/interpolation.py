"""References between keys are all that a configuration may compute: no resolver runs on data, no secret is read."""

from collections.abc import Iterator
from typing import Any

from omegaconf import Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.grammar_parser import parse

from guidebench.errors import ConfigError


def refuse_resolvers(config: Container, where: str = "", allowed: tuple[str, ...] = ()) -> None:
    """Refuse values such as `${oc.env:TOKEN}`: they would be printed, logged and stored.

    Args:
        config: composed, not resolved.
        where: config path of it, for messages.
        allowed: names of resolvers that may stay.

    Raises:
        ConfigError: a value calls another resolver.
    """
    for path, text in _strings(OmegaConf.to_container(config, resolve=False), where):
        if "${" not in text:
            continue
        for name in _resolvers(_parsed(text, path)):
            if name not in allowed:
                raise ConfigError(
                    f"{path}: got {text!r}; allowed are references to other keys (${{n_steps}}), no resolvers; write "
                    "the value itself, and leave secrets in the environment, where the services read them"
                )


def _parsed(text: str, path: str) -> Any:
    try:
        return parse(text)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{path}: got {text!r}, which refers to no key") from error


def _strings(node: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _strings(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _strings(value, f"{path}[{index}]")
    elif isinstance(node, str):
        yield path, node


def _resolvers(tree: Any) -> Iterator[str]:
    """Names of the resolvers that a parsed value calls."""
    if type(tree).__name__ == "InterpolationResolverContext":
        yield tree.resolverName().getText()
    for child in getattr(tree, "children", None) or ():
        yield from _resolvers(child)
