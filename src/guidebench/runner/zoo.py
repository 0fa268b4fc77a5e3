"""The zoo as a table: the embedded suite's networks, measured and held against their bars."""

import math
from collections.abc import Callable, Iterable, Sequence

from guidebench.devices import device
from guidebench.errors import WeightsError
from guidebench.methods.base import Setup
from guidebench.models.adm import ADM
from guidebench.models.diffae import DiffAE
from guidebench.models.readers.classifiers import SmallClassifier
from guidebench.models.readers.face_recognition import TorchRecogniser
from guidebench.models.readers.noisy_classifier import NoisyClassifier
from guidebench.report.layout import Block, Cell, Column, Row, Table
from guidebench.report.statistics import Estimate
from guidebench.runner.job import Job
from guidebench.samplers.ddim import DDIM
from guidebench.studies.zoo.estimates import Measured
from guidebench.studies.zoo.measurements import PARTS, Models, PixelSpace, Readers
from guidebench.studies.zoo.portraits import FaceModels

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
    "jackknife over 20 groups of pictures for FID and KID, of persons for shared false matches.",
    "Recognisers: persons of the gallery's kind beyond its end, neutral against smiling; a thousandth of the cross "
    "pairs exceeds the threshold. Whom truth makes alike every judge mistakes: the second number of two judges takes "
    "the chance among pairs as near in the drawing's own numbers.",
    "A CLIP chooses among 100 captions that say different things; all but the picture's own are false of it, unless "
    "said otherwise.",
    "An overlap of 1 is what independent errors give: P(both wrong) over P(first wrong) P(second wrong).",
    '"close": the interval holds the bar too.',
)


def measured_zoo(
    job: Job, overrides: Sequence[str], n: int, parts: Sequence[str], tell: Callable[[str], None]
) -> Table:
    """Measure the networks; a part whose weights are not there is left out, and a note says so.

    Args:
        job: chooses the text-to-image model, its sampler and guidance, and the device.
        overrides: that it was composed of beside the defaults, for the heading.
        n: prompts of each kind, and a fifth of the pictures.
        parts: keys of `PARTS`.
        tell: told of what is being measured.
    """
    tell("loading")
    models, blocks, missing = load(job), list[Block](), list[str]()
    for part in parts:
        title, measure, per_n = PARTS[part]
        tell(title)
        try:
            blocks.append(_block(title, measure(models, per_n * n)))
        except WeightsError as error:
            missing.append(f"Not measured: {title}. {error}")
    sampler = job.config["sampler"]
    return Table(
        title="The embedded suite's networks",
        setting=f"suite embedded, {sampler['n_steps']} steps of {sampler['_target_'].rpartition('.')[2]}, "
        f"cfg_scale {job.config['cfg_scale']:g}"
        + (f", overrides {' '.join(overrides)}" if overrides else ""),
        warning="",
        headline=None,
        row_header="measured",
        columns=(Column("value", "", 2, beside="verdict"),),
        blocks=tuple(blocks),
        comparisons=(),
        notes=(*_NOTES, *missing),
    )


def load(job: Job) -> Models:
    """The networks of a job's suite; the diffusion models are read now, the others when they are first used."""
    model, pixels = job.build("model"), ADM("embedded/pixels")
    for network in (model, pixels):
        network.load(device(job.config["device"]))
    return Models(
        Setup(model, job.build("sampler"), cfg_scale=job.config["cfg_scale"]),
        {"guide": job.build("networks.guide_clip"), "score": job.build("networks.score_clip")},
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
        {"guide": job.build("networks.guide_aesthetic"), "score": job.build("networks.score_aesthetic")},
        PixelSpace(
            Setup(pixels, _PIXELS),
            NoisyClassifier("embedded/pixels_noisy_classifier"),
            ("animals", "birds"),
        ),
        FaceModels(
            DiffAE("embedded/faces_autoencoder"),
            TorchRecogniser("embedded/face_cosface"),
            {
                name: TorchRecogniser(f"embedded/face_{name.lower()}")
                for name in ("ArcFace", "ElasticFace", "AdaFace")
            },
        ),
    )


def _block(title: str, measured: Iterable[Measured]) -> Block:
    rows = []
    for row in measured:
        number = row.number
        value = number.value if math.isfinite(number.value) else None
        estimate = Estimate(value, number.interval, number.n, number.n, number.no_interval)
        rows.append(Row(row.what, (Cell(estimate, 0, 0, row.bar.verdict(number)),)))
    n = len(rows)
    return Block(title, f"{n} measurement{'' if n == 1 else 's'}", tuple(rows))
