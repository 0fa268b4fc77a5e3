"""Every YAML in conf/ composes, fits its class and instantiates; what is wrong is refused in words."""

import socket
from typing import Any, NoReturn

import pytest
import torch
from components import choices, choosing, groups, job

from guidebench.errors import ConfigError
from guidebench.runner.compat import check_compatibility
from guidebench.runner.compose import compose_config
from guidebench.runner.job import COMPONENTS

EVERY_YAML = [(group, name) for group in groups() for name in choices(group)]


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise AssertionError("a constructor built a network or opened a connection")

    monkeypatch.setattr(torch.nn.Module, "__init__", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_the_groups_are_found() -> None:
    assert {"method", "loss", "sampler", "gradient", "metric", "model", "dataset"} <= set(groups())
    assert len(EVERY_YAML) > 25


@pytest.mark.parametrize(("group", "name"), EVERY_YAML)
def test_every_choice_makes_a_job_whose_components_instantiate(
    group: str, name: str, nothing_loads: None
) -> None:
    composed = job(*choosing(group, name))
    for component in COMPONENTS:
        composed.build(component)
    assert composed.metrics()


@pytest.mark.parametrize("suite", choices("suite"))
@pytest.mark.parametrize("size", choices("size"))
def test_every_suite_has_every_size(suite: str, size: str) -> None:
    config = job(f"suite={suite}", f"size={size}").config
    assert (config["suite"], config["size"]) == (suite, size)
    assert config["sampler"]["n_steps"] == config["n_steps"] > 0


def test_guide_and_score_of_every_suite_are_different_networks() -> None:
    for suite in choices("suite"):
        assert check_compatibility(job(f"suite={suite}")) == []


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methd=doodl", "'method'"),
        ("method=dodl", "did you mean 'doodl'"),
        ("n_step=3", "did you mean 'n_steps'"),
        ("method.sacle=3", "'scale'"),
        ("+method.n_opts=1", "did you mean 'n_opt'"),
        ("+sampler.grid.ofset=1", "did you mean 'offset'"),
        ("seed=many", "seed"),
        ("n_steps=2.5", "n_steps"),
        ("task=drawbanch", "did you mean 'drawbench'"),
        ("task=null", "allowed: class_conditional, drawbench"),
        ("dataset=drawbench/ful", "did you mean 'drawbench/full'"),
        ("not an override", "not an override"),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        job("method=doodl", override)
    assert message in str(refused.value)


@pytest.mark.parametrize("where", ["loss", "sampler.grid", "metrics.prompt_success.judge", "logger"])
@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "builtins.eval",
        "hydra.utils.instantiate",
        "guidebench",
        "guidebench.models.weights.resolve",  # a function
        "guidebench.models.readers.clip.functools.partial",
        "guidebench.models.weights.Path",  # a class of another package, seen through a module of ours
        "guidebench.runner.store.Store",
        "guidebench.models.nowhere.CLIP",
        "guidebench.models.readers.clip.Nothing",
    ],
)
def test_only_this_packages_components_may_be_named(where: str, target: str) -> None:
    with pytest.raises(ConfigError, match=rf"{where}\._target_: .*{target}"):
        job(f"{where}._target_={target}")


def test_a_missing_value_is_refused_before_anything_loads() -> None:
    with pytest.raises(ConfigError, match="cfg_scale"):
        job("cfg_scale=???")


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(ConfigError, match=r"metrics\.clip_score\.clip: missing"):
        job("~metrics.clip_score.clip")


def test_a_reversible_gradient_needs_a_reversible_sampler() -> None:
    chosen = ["method=doodl", "gradient=reversible"]
    check_compatibility(job(*chosen, "sampler=edict"))
    with pytest.raises(ConfigError, match=r"(?s)not reversible.*sampler=edict.*gradient=checkpointed"):
        check_compatibility(job(*chosen, "sampler=ddim"))
    check_compatibility(job("method=none", "gradient=reversible", "sampler=ddim"))  # unused, hence harmless


def test_an_optimised_chain_must_be_deterministic() -> None:
    with pytest.raises(ConfigError, match=r"sampler\.eta=0"):
        check_compatibility(job("method=doodl", "sampler=ddim", "sampler.eta=1"))


@pytest.mark.parametrize("method", ["none", "doodl"])
def test_a_metric_must_not_share_the_guides_network_unless_allowed(method: str) -> None:
    shared = [f"method={method}", "clip@networks.score_clip=embedded_guide"]
    with pytest.raises(ConfigError, match=r"metrics\.clip_score.*(?s:.)*allow_shared_networks=true"):
        check_compatibility(job(*shared))
    assert check_compatibility(job(*shared, "allow_shared_networks=true")) == ["clip_score"]


CLASSES = ["dataset=classes/animals_and_birds", "~metrics.clip_score", "~metrics.prompt_success"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["method=one_step", *CLASSES],
            r"loss: ClipText reads prompt, and the problems of dataset: WorldClasses have label, name",
        ),
        (CLASSES[:1], r"metrics\.clip_score: .* reads prompt.*~metrics\.clip_score"),
        (
            ["+metric@metrics.psnr=psnr"],
            r"metrics\.psnr: PSNR reads reference, and the problems of dataset",
        ),
        (["model=embedded_pixels", *CLASSES], r"cfg_scale=4: model: ADM is unconditional.*set cfg_scale=1"),
        (
            ["model=motion_prior", *CLASSES, "+metric@metrics.fid=fid"],
            r"FID measures samples of the kind 'image'.*'motion'",
        ),
        (
            [
                "loss=classifier",
                "cfg_scale=0",
                *CLASSES,
                "+metric@metrics.fid=accuracy",
                "classifier@networks.judge_classifier=pixels_guide",
            ],
            "scores with the network that guides",
        ),
    ],
)
def test_parts_that_do_not_fit_the_problems_or_the_model_are_refused(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        check_compatibility(job(*overrides))


def test_classes_go_with_an_unconditional_model_and_a_classifier() -> None:
    chosen = [
        "method=one_step",
        "loss=classifier",
        "model=embedded_pixels",
        "cfg_scale=1",
        "sampler=ddim",
        *CLASSES,
    ]
    metrics = [
        f"+metric@metrics.{m}={m}" for m in ("fid", "kid", "accuracy", "classifier_loss", "inception_score")
    ]
    assert check_compatibility(job(*chosen, *metrics)) == []


def test_composing_twice_gives_the_same_configuration() -> None:
    assert compose_config(["seed=3"]) == compose_config(["seed=3"]) != compose_config(["seed=4"])
