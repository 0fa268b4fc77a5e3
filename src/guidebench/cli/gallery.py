"""`guidebench gallery`: a table's images side by side in one static HTML page."""

import argparse
from pathlib import Path

from rich.console import Console

from guidebench.cli.table import collect
from guidebench.errors import DataError
from guidebench.report.gallery import write_gallery
from guidebench.runner import sweeps


def main(argv: list[str]) -> int:
    """Write the page from what is stored; nothing is generated."""
    parser = argparse.ArgumentParser(
        prog="guidebench gallery",
        description="Write one static HTML page of a table's stored images: the same prompt and seed side by side.",
        epilog="Make the images first: guidebench table NAME with the same overrides.",
    )
    parser.add_argument("name", help="PAPER/NAME")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides, as for `table`")
    arguments = parser.parse_intermixed_args(argv)

    document = sweeps.load(arguments.name)
    jobs = sweeps.jobs(document, arguments.overrides)
    records = collect(jobs, arguments.name)
    if records.empty:
        command = " ".join(["guidebench table", arguments.name, *arguments.overrides])
        raise DataError(f"nothing of {arguments.name} is stored; run `{command}` first")
    config, layout = jobs[0].job.config, document["layout"]
    stem = arguments.name.replace("/", "_") + ("" if config["suite"] == "embedded" else f"_{config['suite']}")
    metrics = {name: metric.higher_is_better for name, metric in jobs[0].job.metrics().items()}
    path = write_gallery(
        records,
        Path(config["paths"]["tables"]) / f"{stem}_gallery.html",
        title=layout["title"],
        metrics=metrics,
        setting=f"suite {config['suite']}, size {config['size']}",
        order=layout["rows"]["values"],
    )
    Console().print(f"wrote {path}", soft_wrap=True)
    return 0
