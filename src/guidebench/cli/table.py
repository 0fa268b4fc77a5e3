"""`guidebench table`: run what is missing, evaluate, tabulate."""

import argparse

from rich.console import Console

from guidebench.cli.printing import say, say_json, width
from guidebench.runner.table_file import table_names
from guidebench.runner.tables import compose_table


def main(argv: list[str], alias: str = "") -> int:
    """Make a table; the exit status is 1 where a job or too many samples failed.

    Args:
        argv: arguments.
        alias: another command that stands for one table, whose name comes first in `argv`.
    """
    parser = argparse.ArgumentParser(
        prog=f"guidebench {alias or 'table'}",
        description="Run what the store lacks, evaluate, and write the table as md, csv, tex and html.",
        epilog=f"Tables: {', '.join(table_names())}. Examples: guidebench table doodl/fig5 size=smoke; guidebench "
        "table lgd/sr rows=dps,lgd_mc_n10 'seed=range(0,9)' paths.results=/data/results. With other overrides than "
        "suite and size the files bear a short hash of them. Exit status: 0 made, 1 jobs or samples failed, 2 refused.",
    )
    parser.add_argument("name", help=argparse.SUPPRESS if alias else "PAPER/NAME")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="Hydra overrides, as for `run`; rows=a,b and blocks=a,b",
    )
    parser.add_argument("--no-run", action="store_true", help="only tabulate what is stored")
    parser.add_argument(
        "--max-failed",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="status 1 above this share of failed samples (0.1)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    arguments = parser.parse_intermixed_args(argv)

    composed = compose_table(arguments.name, arguments.overrides)
    from guidebench.cli.progress import (
        GenerationProgress,  # heavy: after the arguments are known to be right
    )
    from guidebench.report.render.console import to_text
    from guidebench.report.render.document import to_document
    from guidebench.runner.pipeline import make_composed

    watch = GenerationProgress(Console(stderr=True), composed.name)
    try:
        made = make_composed(composed, run=not arguments.no_run, watch=watch)
    finally:
        watch.done()
    failed, n = made.failed_samples
    status = 1 if made.has_failed(arguments.max_failed) else 0
    if arguments.json:
        say_json(
            {
                "name": composed.name,
                "tables": {suffix or "main": to_document(table) for suffix, table in made.tables.items()},
                "claims": list(made.claims),
                "files": [str(path) for path in made.paths],
                "samples": n,
                "failed_samples": failed,
                "failed_jobs": list(made.failed_jobs),
                "status": status,
            }
        )
        return status
    for table in made.tables.values():
        say(to_text(table, width()), "")
    say(*(f"wrote {path}" for path in made.paths))
    if failed:
        say(f"{failed} of {n} samples failed")
    if made.failed_jobs:
        jobs = f"{len(made.failed_jobs)} of {len(composed.jobs)} jobs failed ({', '.join(made.failed_jobs)})"
        say(f"{jobs}: see {made.logs}")
    return status
