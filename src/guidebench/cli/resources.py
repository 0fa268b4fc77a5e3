"""Measure what the jobs of a table take, and write the table."""

from pathlib import Path

from rich.console import Console

from guidebench.devices import device
from guidebench.report.render import to_console, write_table
from guidebench.report.spec import parse_spec
from guidebench.report.table import build_table
from guidebench.runner.experiment import environment
from guidebench.runner.resources import measure
from guidebench.runner.sweeps import Sweep


def tabulate(sweep: Sweep) -> int:
    """Measure, print and write; returns the exit status."""
    console, spec = Console(), parse_spec(sweep.layout)
    with console.status(f"{sweep.name}: starting") as status:
        records = measure(sweep, lambda what: status.update(f"{sweep.name}: {what}"))
    where = environment(device(sweep.config["device"]))
    labels = {**sweep.labels, "batch": str(sweep.config["batch_size"]), "device": where["device"]}
    table = build_table(records, spec, labels)
    console.print(to_console(table))
    paths = write_table(table, Path(sweep.config["paths"]["tables"]), sweep.stem)
    console.print(*(f"wrote {path}" for path in paths), sep="\n", soft_wrap=True)
    return 0
