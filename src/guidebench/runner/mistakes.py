"""Slips in overrides, told in one sentence each: what was meant, and how it is written."""

import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence

from hydra.core.override_parser.types import Override

from guidebench.errors import ConfigError
from guidebench.runner.folders import shipped
from guidebench.runner.suggest import suggestion


@functools.cache
def groups() -> dict[str, list[str]]:
    """The choices of every config group."""
    return {
        folder.name: sorted(p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml"))
        for folder in shipped("conf").iterdir()
        if folder.is_dir()
    }


@functools.cache
def places() -> dict[str, list[str]]:
    """Where the shipped configurations put choices of a group, in order: {"clip": ["networks.guide_clip", ...]}.

    A group that is chosen as it is (`method=...`) has the place "".
    """
    found: dict[str, dict[str, None]] = {}
    for path in sorted(shipped("conf").rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        for group, place in re.findall(r"^ *- (?:override )?/?(\w+)(?:@([\w.]+))?: ", text, re.MULTILINE):
            if not place or "." in place or place.startswith("_"):  # others are places within a component
                found.setdefault(group, {})[place] = None
    return {group: list(known) for group, known in found.items()}


def refuse_repeats(overrides: Sequence[Override]) -> None:
    """Refuse two values of one key on one line, of which the first would be lost without a word.

    Raises:
        ConfigError: a key stands there twice.
    """
    keys = Counter(override.get_key_element().lstrip("+") for override in overrides)
    for key, times in keys.items():
        if times > 1:
            lines = [o.input_line or "" for o in overrides if o.get_key_element().lstrip("+") == key]
            raise ConfigError(f"{key}: given {times} times ({', '.join(lines)}); give it once")


def refuse_misplaced(overrides: Sequence[Override]) -> None:
    """Refuse group choices that need a place, and settings, which task and suite choose.

    Raises:
        ConfigError: says how it is written.
    """
    for override in overrides:
        group = override.key_or_group
        if group not in groups() or override.package is not None or override.is_delete():
            continue
        known = places().get(group, [])
        line, choice = override.input_line or "", (override.input_line or "").partition("=")[2]
        if group == "setting" or "_global_" in known:
            raise ConfigError(
                f"{line}: task and suite choose the {group}; allowed: task={', '.join(groups()['task'])}; "
                f"suite={', '.join(groups()['suite'])}"
            )
        if "" not in known:
            if group == "metric":
                raise ConfigError(f"{line}: metrics are added by name: +metric@metrics.{choice}={choice}")
            if not known:
                raise ConfigError(f"{line}: {group} is no choice of a run")
            ways = " or ".join(f"{group}@{place}={choice}" for place in known)
            raise ConfigError(f"{line}: say which of them it is to be: {ways}")


def explained(
    error: Exception, overrides: Sequence[Override], siblings: Callable[[str, Sequence[str]], Sequence[str]]
) -> str:
    """Hydra's error in one line, with the nearest allowed words.

    Args:
        error: of composing.
        overrides: what was composed.
        siblings: what stands beside a key once some groups are chosen.
    """
    for override in overrides:
        if override.key_or_group == "metrics" and not override.is_delete():
            return (
                f"{override.input_line}: metrics are added by name, +metric@metrics.NAME=CHOICE, and left out by name, "
                f"~metrics.NAME; choices: {', '.join(groups()['metric'])}"
            )
    message = str(error.__cause__ or error) if "Error merging override" in str(error) else str(error)
    first = message.splitlines()[0].rstrip(".") if message else type(error).__name__
    choices = [
        o.input_line or "" for o in overrides if o.key_or_group in groups() and not o.is_sweep_override()
    ]
    for override in overrides:
        key, line = override.key_or_group, override.input_line or ""
        chosen = "" if override.is_sweep_override() else str(override.value())
        nothing = override.value() is None and not override.is_delete()
        if key in groups() and (f"'{key}/{chosen}'" in message or nothing):
            return f"{line}: {first}; {suggestion(chosen, groups()[key])}allowed: {', '.join(groups()[key])}"
        if re.search(rf"Could not override '{re.escape(key)}'|Key '{re.escape(key)}'", message):
            parent, _, name = key.rpartition(".")
            names = siblings(parent, choices)
            if names:
                where = parent or "the configuration"
                return f"{line}: {first}; {suggestion(name, names)}{where} has {', '.join(names)}"
    return " ".join(message.split()) if message else first
