"""`guidebench table`: run what is missing, evaluate, tabulate."""

import argparse

from guidebench.runner import studies, sweeps

_NOTHING_STORED = "{} {}: nothing of it is stored, so --no-run has nothing to tabulate"


def main(argv: list[str]) -> int:
    """Make a table; the exit status is 1 where a job failed, and the table says what is missing."""
    parser = argparse.ArgumentParser(
        prog="guidebench table",
        description="Run what the store lacks, evaluate, and write the table as md, csv, tex and html.",
        epilog=f"Tables: {', '.join(sweeps.table_names())}. Examples: guidebench table doodl/fig5 size=smoke; "
        "guidebench table doodl/fig5 'seed=range(0,9)' paths.results=/data/results",
    )
    parser.add_argument("name", help="PAPER/NAME")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides, as for `run`")
    parser.add_argument("--no-run", action="store_true", help="only tabulate what is stored")
    arguments = parser.parse_intermixed_args(argv)

    if sweeps.is_study(arguments.name):
        if arguments.no_run:
            parser.error(_NOTHING_STORED.format(arguments.name, "is a study"))
        from guidebench.cli.study import tabulate

        return tabulate(studies.load(arguments.name, arguments.overrides))
    sweep = sweeps.load(arguments.name, arguments.overrides)
    if sweep.records == "resources":
        if arguments.no_run:
            parser.error(_NOTHING_STORED.format(arguments.name, "shows measured resources"))
        from guidebench.cli import resources

        return resources.tabulate(sweep)
    from guidebench.cli.regenerate import regenerate  # heavy: after the arguments are known to be right

    return regenerate(sweep, run=not arguments.no_run)
