"""`guidebench gallery`: a table's images side by side in one static HTML page."""

import argparse
from pathlib import Path

from rich.console import Console

from guidebench.errors import DataError
from guidebench.runner import sweeps


def main(argv: list[str]) -> int:
    """Write the page from what is stored; nothing is generated or evaluated."""
    parser = argparse.ArgumentParser(
        prog="guidebench gallery",
        description="Write one static HTML page of a table's stored images: the same prompt and seed side by side.",
        epilog="Make the images first: guidebench table NAME with the same overrides.",
    )
    parser.add_argument("name", help="PAPER/NAME")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides, as for `table`")
    arguments = parser.parse_intermixed_args(argv)

    sweep = sweeps.load(arguments.name, arguments.overrides)
    from guidebench.cli.regenerate import stored_records  # heavy: after the arguments are known to be right
    from guidebench.metrics.base import Metric
    from guidebench.report.gallery import write_gallery
    from guidebench.runner.experiment import Experiment

    records = stored_records(sweep, [Experiment(swept.job) for swept in sweep.jobs])
    if records.empty:
        command = " ".join(["guidebench table", arguments.name, *arguments.overrides])
        raise DataError(f"nothing of {arguments.name} is stored; run `{command}` first")
    measured = sweep.jobs[0].job.metrics()
    ordered = dict.fromkeys([name for name in sweep.layout["metrics"] if name in measured] + list(measured))
    path = write_gallery(
        records,
        Path(sweep.config["paths"]["tables"]) / f"{sweep.stem}_gallery.html",
        title=sweep.layout["title"],
        metrics={
            name: measured[name].higher_is_better
            for name in ordered  # as in the table, the primary one first
            if isinstance(measured[name], Metric)
        },
        setting=", ".join(f"{key} {value}" for key, value in sweep.labels.items()),
        order=sweep.layout["rows"]["values"],
    )
    Console().print(f"wrote {path}", soft_wrap=True)
    return 0
