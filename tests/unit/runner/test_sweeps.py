"""The sweep behind a table: rows by name, what the user asks for, what the headings say."""

import pytest

from guidebench.errors import ConfigError
from guidebench.runner import sweeps


def test_a_variant_stands_for_its_overrides_and_keeps_its_name() -> None:
    sweep = sweeps.load("lgd/motion_path", ["size=smoke", "seed=3"])
    chosen = {job.choice("method"): job.job.config["method"] for job in sweep.jobs}
    assert list(chosen) == ["none", "lgd_dps", "lgd_mc_n10", "lgd_mc_n100"]
    assert [chosen[row]["n_mc"] for row in ("lgd_mc_n10", "lgd_mc_n100")] == [10, 100]
    assert chosen["lgd_mc_n10"]["_target_"].endswith("LGDMC") and chosen["none"]["_target_"].endswith(
        "Unguided"
    )
    assert chosen["lgd_dps"]["scale"] == sweep.config["strength"]["lgd_dps"]


def test_the_user_wins_over_a_variant() -> None:
    asked = ["size=smoke", "method=lgd_mc_n10,lgd_dps", "method.scale=0.5", "seed=3"]
    jobs = sweeps.load("lgd/motion_path", asked).jobs
    assert [job.choice("method") for job in jobs] == ["lgd_mc_n10", "lgd_dps"]
    assert {job.job.config["method"]["scale"] for job in jobs} == {0.5}
    (plain,) = sweeps.load("lgd/motion_path", ["size=smoke", "method=mpgd", "seed=3"]).jobs
    assert plain.job.config["method"]["_target_"].endswith("MPGD")
    with pytest.raises(ConfigError, match="did you mean"):
        sweeps.load("lgd/motion_path", ["method=lgd_mc_n1"])


def test_headings_say_what_the_rows_use() -> None:
    labels = sweeps.load("lgd/motion_path", ["size=smoke"]).labels
    assert labels["model"] == "MotionPrior" and labels["sampler"] == "DDIM 4 steps"
    assert "one_step" not in labels["strength"] and "lgd_mc_n100" in labels["strength"]
    assert "optimisation steps" not in labels
    doodl = sweeps.load("doodl/fig5", ["size=smoke"]).labels
    assert doodl["strength"] == "one_step 2, doodl 5" and doodl["optimisation steps"] == "2"


def test_a_table_says_what_the_papers_own_run_costs() -> None:
    assert "555 GPU-hours" in sweeps.load("lgd/sr", ["suite=random", "size=smoke"]).costs
    assert sweeps.load("lgd/sr", ["size=smoke"]).costs == ""
