"""`guidebench list`: what there is. Read from conf/ and from the source text, so nothing heavy is imported."""

import argparse
import ast
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

import guidebench
from guidebench.cli.printing import say, say_json, width
from guidebench.runner.folders import shipped
from guidebench.runner.suggest import suggestion
from guidebench.runner.table_file import TableFile, table_names

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
    reads: str
    file: str


def main(argv: list[str]) -> int:
    """Print the choices of one group or of all, one line each; or one choice as a whole."""
    kinds = [*GROUPS, "table"]
    parser = argparse.ArgumentParser(
        prog="guidebench list",
        description="What can be composed, by group, one line each; with a name, the whole of it.",
        epilog="Examples: guidebench list; guidebench list methods; guidebench list method lgd_mc",
    )
    parser.add_argument("group", nargs="?", help=f"one of {', '.join(kinds)}; all without it")
    parser.add_argument("name", nargs="?", help="a choice of the group")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    arguments = parser.parse_args(argv)
    group = next((kind for kind in kinds if arguments.group in (kind, f"{kind}s", f"{kind}es")), None)
    if arguments.group and group is None:
        near = suggestion(arguments.group, kinds)
        parser.error(f"no group {arguments.group!r}; {near}there are {', '.join(kinds)}")
    found = {kind: tables() if kind == "table" else entries(kind) for kind in ([group] if group else kinds)}
    if arguments.name:
        assert group is not None
        names = [entry.name for entry in found[group]]
        if arguments.name not in names:
            near = suggestion(arguments.name, names)
            parser.error(f"no {group} {arguments.name!r}; {near}there are {', '.join(names)}")
        found = {group: [entry for entry in found[group] if entry.name == arguments.name]}
    if arguments.json:
        say_json({kind: [asdict(entry) for entry in listed] for kind, listed in found.items()})
    elif arguments.name:
        say(*_whole(group or "", found[group or ""][0]))
    else:
        for kind, listed in found.items():
            say(kind, *_lines(listed, width()), "")
        say("the whole of one: guidebench list GROUP NAME")
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
                reads=", ".join(about.get("reads") or about.get("gives") or ()),
                file=str(path),
            )
        )
    return found


def tables() -> list[Entry]:
    """The tables that can be made."""
    found = []
    for name in table_names():
        spec = next(iter(TableFile.read(name).specs.values()))
        path = shipped("experiments") / f"{name}.yaml"
        found.append(Entry(name, spec.title, "", "", "", str(path)))
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


def _lines(found: list[Entry], columns: int) -> list[str]:
    """One line per choice: name, paper or summary, and what it reads, as much as fits."""
    name_width = min(max((len(entry.name) for entry in found), default=0), 30)
    lines = []
    for entry in found:
        about = entry.paper or entry.summary
        words = [about, *([f"reads {entry.reads}"] if entry.reads and entry.weights != entry.reads else [])]
        lines.append(_shortened(f"  {entry.name:<{name_width}}  {'; '.join(filter(None, words))}", columns))
    return lines


def _shortened(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1].rstrip() + "…"


def _whole(group: str, entry: Entry) -> list[str]:
    """All that is known of a choice, and its YAML."""
    facts = {
        "what": entry.summary,
        "paper": entry.paper,
        "reads": entry.reads,
        "weights": entry.weights,
        "file": entry.file,
    }
    head = [f"{group} {entry.name}"]
    for key, value in facts.items():
        if value:
            head += textwrap.wrap(
                f"{key:<8}{value}",
                width(),
                subsequent_indent=" " * 8,
                break_long_words=False,
                break_on_hyphens=False,
            )
    return [*head, "", *Path(entry.file).read_text(encoding="utf-8").rstrip().splitlines()]
