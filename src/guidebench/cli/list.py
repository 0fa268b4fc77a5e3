"""`guidebench list`: what there is. Read from conf/ and from the source text, so nothing heavy is imported."""

import argparse
import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

import guidebench
from guidebench.runner.compose import shipped
from guidebench.runner.suggest import suggestion
from guidebench.runner.sweeps import layouts, table_names

GROUPS = (
    "method",
    "loss",
    "gradient",
    "sampler",
    "model",
    "clip",
    "classifier",
    "aesthetic",
    "features",
    "perceptual",
    "recogniser",
    "reference",
    "dataset",
    "metric",
    "suite",
    "size",
    "task",
    "setting",
    "logger",
)

_ROLE = "${networks."
"""How losses and metrics name the role of a network that the suite fills."""


@dataclass(frozen=True)
class Entry:
    """One choice of a group."""

    name: str
    summary: str
    paper: str
    weights: str
    handles: str


def main(argv: list[str]) -> int:
    """Print the choices of one group or of all."""
    kinds = [*GROUPS, "table"]
    parser = argparse.ArgumentParser(prog="guidebench list", description="What can be composed, by group.")
    parser.add_argument("group", nargs="?", help=f"one of {', '.join(kinds)}; all without it")
    arguments = parser.parse_args(argv)
    group = next((kind for kind in kinds if arguments.group in (kind, f"{kind}s", f"{kind}es")), None)
    if arguments.group and group is None:
        near = suggestion(arguments.group, kinds)
        parser.error(f"no group {arguments.group!r}; {near}there are {', '.join(kinds)}")
    console = Console()
    for kind in [group] if group else kinds:
        console.print(_rendered(kind, tables() if kind == "table" else entries(kind)))
    return 0


def entries(group: str) -> list[Entry]:
    """The choices of a config group, by name."""
    root = shipped("conf") / group
    found = []
    for path in sorted(root.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        node = _with_defaults(yaml.safe_load(text) or {}, root)
        about = _about_class(node["_target_"]) if "_target_" in node else {}
        comments = (line.lstrip("# ") for line in text.splitlines() if line.startswith("# "))
        found.append(
            Entry(
                name=path.relative_to(root).with_suffix("").as_posix(),
                summary=next((c for c in comments if not c.startswith("@package")), about.get("summary", "")),
                paper=about.get("paper", ""),
                weights=_weights(node),
                handles=", ".join(about.get("handles") or ()),
            )
        )
    return found


def tables() -> list[Entry]:
    """The tables that can be made."""
    found = []
    for name in table_names():
        layout = next(iter(layouts(name).values()))
        found.append(Entry(name, layout["title"], layout["paper"], "", layout["paper_setting"]))
    return found


def _with_defaults(node: dict[str, Any], root: Path) -> dict[str, Any]:
    """The YAML with the siblings it builds on, as Hydra would merge them."""
    merged: dict[str, Any] = {}
    for base in node.pop("defaults", []):
        if isinstance(base, str) and base != "_self_" and (root / f"{base}.yaml").is_file():
            merged |= _with_defaults(
                yaml.safe_load((root / f"{base}.yaml").read_text(encoding="utf-8")), root
            )
    return merged | node


def _about_class(target: str) -> dict[str, Any]:
    """First line of the docstring and the literal attributes of a class, inherited ones too, from the source text."""
    module, _, name = target.rpartition(".")
    path = Path(guidebench.__file__).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
    body = ast.parse(path.read_text(encoding="utf-8")).body
    classes = {n.name: n for n in body if isinstance(n, ast.ClassDef)}
    imported = {
        alias.name: f"{n.module}.{alias.name}"
        for n in body
        if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("guidebench.")
        for alias in n.names
    }
    cls, about = classes[name], dict[str, Any]()
    for base in cls.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            about |= _about_class(f"{module}.{base.id}")
        elif isinstance(base, ast.Name) and base.id in imported:
            about |= _about_class(imported[base.id])
    return about | _literals(cls) | {"summary": (ast.get_docstring(cls) or "").split("\n")[0]}


def _literals(cls: ast.ClassDef) -> dict[str, Any]:
    values = {}
    for statement in cls.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name, value = statement.targets[0].id, statement.value
        elif (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value
        ):
            name, value = statement.target.id, statement.value
        else:
            continue
        if isinstance(value, ast.Constant | ast.Tuple):
            values[name] = ast.literal_eval(value)
    return values


def _weights(node: dict[str, Any]) -> str:
    """Where a component's weights come from, in words."""
    if "source" in node and "model" in str(node.get("_target_")):
        return f"hub: {node['source']}" if node.get("revision") else f"ships: {node['source']}"
    if node.get("directory"):
        return f"ships: {node['directory']}"
    if node.get("pretrained"):
        library = "torchvision" if "torchvision" in node["_target_"].lower() else "open_clip"
        return f"{library}: {node['architecture']}, {node['pretrained']}"
    roles = (str(value) for value in node.values() if str(value).startswith(_ROLE))
    return ", ".join(role.removeprefix(_ROLE).rstrip("}") for role in roles)


def _rendered(kind: str, found: list[Entry]) -> Table:
    table = Table(title=kind, title_justify="left", title_style="bold", expand=False)
    columns = {"name": kind, "summary": "what", "paper": "paper", "weights": "weights", "handles": "handles"}
    shown = [field for field in columns if any(getattr(entry, field) for entry in found)]
    for field in shown:
        table.add_column(columns[field], overflow="fold")
    for entry in found:
        table.add_row(*(getattr(entry, field) for field in shown))
    return table
