"""From a table's YAML to its files, run on the exact motion prior: no network, no weights."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from guidebench.errors import ConfigError, DataError
from guidebench.runner.pipeline import make
from guidebench.runner.watch import Watch

OF_STEPS: dict[str, Any] = {
    "title": "steps, adjoint steps and rates",
    "task": "motion_path",
    "paper": "t1",
    "overrides": ["seed=range(0,3)", "sampler=ddim", "n_steps=4"],
    "rows": {
        "n2": {"label": "2 steps", "overrides": ["method=none", "n_steps=2"]},
        "n4": {"label": "4 steps", "overrides": ["method=none"]},
        "dps": {
            "label": "tuned",
            "overrides": ["method=lgd_dps"],
            "tuned": {"embedded": ["method.scale=0.02"]},
        },
        "rate_1": {"overrides": ["method=greedy", "method.scale=0.001"]},
        "rate_2": {"overrides": ["method=greedy", "method.scale=0.1"]},
    },
    "blocks": {"east": ["dataset.directions=[0.0]"], "north": ["dataset.directions=[90.0]"]},
    "columns": {"path_objective": {"higher_is_better": False, "label": "objective", "skewed": True}},
    "cluster_by": "case_id",
    "comparisons": [{"column": "path_objective", "row": "n4", "against": "n2", "kind": "relative_percent"}],
    "sizes": {"smoke": [], "small": []},
}
PAPER = {
    "paper": "toy",
    "t1": {
        "setting": "s",
        "rows": {"n2": {"path_objective": {"east": 2.0}}, "n4": {"path_objective": {"east": 1.0}}},
    },
}


@pytest.fixture
def experiments(tmp_path: Path) -> Path:
    """A folder of tables whose rows vary the steps, the rate, and the block."""
    root = tmp_path / "experiments"
    (root / "toy").mkdir(parents=True)
    (root / "toy" / "steps.yaml").write_text(yaml.safe_dump(OF_STEPS, sort_keys=False))
    (root / "toy" / "paper.yaml").write_text(yaml.safe_dump(PAPER, sort_keys=False))
    return root


def own(tmp_path: Path, *more: str) -> list[str]:
    return ["size=smoke", "device=cpu", f"paths.results={tmp_path / 'results'}", *more]


class Heard(Watch):
    """Remembers the names of jobs, and how many samples were stored."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.stored = 0

    def job(self, name: str, cost: Any) -> None:
        self.jobs.append(name)

    def advance(self, records: Any) -> None:
        self.stored += len(records)


def test_any_key_may_vary_between_rows_and_the_table_is_made(experiments: Path, tmp_path: Path) -> None:
    watch = Heard()
    made = make("toy/steps", own(tmp_path), watch=watch, root=experiments)
    assert not made.has_failed() and made.failed_samples == (0, 2 * 5 * 3 * 4)
    assert watch.stored == 120 and watch.jobs == [
        f"{r}, {b}" for b in ("east", "north") for r in OF_STEPS["rows"]
    ]
    assert set(made.records["row"]) == set(OF_STEPS["rows"])
    main, costs = made.tables.values()
    assert [block.title for block in main.blocks] == ["east", "north"]
    assert [row.label for row in main.blocks[0].rows] == ["2 steps", "4 steps", "tuned", "rate_1", "rate_2"]
    values = [[row.cells[0].estimate.value for row in block.rows] for block in main.blocks]
    assert len({v for block in values for v in block}) == 10, "every row and block is another run"
    assert main.missing == 0 and main.comparisons[0].paper == "-50 %" and main.comparisons[1].paper == ""
    forwards = [row.cells[1].estimate.value for row in costs.blocks[0].rows]
    assert forwards[:2] == [2.0, 4.0]
    names = sorted(path.name for path in made.paths)
    assert names == sorted(
        f"toy_steps_smoke{c}.{s}" for c in ("", "_costs") for s in ("md", "csv", "tex", "html")
    )
    text = made.paths[0].read_text()
    again = make("toy/steps", own(tmp_path), run=False, root=experiments)
    assert again.paths[0].read_text() == text and again.tables[""] == main


def test_what_is_missing_replaces_no_table(experiments: Path, tmp_path: Path) -> None:
    rows = "rows=n2,n4"
    made = make("toy/steps", own(tmp_path, rows, "blocks=east"), root=experiments)
    text = made.paths[0].read_text()
    for folder in (tmp_path / "results" / "runs" / "samples").iterdir():
        folder.rename(folder.with_name("gone-" + folder.name))
        break
    with pytest.raises(DataError, match="stays as it is, since 1 cells"):
        make("toy/steps", own(tmp_path, rows, "blocks=east"), run=False, root=experiments)
    assert made.paths[0].read_text() == text
    other = make("toy/steps", own(tmp_path, rows, "blocks=north"), run=False, root=experiments)
    assert other.tables[""].missing == 2 and made.paths[0].read_text() == text


def test_a_batch_that_fails_fails_alone(
    experiments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from guidebench.methods.none import Unguided

    generate = Unguided.generate

    def burn(self: Any, problems: Any, setup: Any) -> Any:
        if problems[0].seed == 1:
            raise RuntimeError("the network caught fire")
        return generate(self, problems, setup)

    monkeypatch.setattr(Unguided, "generate", burn)
    made = make("toy/steps", own(tmp_path, "rows=n2,dps", "blocks=east"), root=experiments)
    assert made.failed_jobs == ("n2, east",) and made.has_failed()
    counts = made.records.groupby("row").size()
    assert (counts["n2"], counts["dps"]) == (8, 12)
    (log,) = made.logs.iterdir()
    assert (
        "Traceback" in log.read_text() and "caught fire" in log.read_text() and "n2, east" in log.read_text()
    )


def test_too_many_failed_samples_are_a_failure(experiments: Path, tmp_path: Path) -> None:
    asked = own(tmp_path, "rows=dps", "blocks=east", "method.scale=inf")
    made = make("toy/steps", asked, root=experiments)
    failed, n = made.failed_samples
    assert (failed, n) == (12, 12) and made.has_failed() and not made.has_failed(1.0) and not made.failed_jobs


def test_nothing_of_a_study_is_stored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing of it is stored"):
        make("lgd/mog", ["size=smoke", f"paths.results={tmp_path}"], run=False)


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("doodl/fig5", "dataset=prompts/full", "scenes|prompt"),
        ("lgd/label", "classifier@networks.judge_classifier=birds_judge", "choose a classifier"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_sample(
    name: str, override: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        make(name, own(tmp_path, override, "rows=none"))
    assert not (tmp_path / "results" / "runs" / "samples").exists()
