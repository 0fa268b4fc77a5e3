"""Records the code that results depend on: `python scripts/record_code.py [--samples-unchanged]`.

Every component class is followed to all that it uses of this package: its bases, and by name the functions, classes
and constants that its source mentions, and what those mention. Each such definition has a digest of its syntax tree,
without docstrings, annotations, messages and comments. `tests/contracts/recorded_code.json` holds the digests beside
the revisions of the classes; a test compares. Where a definition changed, the classes that use it must be raised
(`revision: ClassVar[int] = 2` in the class, or in a base for all that derive from it), or `--samples-unchanged`
confirms that results stay as they are. Resolve conflicts in the file by writing it again.
"""

import argparse
import ast
import functools
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "tests" / "contracts" / "recorded_code.json"
PACKAGE = "guidebench"

_SAYING = ("annotation", "returns", "type_comment")
"""Fields of a syntax tree that change no result."""

Definition = tuple[str, str]
"""Module and name of something at its top level."""
Record = dict[str, dict[str, object]]


def main() -> None:
    """Write the record, if every changed class was raised or the user vouches for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--samples-unchanged", action="store_true", help="the changes alter no result")
    confirmed = parser.parse_args().samples_unchanged
    new = current()
    told = complaint(json.loads(FILE.read_text()), new) if FILE.exists() else ""
    if told and not confirmed:
        sys.exit(told)
    FILE.write_text(json.dumps(new, indent=1, sort_keys=True) + "\n")
    print(f"wrote {FILE.relative_to(ROOT)}: {len(new['revisions'])} classes, {len(new['code'])} definitions")


def current() -> Record:
    """Revision of every component class that conf/ and experiments/ name, digest of every definition they use."""
    classes = targets()
    used = set().union(*(reached(_definition(target)) for target in classes))
    return {
        "revisions": {target: _revision(_definition(target)) for target in classes},
        "code": {".".join(definition): _digest(definition) for definition in sorted(used)},
    }


def complaint(old: Record, new: Record) -> str:
    """What must be decided before `new` may be recorded: the changed definitions and the classes that use them."""
    changed = {name for name, code in new["code"].items() if old["code"].get(name) != code}
    lines = []
    for target, number in new["revisions"].items():
        if old["revisions"].get(target) == number:
            mine = sorted(changed & {".".join(definition) for definition in reached(_definition(target))})
            lines += [f"  {target} (revision {number}): {', '.join(mine)}"] if mine else []
    if not lines:
        return ""
    return "\n".join(
        (
            "Code changed that stored results depend on:",
            *lines,
            "Raise the revision of the classes whose results change (a base's counts for all that derive from it) and "
            "run `python scripts/record_code.py`; or confirm that all stay the same: "
            "`python scripts/record_code.py --samples-unchanged`.",
        )
    )


def targets() -> list[str]:
    """Every `_target_` of the shipped configurations, loggers apart."""
    found: set[str] = set()
    nodes = [
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for folder in ("conf", "experiments")
        for path in sorted((ROOT / folder).rglob("*.yaml"))
    ]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            found |= {node["_target_"]} if "_target_" in node else set()
            nodes.extend(node.values())
        elif isinstance(node, list):
            nodes.extend(node)
    return sorted(target for target in found if ".loggers." not in target)


def _revision(definition: Definition) -> int:
    """1, and what the class and all that it uses have added to that."""
    return 1 + sum(_declared_revision(part) - 1 for part in reached(definition))


def _declared_revision(definition: Definition) -> int:
    module, name = definition
    for node in _module(module)[0][name]:
        for part in node.body if isinstance(node, ast.ClassDef) else []:
            named = "revision" in _defined(part)
            if named and isinstance(value := getattr(part, "value", None), ast.Constant):
                return int(value.value)
    return 1


@functools.cache
def reached(start: Definition) -> frozenset[Definition]:
    """A definition with all that it uses of this package, directly or not."""
    seen, waiting = {start}, [start]
    while waiting:
        for used in _uses(waiting.pop()):
            if used not in seen:
                seen.add(used)
                waiting.append(used)
    return frozenset(seen)


@functools.cache
def _uses(definition: Definition) -> frozenset[Definition]:
    """What a definition mentions: names of its own module, and what that module imports from this package."""
    module, name = definition
    names, imported, modules = _module(module)
    found: set[Definition] = set()
    for node in names[name]:
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id in names:
                found.add((module, part.id))
            elif isinstance(part, ast.Name) and part.id in imported:
                found.add(imported[part.id])
            elif (
                isinstance(part, ast.Attribute)
                and isinstance(part.value, ast.Name)
                and part.value.id in modules
            ):
                found.add((modules[part.value.id], part.attr))
            elif (
                isinstance(part, ast.ImportFrom)
                and part.level == 0
                and (part.module or "").startswith(PACKAGE)
            ):
                found |= {
                    (part.module or "", alias.name) for alias in part.names
                }  # imported where it is used
    return frozenset(used for used in map(_resolved, found) if used and used[0] != f"{PACKAGE}.errors")


def _resolved(definition: Definition) -> Definition | None:
    """Where a definition really stands: packages pass on names of their modules."""
    module, name = definition
    if _path(f"{module}.{name}") is not None:
        return None  # a module
    names, imported, _ = _module(module)
    if name in names:
        return definition
    return _resolved(imported[name]) if name in imported else None


@functools.cache
def _module(module: str) -> tuple[dict[str, list[ast.stmt]], dict[str, Definition], dict[str, str]]:
    """Top-level definitions by name, names imported from this package, and its modules imported whole."""
    path = _path(module)
    tree = ast.parse(path.read_text(encoding="utf-8") if path else "")
    names: dict[str, list[ast.stmt]] = {}
    imported: dict[str, Definition] = {}
    modules: dict[str, str] = {}
    for statement in tree.body:
        for name in _defined(statement):
            names.setdefault(name, []).append(statement)
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith(PACKAGE):
            for alias in statement.names:
                whole = f"{statement.module}.{alias.name}"
                if _path(whole):
                    modules[alias.asname or alias.name] = whole
                else:
                    imported[alias.asname or alias.name] = (statement.module or "", alias.name)
    return names, imported, modules


def _defined(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def _path(module: str) -> Path | None:
    base = ROOT / "src" / Path(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _definition(target: str) -> Definition:
    module, _, name = target.rpartition(".")
    return module, name


def _digest(definition: Definition) -> str:
    module, name = definition
    text = repr([_bare(node) for node in _module(module)[0][name]])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _bare(node: object) -> object:
    """A syntax tree as nested tuples, without what says and does not do: lone texts, annotations, messages.

    Positions, comments and layout are no part of a syntax tree. Empty fields are left out: Python's versions differ in
    which there are.
    """
    if isinstance(node, list):
        return [_bare(item) for item in node if not _is_text(item)]
    if isinstance(node, ast.Raise):
        return "raise"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(key, value) for key, value in ast.iter_fields(node) if key not in _SAYING]
    return type(node).__name__, [(key, _bare(value)) for key, value in fields if value not in (None, [])]


def _is_text(node: object) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


if __name__ == "__main__":
    main()
