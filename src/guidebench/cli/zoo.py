"""`guidebench zoo`: measure the shipped networks and hold them against their bars."""

import argparse
from pathlib import Path

from rich.console import Console

from guidebench.cli.printing import say, say_json, width
from guidebench.report.render.console import to_text
from guidebench.report.render.document import to_document
from guidebench.report.render.files import write_table
from guidebench.runner.compose import compose_config, merge
from guidebench.runner.job import Job
from guidebench.runner.zoo import measured_zoo
from guidebench.studies.zoo.measurements import PARTS

_DEFAULTS = ("sampler=ddim", "n_steps=20")
_STEM = "embedded_zoo"


def main(argv: list[str]) -> int:
    """Measure, print and write the table."""
    parser = argparse.ArgumentParser(
        prog="guidebench zoo",
        description="Measure the networks that ship with the package on held-out pictures and prompts, each number "
        "with n, interval and the bar it is held against, and write the table as md, csv, tex and html.",
        epilog="Examples: guidebench zoo --n 20; guidebench zoo --only clip; guidebench zoo cfg_scale=5 n_steps=50 "
        "paths.tables=results/tables",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides, as for `run`")
    parser.add_argument(
        "--n", type=int, default=200, help="prompts of each kind, and a fifth of the pictures (200)"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, metavar="PART", help=f"parts: {', '.join(PARTS)}; none written"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.n < 1:
        parser.error(f"--n {arguments.n}: at least 1")
    job = Job.from_config(compose_config(merge(_DEFAULTS, arguments.overrides)))
    with Console(stderr=True).status("zoo") as status:
        table = measured_zoo(
            job, arguments.overrides, arguments.n, arguments.only or list(PARTS), status.update
        )
    paths = [] if arguments.only else write_table(table, Path(job.config["paths"]["tables"]), _STEM)
    if arguments.json:
        say_json(to_document(table) | {"files": [str(path) for path in paths]})
    else:
        say(to_text(table, width()), *(f"wrote {path}" for path in paths))
    return 0
