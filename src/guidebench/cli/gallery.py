"""`guidebench gallery`: a table's images side by side in one static HTML page."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from guidebench.cli.printing import say
from guidebench.errors import DataError
from guidebench.runner.tables import compose_table

if TYPE_CHECKING:
    from PIL.Image import Image


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

    composed = compose_table(arguments.name, arguments.overrides)
    if composed.source != "samples":
        raise DataError(f"{arguments.name}: stores no samples, so there are no pictures to show")
    from guidebench.metrics.base import Metric  # heavy: after the arguments are known to be right
    from guidebench.report.gallery import write_gallery
    from guidebench.runner.sources import prepared, stored_records

    records = stored_records(composed, prepared(composed, run=False))
    if records.empty:
        command = " ".join(["guidebench table", arguments.name, *arguments.overrides])
        raise DataError(f"nothing of {arguments.name} is stored; run `{command}` first")
    spec = composed.specs[""]
    labels = {row.name: row.label for row in spec.rows}
    measured = {name: metric for entry in composed.jobs for name, metric in entry.job.metrics().items()}
    ordered = dict.fromkeys([c.name for c in spec.columns if c.name in measured] + list(measured))
    path = write_gallery(
        records.assign(row=records["row"].map(labels)),
        composed.tables / f"{composed.stem}_gallery.html",
        title=spec.title,
        metrics={
            name: measured[name].higher_is_better
            for name in ordered  # as in the table, the primary one first
            if isinstance(measured[name], Metric)
        },
        setting=", ".join(f"{key} {value}" for key, value in composed.labels.items()),
        column="row",
        order=list(labels.values()),
        thumbnail=_thumbnail,
    )
    say(f"wrote {path}")
    return 0


def _thumbnail(path: Path) -> "Image | None":
    """The picture of a sample's file, by the kind that its name tells."""
    from guidebench.samples import KINDS

    kinds = sorted(KINDS.values(), key=lambda kind: -len(kind.suffix))
    return next(kind for kind in kinds if path.name.endswith(kind.suffix)).thumbnail(path)
