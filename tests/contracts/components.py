"""Every component that conf/ declares: the contract tests are parametrised over these lists."""

from collections.abc import Iterable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from guidebench.problems import (
    ClassConditional,
    Morph,
    MotionControl,
    Picture,
    Problem,
    Restoration,
    TextToImage,
)
from guidebench.runner.compose import compose_config
from guidebench.runner.folders import shipped
from guidebench.runner.job import Job
from tiny_models import CLASSES

_OVERRIDE = {
    "artefact": "artefact@method.corrective={name}",
    "clip": "clip@networks.guide_clip={name}",
    "aesthetic": "aesthetic@networks.guide_aesthetic={name}",
    "classifier": "classifier@networks.judge_classifier={name}",
    "features": "features@networks.features={name}",
    "perceptual": "perceptual@networks.perceptual={name}",
    "recogniser": "+recogniser@networks.recogniser={name}",
    "reference": "reference@networks.reference={name}",
    "metric": "+metric@metrics.contract={name}",
}
_SUITE = {"model/sd14": "full", "model/sd15": "full", "dataset/drawbench/full": "full"}
_NOT_OF_A_JOB = {"setting", "method_size"}  # task and suite, size and method choose them

FIXED_COST = {"checkpointed": ["gradient.keep_graphs=0"]}
"""Overrides under which a gradient strategy's cost does not depend on the memory there is."""

_RECOGNISER = "{layers: [1, 1, 1, 1], widths: [8, 8, 8, 8], image_size: 32, num_features: 8}"
TINY_RECOGNISERS = [
    f"+networks.{role}.{setting}"
    for role in ("guide_recogniser", "judge_adaface", "judge_arcface", "judge_elasticface")
    for setting in ("random_weights=true", "network=iresnet", "channels=rgb", f"architecture={_RECOGNISER}")
] + [
    "reference@networks.gallery=noise_people",
    "networks.gallery.n=4",
    "networks.gallery.size=64",
    "dataset=morphs/random",
]
"""Overrides under which what compares faces needs no files."""

PROMPTS = ("a red circle", "two blue squares", "a red square", "two red circles")


def choices(group: str) -> list[str]:
    """Names of the YAMLs of a config group."""
    root = shipped("conf") / group
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def groups() -> list[str]:
    """Config groups of a job."""
    return sorted(p.name for p in shipped("conf").iterdir() if p.is_dir() and p.name not in _NOT_OF_A_JOB)


def choosing(group: str, name: str) -> list[str]:
    """Overrides that compose a job with one choice, in the suite it belongs to."""
    chosen = _OVERRIDE.get(group, f"{group}={{name}}").format(name=name)
    suite = _SUITE.get(f"{group}/{name}")
    method = ["method=lmc_sds"] if group == "artefact" else []  # the one that asks for what is learned
    return [*([f"suite={suite}"] if suite else []), *method, chosen]


def each(group: str) -> pytest.MarkDecorator:
    """Parametrise a test's argument `name` over the YAMLs of a group."""
    return pytest.mark.parametrize("name", choices(group))


def job(*overrides: str) -> Job:
    """A composed and checked job."""
    return Job.from_config(compose_config(overrides))


def problems(reads: Iterable[str]) -> list[Problem]:
    """Four problems that give the fields which a component reads.

    A component that reads a new field brings its example here.
    """
    examples: list[list[Problem]] = [
        [
            TextToImage(f"case-{i}", seed, prompt, "contract")
            for i, (seed, prompt) in enumerate(zip((0, 1, 0, 2), PROMPTS, strict=True))
        ],
        [ClassConditional(f"case-{i}", seed, i, CLASSES[i]) for i, seed in enumerate((0, 1, 0, 2))],
        [
            Restoration(f"case-{i}", seed, Picture(f"noise-{i}", partial(_noise, i)), i, CLASSES[i])
            for i, seed in enumerate((0, 1, 0, 2))
        ],
        [
            MotionControl(f"case-{i}", seed, "a person walks", ((x, 4.0),), (x, -2.0))
            for i, (seed, x) in enumerate(zip((0, 1, 0, 2), (-1.0, 0.0, 1.0, 2.0), strict=True))
        ],
        [_morph(i, seed) for i, seed in enumerate((0, 1, 0, 2))],
    ]
    for some in examples:
        if all(hasattr(some[0], name) for name in reads):
            return some
    raise KeyError(f"tests/contracts/components.py has no problems with the fields {tuple(reads)}")


def _morph(i: int, seed: int) -> Morph:
    """Two people of noise, whose landmarks are a square and a smaller one."""
    pictures = [Picture(f"noise-{i + 10 * k}", partial(_noise, i + 10 * k)) for k in range(4)]
    squares = [tuple((0.5 + h * x, 0.5 + h * y) for x in (-1, 1) for y in (-1, 1)) for h in (0.2, 0.15)]
    numbers = [tuple(np.random.default_rng(10 * i + k).uniform(-1, 1, 20).tolist()) for k in range(2)]
    return Morph(
        f"case-{i}", seed, pictures[0], pictures[1], f"a{i}", f"b{i}", *pictures[2:], *squares, *numbers
    )


def _noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
