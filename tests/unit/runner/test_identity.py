"""What is part of an identity, and what is not."""

from typing import Any

import pytest

from guidebench.diffusion.grids import Leading
from guidebench.losses.clip_text import ClipText
from guidebench.methods.base import Method
from guidebench.metrics.feature_distance import FeatureDistance
from guidebench.metrics.inception_score import InceptionScore
from guidebench.models.readers.clip import CLIP
from guidebench.runner.components import component_class
from guidebench.runner.compose import compose_config
from guidebench.runner.identity import digest, features_identity, identity, reference_identity, revision
from guidebench.runner.job import Job
from guidebench.samplers.base import Sampler
from guidebench.samplers.ddim import DDIM


def job(*overrides: str) -> Job:
    return Job.from_config(compose_config(overrides))


GRID = {"_target_": "guidebench.diffusion.grids.Leading", "offset": 0, "final": "t_min"}
SAMPLER = {"_target_": "guidebench.samplers.ddim.DDIM", "n_steps": 10}


def generation(*overrides: str) -> str:
    return digest(job("method=doodl", *overrides).generation_config({"model": "m", "loss": "l"}))


@pytest.mark.parametrize(
    "override",
    [
        "~loss.clamp",
        "~sampler.alternate",
        "~method.variant",
        "gradient.keep_graphs=3",
        "batch_size=1",
        "seed=5",
        "logger=wandb",
    ],
)
def test_a_default_or_the_way_of_computing_changes_nothing(override: str) -> None:
    assert generation(override) == generation()


@pytest.mark.parametrize(
    "override",
    [
        "loss.clamp=false",
        "sampler.n_steps=7",
        "sampler.grid.offset=1",
        "method.momentum=0.5",
        "cfg_scale=2",
        "gradient=truncated",
        "model.dtype=bfloat16",
        "clip@networks.guide_clip=embedded_score",
    ],
)
def test_whatever_differs_from_the_default_counts(override: str) -> None:
    assert generation(override) != generation()


def test_a_nested_component_that_equals_the_default_is_no_part() -> None:
    default = DDIM(n_steps=10).grid
    assert default == Leading(offset=GRID["offset"], final=GRID["final"])
    assert identity({**SAMPLER, "grid": GRID}) == identity(SAMPLER)
    assert identity({**SAMPLER, "grid": {**GRID, "offset": 1}}) != identity(SAMPLER)
    assert identity({**SAMPLER, "eta": 0}) == identity({**SAMPLER, "eta": 0.0}) == identity(SAMPLER)


def test_a_raised_revision_counts_for_the_class_and_all_that_derive_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {node: digest(identity(value)) for node, value in {"plain": SAMPLER}.items()}
    assert revision(DDIM) == 1
    monkeypatch.setattr(Sampler, "revision", 2, raising=False)
    assert revision(DDIM) == 2 and digest(identity(SAMPLER)) != before["plain"]
    monkeypatch.setattr(DDIM, "revision", 3, raising=False)
    assert revision(DDIM) == 4


@pytest.mark.parametrize("cls", [CLIP, ClipText, Leading, DDIM, Method])
def test_a_raised_revision_of_any_part_is_another_sample(cls: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the part is its owner's default, spelled out or not."""
    before = generation("sampler=ddim", "sampler.grid.offset=0")
    monkeypatch.setattr(cls, "revision", 7, raising=False)
    spelled = generation("sampler=ddim", "sampler.grid.offset=0")
    assert spelled != before
    assert generation("sampler=ddim", "~sampler.grid") == spelled


@pytest.mark.parametrize("unused", ["loss.n_crops=3", "gradient.keep_graphs=1"])
def test_what_a_method_does_not_use_is_no_part(unused: str) -> None:
    def unguided(*overrides: str) -> str:
        return digest(job("method=none", *overrides).generation_config({"model": "m", "loss": "l"}))

    assert unguided(unused) == unguided() != generation()


def test_metrics_of_sets_share_features_until_the_code_behind_them_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics = job("task=class_conditional", "+metric@metrics.inception=inception_score").config["metrics"]
    fid, kid, inception = (metrics[name] for name in ("fid", "kid", "inception"))
    other: dict[str, Any] = {**fid, "reference": {**fid["reference"], "n": 7}}

    def features(node: dict[str, Any]) -> str:
        return digest(features_identity(component_class(node["_target_"], "metrics"), node, "weights"))

    assert features(fid) == features(kid) == features(other) != features(inception)
    pictures = [
        reference_identity(FeatureDistance, node, [name])
        for node, name in ((other, "a"), (fid, "a"), (fid, "b"))
    ]
    assert len({digest(which) for which in pictures}) == 3
    before = features(fid), features(inception)
    monkeypatch.setattr(FeatureDistance, "revision", 2, raising=False)
    assert features(fid) == features(kid) != before[0]
    assert features(inception) == before[1]
    monkeypatch.setattr(InceptionScore, "revision", 2, raising=False)
    assert features(inception) != before[1]


def test_jobs_of_a_sweep_have_names_of_their_own() -> None:
    jobs = [job(*o) for o in ([], ["dataset.limit=3"], ["seed=1"], ["~metrics.clip_score"], ["method=doodl"])]
    assert len({j.run_id for j in jobs}) == len(jobs)
    assert job("paths.results=/elsewhere", "batch_size=1").run_id == job().run_id
