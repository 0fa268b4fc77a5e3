"""Rows, blocks and seeds of a table become jobs; what would give a row a wrong name is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from guidebench.errors import ConfigError
from guidebench.runner.tables import ComposedTable, compose_table

SMOKE = ["size=smoke", "seed=3"]


@pytest.fixture(scope="module")
def motion() -> ComposedTable:
    return compose_table("lgd/motion_path", SMOKE)


def test_a_row_is_one_job_with_what_was_tuned_for_the_suite(motion: ComposedTable) -> None:
    chosen = {entry.row: entry.job.config["method"] for entry in motion.jobs}
    assert list(chosen) == ["none", "lgd_dps", "lgd_mc_n10", "lgd_mc_n100"]
    assert [chosen[row]["n_mc"] for row in ("lgd_mc_n10", "lgd_mc_n100")] == [10, 100]
    assert chosen["lgd_mc_n10"]["_target_"].endswith("LGDMC")
    assert chosen["none"]["_target_"].endswith("Unguided")
    assert {chosen[row]["scale"] for row in list(chosen)[1:]} == {0.03}
    other = compose_table("lgd/sr", ["size=smoke", "suite=random", "rows=dps"])
    assert other.jobs[0].job.config["method"]["scale"] == 1.0


def test_seeds_are_cases_of_one_job() -> None:
    for asked, seeds in {"seed=range(0,4)": [0, 1, 2, 3], "seed=5,2": [5, 2], "seed=[7]": [7]}.items():
        table = compose_table("lgd/motion_path", ["size=smoke", "rows=none", asked])
        assert [entry.job.seeds for entry in table.jobs] == [seeds]


def test_ten_seeds_are_composed_once_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from guidebench.runner import tables

    calls = []
    compose = tables.compose_config
    monkeypatch.setattr(tables, "compose_config", lambda own: calls.append(own) or compose(own))
    table = compose_table("lgd/label", ["size=smoke", "rows=none,lgd_dps", "seed=range(0,10)"])
    assert len(calls) == len(table.jobs) == 2 and len(table.jobs[0].job.seeds) == 10


def test_the_user_may_choose_rows_and_change_what_was_tuned() -> None:
    table = compose_table("lgd/motion_path", [*SMOKE, "rows=lgd_mc_n10,lgd_dps", "method.scale=0.5"])
    assert [entry.row for entry in table.jobs] == ["lgd_dps", "lgd_mc_n10"]
    assert {entry.job.config["method"]["scale"] for entry in table.jobs} == {0.5}
    assert [row.name for row in table.specs[""].rows] == ["lgd_dps", "lgd_mc_n10"]
    assert "LGD-DPS method.scale=0.5" in table.labels["tuned"]
    assert all({c.row, c.against} <= {"lgd_dps", "lgd_mc_n10"} for c in table.specs[""].comparisons)


def test_what_was_tuned_is_changed_where_it_was_tuned() -> None:
    table = compose_table("lgd/sr", ["size=smoke", "rows=ddrm,dps,lgd_mc_n10", "method.scale=3"])
    scales = {entry.row: entry.job.config["method"].get("scale") for entry in table.jobs}
    assert scales == {"ddrm": None, "dps": 3, "lgd_mc_n10": 1.0}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rows=lgd_mc_n1", "did you mean 'lgd_mc_n10'"),
        ("blocks=cats", "the table has no such one"),
        ("method=mpgd", "would bear wrong names; choose with rows=none,lgd_dps"),
        ("method.n_mc=3", r"rows\.lgd_mc_n10: method\.n_mc=10"),
        ("task=drawbench", "make a table of its own"),
        ("n_steps=2,4", "cannot sweep n_steps"),
        ("size=smal", "did you mean 'small'"),
        ("metod.scale=3", "metod"),
    ],
)
def test_what_would_make_rows_alike_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_table("lgd/motion_path", [override])


def test_headings_say_what_the_rows_use(motion: ComposedTable) -> None:
    labels = motion.labels
    assert labels["model"] == "MotionPrior" and labels["sampler"] == "DDIM 4 steps"
    assert "LGD-MC n=100 method.scale=0.03" in labels["tuned"] and "baseline" not in labels["tuned"]
    assert labels["overrides"] == "seed=3"


def test_every_change_has_files_of_its_own_and_only_changes_have(motion: ComposedTable) -> None:
    plain = compose_table("lgd/motion_path", ["size=smoke", "rows=none", "device=cpu", "batch_size=3"])
    stems = [motion.stem, plain.stem]
    for own in (["seed=4"], ["seed=3", "rows=none"], ["seed=3", "method.scale=0.1"]):
        stems.append(compose_table("lgd/motion_path", ["size=smoke", *own]).stem)
    assert len(set(stems)) == len(stems)
    assert all(stem.startswith("lgd_motion_path_smoke_") for stem in stems)
    whole = ["size=smoke", "device=cpu", "batch_size=3", "paths.results=/r", "logger=wandb"]
    assert compose_table("lgd/motion_path", whole).stem == "lgd_motion_path_smoke"
    again = compose_table("lgd/motion_path", ["seed=3", "size=smoke", "method.scale=0.1"])
    assert again.stem == stems[-1]


def test_a_table_says_what_the_papers_own_run_costs() -> None:
    random = compose_table("lgd/sr", ["suite=random", "size=smoke", "rows=ddrm"])
    assert "555 GPU-hours" in random.costs
    assert compose_table("lgd/sr", ["size=smoke", "rows=ddrm"]).costs == ""


def write(root: Path, **content: Any) -> Path:
    """A table `toy/table` below `root`."""
    plain = {
        "title": "a toy",
        "task": "motion_path",
        "rows": {"none": {"overrides": ["method=none"]}},
        "columns": {"path_objective": {"higher_is_better": False}},
        "sizes": {"small": []},
    }
    (root / "toy").mkdir(parents=True, exist_ok=True)
    (root / "toy" / "table.yaml").write_text(yaml.safe_dump(plain | content, sort_keys=False))
    (root / "toy" / "paper.yaml").write_text(yaml.safe_dump({"paper": "toy", "t1": {"setting": "s"}}))
    return root


def test_a_row_and_a_block_win_over_the_size(tmp_path: Path) -> None:
    """Else a size that sets the key that tells rows apart would make them alike."""
    root = write(
        tmp_path,
        rows={f"n{n}": {"overrides": ["method=none", f"n_steps={n}"]} for n in (2, 3)},
        blocks={"east": ["dataset.directions=[0.0]"], "north": ["dataset.directions=[90.0]"]},
        sizes={"small": ["n_steps=7", "dataset.directions=[5.0]"]},
    )
    table = compose_table("toy/table", root=root)
    assert [(j.block, j.row) for j in table.jobs] == [
        ("east", "n2"),
        ("east", "n3"),
        ("north", "n2"),
        ("north", "n3"),
    ]
    assert [j.job.config["n_steps"] for j in table.jobs] == [2, 3, 2, 3]
    assert table.jobs[2].job.config["dataset"]["directions"] == [90.0]
    assert table.labels["sampler"] == "varies" and table.specs[""].blocks == ("east", "north")
    (one,) = compose_table("toy/table", ["blocks=north", "rows=n3"], root=root).jobs
    assert (one.block, one.row) == ("north", "n3")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"source": "times"}, "got 'times'; allowed: samples, resources"),
        ({"paper": "t2"}, "got 't2'; allowed, of paper.yaml: t1"),
        ({"rows": {"none": {"override": []}}}, "did you mean 'overrides'"),
        ({"strength": 3}, "it must have columns, rows, sizes, task, title"),
    ],
)
def test_a_wrong_table_is_refused_with_what_is_allowed(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_table("toy/table", root=write(tmp_path, **content))
