"""`guidebench zoo`: measure the shipped networks and hold them against their bars."""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from guidebench.methods.base import Setup
from guidebench.models.adm import ADM
from guidebench.models.readers.classifiers import SmallClassifier
from guidebench.models.readers.noisy_classifier import NoisyClassifier
from guidebench.report.render import to_console, write_table
from guidebench.report.statistics import Estimate
from guidebench.report.table import Block, Cell, Column, Row, Table
from guidebench.runner.compose import compose_config, merge
from guidebench.runner.experiment import device
from guidebench.runner.job import Job
from guidebench.samplers.ddim import DDIM
from guidebench.studies.zoo.measurements import PARTS, Models, PixelSpace, Readers
from guidebench.studies.zoo.measurements import Row as Measured

_DEFAULTS = ("sampler=ddim", "n_steps=20")
_STEM = "embedded_zoo"
_CLASSIFIERS = (
    ("birds", "birds", ("birds",), 64),
    ("faces", "attributes", ("faces",), 64),
    ("animals", "animals", ("animals",), 64),
    ("objects", "objects", ("objects",), 64),
    ("animals and birds, 32 pixels", "pixels", ("animals", "birds"), 32),
)
"""Name in the table, stem of the weights, worlds and size of the classifiers."""
_PIXELS = DDIM(n_steps=50, eta=1.0)
"""Of the model in pixel space, as in LGD's Table 1."""
_NOTES = (
    "Pictures are of the test split, prompts of no table; nothing was trained on them. Sampling is unguided but for "
    "classifier-free guidance, as in `method=none`.",
    "The model in pixel space takes 50 steps of DDIM with eta = 1.",
    "Intervals, 95 %: Wilson for rates, t for PSNR, Fisher for correlations, bootstrap for the overlap of errors, "
    "jackknife over 20 groups of pictures for FID and KID.",
    "A CLIP chooses among 100 captions that say different things; all but the picture's own are false of it, unless "
    "said otherwise.",
    "An overlap of 1 is what independent errors give: P(both wrong) over P(first wrong) P(second wrong).",
    '"close": the interval holds the bar too.',
)


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
    arguments = parser.parse_intermixed_args(argv)
    if arguments.n < 1:
        parser.error(f"--n {arguments.n}: at least 1")
    job = Job.from_config(compose_config(merge(_DEFAULTS, arguments.overrides)))
    models = load(job)
    console = Console()
    blocks = []
    for part in arguments.only or PARTS:
        title, measure, per_n = PARTS[part]
        with console.status(title):
            blocks.append(_block(title, measure(models, per_n * arguments.n)))
    overrides = " ".join(arguments.overrides)
    table = Table(
        title="The embedded suite's networks",
        setting=f"suite embedded, {job.config['sampler']['n_steps']} steps of "
        f"{job.config['sampler']['_target_'].rpartition('.')[2]}, cfg_scale {job.config['cfg_scale']:g}"
        + (f", overrides {overrides}" if overrides else ""),
        warning="",
        headline=None,
        row_header="measured",
        columns=(Column("value", "", 2),),
        blocks=tuple(blocks),
        comparisons=(),
        notes=_NOTES,
    )
    console.print(to_console(table))
    if not arguments.only:
        paths = write_table(table, Path(job.config["paths"]["tables"]), _STEM)
        console.print(*(f"wrote {path}" for path in paths), sep="\n", soft_wrap=True)
    return 0


def load(job: Job) -> Models:
    """The networks of a job's suite; the diffusion models are read now, the others when they are first used."""
    model, pixels = job.build("model"), ADM("embedded/pixels")
    for network in (model, pixels):
        network.load(device(job.config["device"]))
    return Models(
        Setup(model, job.build("sampler"), cfg_scale=job.config["cfg_scale"]),
        {"guide": job.build("networks.guide_clip"), "score": job.build("score_clip")},
        {
            name: Readers(
                worlds,
                size,
                SmallClassifier(f"embedded/{stem}_guide"),
                SmallClassifier(f"embedded/{stem}_judge"),
            )
            for name, stem, worlds, size in _CLASSIFIERS
        },
        SmallClassifier("embedded/features"),
        {"guide": job.build("networks.guide_aesthetic"), "score": job.build("score_aesthetic")},
        PixelSpace(
            Setup(pixels, _PIXELS),
            NoisyClassifier("embedded/pixels_noisy_classifier"),
            ("animals", "birds"),
        ),
    )


def _block(title: str, measured: Iterable[Measured]) -> Block:
    rows = []
    for row in measured:
        number = row.number
        value = number.value if math.isfinite(number.value) else None
        estimate = Estimate(value, number.interval, number.n, number.n, number.no_interval)
        rows.append(Row(row.what, (Cell(estimate, 0, 0, verdict=row.bar.verdict(number)),)))
    n = len(rows)
    return Block(title, f"{n} measurement{'' if n == 1 else 's'}", tuple(rows))
