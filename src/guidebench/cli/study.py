"""Run a study and write its tables and figures."""

import dataclasses

from rich.console import Console

from guidebench.report.render import to_console, write_table
from guidebench.report.spec import parse_spec
from guidebench.report.table import build_table
from guidebench.runner.studies import LoadedStudy


def tabulate(loaded: LoadedStudy) -> int:
    """Compute, print and write; returns the exit status."""
    console = Console()
    specs = {name: parse_spec(layout) for name, layout in loaded.layouts.items()}
    with console.status(f"{loaded.name}: starting") as status:
        findings = loaded.study.run(lambda what: status.update(f"{loaded.name}: {what}"))
        tables = {
            name: build_table(findings.records[name], spec, loaded.labels) for name, spec in specs.items()
        }
        main = next(iter(tables))
        tables[main] = dataclasses.replace(tables[main], notes=(*findings.claims, *tables[main].notes))
        paths = []
        for name, table in tables.items():
            stem = loaded.stem if name == main else f"{loaded.stem}_{name.lower()}"
            paths += write_table(table, loaded.folder, stem)
        status.update(f"{loaded.name}: figures")
        paths += loaded.study.draw(findings, loaded.folder, loaded.stem)
    console.print(*(to_console(table) for table in tables.values()), sep="\n\n")
    console.print(*findings.claims, sep="\n")
    console.print(*(f"wrote {path}" for path in paths), sep="\n", soft_wrap=True)
    return 0
