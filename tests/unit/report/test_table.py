"""Records to tables: counts, verdicts, labels, and independence of the order of records."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from guidebench.errors import ConfigError, DataError
from guidebench.report.layout import Comparison, Table
from guidebench.report.paper import parse_numbers
from guidebench.report.render.csv import to_csv
from guidebench.report.render.files import FORMATS
from guidebench.report.render.markdown import to_markdown
from guidebench.report.spec import TableSpec, parse_spec
from guidebench.report.statistics import clustered_mean, clustered_share
from guidebench.report.table import build_costs, build_table


@pytest.fixture
def table(records: pd.DataFrame, spec: TableSpec, labels: dict[str, str]) -> Table:
    return build_table(records, spec, labels)


def comparison(table: Table, block: str, metric: str) -> Comparison:
    return next(entry for entry in table.comparisons if (entry.block, entry.metric) == (block, metric))


def test_blocks_rows_and_values(table: Table, records: pd.DataFrame) -> None:
    assert [block.title for block in table.blocks] == ["all", "colors", "counting"]
    assert table.blocks[0].extent == "10 prompts, 4 seeds"
    assert [row.label for row in table.blocks[0].rows] == ["none", "one-step", "doodl"]
    mine = records[(records["row"] == "none") & (records["problem.category"] == "colors")]
    expected = clustered_mean(mine["clip_score"], mine["problem.prompt"].tolist())
    assert table.blocks[1].rows[0].cells[0].estimate == expected


def test_failures_and_missing_values_are_counted_and_left_out(table: Table) -> None:
    one_step, doodl = table.blocks[0].rows[1].cells[0], table.blocks[0].rows[2].cells[0]
    assert (one_step.estimate.n, one_step.failures, one_step.unevaluated) == (39, 0, 1)
    assert (doodl.estimate.n, doodl.failures, doodl.unevaluated) == (39, 1, 0)
    assert comparison(table, "all", "CLIP score").dropped == 2


def test_a_value_stored_with_a_failed_sample_is_not_counted(
    records: pd.DataFrame, spec: TableSpec, labels: dict[str, str], table: Table
) -> None:
    records.loc[records["status"] == "failed", "clip_score"] = 1e6
    assert build_table(records, spec, labels) == table


def test_numbers_of_other_categories_stand_beside_all_under_their_own_names(table: Table) -> None:
    assert comparison(table, "all", "CLIP score").paper == "DALL-E +3.1 %, Reddit +2.6 %"
    assert comparison(table, "colors", "CLIP score").paper == ""


def test_a_shared_category_takes_its_own_number(
    records: pd.DataFrame, document: dict[str, Any], section: dict[str, Any], labels: dict[str, str]
) -> None:
    section["changes"][0]["relative_percent"] = {"colors": 3.1, "Reddit": 2.6}
    section["rows"] = {"doodl": {"clip_score": {"counting": 0.31}}, "none": {"clip_score": 0.27}}
    table = build_table(records, parse_spec(document, parse_numbers(section, "paper")), labels)
    assert comparison(table, "colors", "CLIP score").paper == "+3.1 %"
    assert comparison(table, "all", "CLIP score").paper == "Reddit +2.6 %"
    assert [block.rows[2].cells[0].beside for block in table.blocks] == ["", "", "0.31"]
    assert [block.rows[0].cells[0].beside for block in table.blocks] == ["0.27", "", ""]
    assert [column.beside for column in table.columns] == ["paper", ""]


def test_changes_are_computed_from_the_papers_numbers(
    records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]
) -> None:
    numbers = {
        "setting": "s",
        "units": {"clip_score": "unit not stated"},
        "rows": {
            "doodl": {"clip_score": 5.32, "prompt_success": 72.07},
            "one_step": {"clip_score": 74.11},
            "none": {"prompt_success": 25.84},
        },
    }
    table = build_table(records, parse_spec(document, parse_numbers(numbers, "paper")), labels)
    assert comparison(table, "all", "CLIP score").paper == "-92.8 %"  # 100 (5.32 / 74.11 - 1)
    assert comparison(table, "all", "prompt_success").paper == "+46.23"
    assert table.blocks[0].rows[2].cells[0].beside == "5.32 unit not stated"


def test_a_difference_of_percentages_is_in_points(
    records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]
) -> None:
    document["columns"]["prompt_success"]["unit"] = "%"
    records["prompt_success"] *= 100
    table = build_table(records, parse_spec(document), labels)
    assert comparison(table, "all", "prompt_success").unit == "points"
    assert table.columns[1].label == "prompt_success (%)"
    mine = records[(records["row"] == "none") & (records["problem.category"] == "colors")]
    expected = clustered_share(mine["prompt_success"], mine["problem.prompt"].tolist())
    assert table.blocks[1].rows[0].cells[1].estimate == expected


def with_paper(section: dict[str, Any], numbers: dict[str, float]) -> dict[str, Any]:
    """The section with other changes."""
    return section | {"changes": [section["changes"][0] | {"relative_percent": numbers}]}


def test_verdicts(
    records: pd.DataFrame,
    document: dict[str, Any],
    section: dict[str, Any],
    labels: dict[str, str],
    table: Table,
) -> None:
    shown = comparison(table, "all", "CLIP score")
    assert shown.bold and shown.word == "better"
    assert shown.verdict == "same sign as the paper; better, adjusted interval excludes 0"
    assert table.headline == shown

    document["columns"]["clip_score"]["higher_is_better"] = False
    opposite = parse_spec(document, parse_numbers(with_paper(section, {"DALL-E": -3.1}), "paper"))
    found = comparison(build_table(records, opposite, labels), "all", "CLIP score")
    assert found.verdict == "opposite sign to the paper; worse, adjusted interval excludes 0"
    assert found.word == "worse"

    mixed = parse_spec(document, parse_numbers(with_paper(section, {"a": -3.1, "b": 2.0}), "paper"))
    records["clip_score"] = np.random.default_rng(2).normal(1, 0.1, len(records))
    found = comparison(build_table(records, mixed, labels), "all", "CLIP score")
    assert (found.verdict, found.word, found.bold) == ("no difference shown", "open", False)


def test_a_ratio_to_what_may_be_0_is_printed_as_a_difference(
    records: pd.DataFrame, spec: TableSpec, labels: dict[str, str]
) -> None:
    records["clip_score"] -= records.loc[records["row"] == "one_step", "clip_score"].mean()
    found = comparison(build_table(records, spec, labels), "all", "CLIP score")
    assert found.kind == "difference, as the reference is near 0" and found.unit == ""
    assert found.estimate.value == pytest.approx(0.009, abs=0.002) and found.adjusted is not None
    assert found.paper == "DALL-E +3.1 %, Reddit +2.6 %"  # what the paper prints stays a ratio


@pytest.mark.parametrize(
    ("treatment", "control", "verdict"),
    [(0.0, 0.0, "no difference in any cluster"), (1.0, 0.0, "not tested: no spread")],
)
def test_no_spread_is_never_called_significant(
    records: pd.DataFrame,
    document: dict[str, Any],
    labels: dict[str, str],
    treatment: float,
    control: float,
    verdict: str,
) -> None:
    records["prompt_success"] = np.where(records["row"] == "doodl", treatment, control)
    entry = comparison(build_table(records, parse_spec(document), labels), "all", "prompt_success")
    assert (entry.verdict, entry.p_value, entry.bold) == (verdict, None, False)


def test_one_prompt_has_no_interval(records: pd.DataFrame, spec: TableSpec, labels: dict[str, str]) -> None:
    table = build_table(records[records["case_id"] == "colors-0"], spec, labels)
    assert [block.title for block in table.blocks] == ["colors"]
    assert table.blocks[0].rows[0].cells[0].estimate.no_interval == "one cluster"
    assert table.comparisons[0].verdict == "same sign as the paper; not tested: one cluster"


def test_missing_rows_metrics_and_records_print_as_missing(
    records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]
) -> None:
    spec = parse_spec(document)
    for frame in (records.iloc[:0], pd.DataFrame(), records[records["row"] == "none"]):
        table = build_table(frame, spec, labels)
        assert table.blocks[0].rows[2].cells[0].estimate.value is None
        assert table.comparisons[0].verdict == "missing: no pairs"
        assert "missing" in to_markdown(table)
    table = build_table(records.drop(columns="clip_score"), spec, labels)
    cell = table.blocks[0].rows[0].cells[0]
    assert (cell.estimate.value, cell.unevaluated) == (None, 40)
    assert build_costs(pd.DataFrame(), spec, labels).blocks[0].rows[0].cells[0].estimate.value is None


def test_every_rendering_is_the_same_for_every_order_of_records(
    records: pd.DataFrame, spec: TableSpec, labels: dict[str, str], table: Table
) -> None:
    shuffled = build_table(records.sample(frac=1, random_state=5), spec, labels)
    for to_text in FORMATS.values():
        assert to_text(shuffled) == to_text(table)


def test_times_are_only_in_the_costs(
    records: pd.DataFrame, spec: TableSpec, labels: dict[str, str], table: Table
) -> None:
    costs = build_costs(records, spec, labels)
    doodl = costs.blocks[0].rows[2].cells
    assert [cell.estimate.value for cell in doodl[1:]] == [2000.0, 50.0, 90.0, 50.0, 903.0]
    assert doodl[0].estimate.n == 39
    assert build_table(records.assign(seconds=99.0, peak_memory_mb=1.0), spec, labels) == table
    assert build_costs(records.assign(seconds=99.0), spec, labels) != costs


@pytest.mark.parametrize(
    ("suite", "size", "start"),
    [
        ("embedded", "paper", "Not the paper's setting: real measurements of small models"),
        ("random", "paper", "Not the paper's setting: random weights"),
        ("full", "small", "Not the paper's setting: the paper's models at size small"),
        ("full", "paper", ""),
    ],
)
def test_only_the_full_suite_at_paper_size_is_the_papers_setting(
    records: pd.DataFrame, document: dict[str, Any], suite: str, size: str, start: str
) -> None:
    table = build_table(records, parse_spec(document), {"suite": suite, "size": size})
    assert table.warning.startswith(start)
    assert bool(table.warning) == bool(start)
    assert table.setting == f"suite {suite}, size {size}"


def test_reservations_are_marked(
    records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]
) -> None:
    notes = {"clip_score": "shares a network with the guiding loss"}
    table = build_table(records, parse_spec(document), labels, notes)
    assert table.columns[0].marks == "primary, †"
    assert table.columns[1].marks == ""
    assert "† CLIP score: shares a network with the guiding loss" in table.notes


def test_bad_input_is_refused(
    records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]
) -> None:
    spec = parse_spec(document)
    with pytest.raises(ConfigError, match="'suite' is missing"):
        build_table(records, spec, {"size": "small"})
    with pytest.raises(DataError, match="no column prompt"):
        build_table(records.drop(columns="problem.prompt"), spec, labels)
    with pytest.raises(DataError, match="status: received running"):
        build_table(records.assign(status="running"), spec, labels)
    with pytest.raises(DataError, match="stored more than once"):
        build_table(pd.concat([records, records.iloc[:1]]), spec, labels)


def test_a_comparison_over_all_cases_only_leaves_the_holm_family_smaller(
    records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str], table: Table
) -> None:
    for declared in document["comparisons"][1:]:
        declared["by_group"] = False
    smaller = build_table(records, parse_spec(document), labels)
    assert len(smaller.comparisons) == len(document["comparisons"]) + 2
    assert smaller.headline is not None and table.headline is not None
    assert smaller.headline.p_value == table.headline.p_value
    assert smaller.headline.p_adjusted is not None and table.headline.p_adjusted is not None
    assert smaller.headline.p_adjusted <= table.headline.p_adjusted


def test_a_metric_of_sets_has_one_value_per_row_of_all_its_samples(
    records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]
) -> None:
    rng = np.random.default_rng(5)
    features = pd.Series([row if row[0] < 1.5 else np.nan for row in rng.normal(size=(len(records), 2))])
    records = records.assign(energy=features.where(records["status"] == "ok"))
    document["columns"]["energy"] = {"higher_is_better": False}
    document["comparisons"] = [
        {"column": "energy", "row": "doodl", "against": "none", "kind": "difference", "by_group": False}
    ]
    values = {"energy": lambda rows: float((rows**2).sum(1).mean())}
    table = build_table(records, parse_spec(document), labels, set_values={"": values})
    mine = records[(records["row"] == "none") & (records["problem.category"] == "colors")]
    cell, present = table.blocks[1].rows[0].cells[-1], mine["energy"].dropna()
    assert (cell.estimate.n, cell.unevaluated) == (
        len(present),
        len(mine) - len(present),
    ) and cell.unevaluated
    assert cell.estimate.value == pytest.approx((np.stack(present.tolist()) ** 2).sum(1).mean())
    assert cell.estimate.interval is not None and cell.estimate.n_clusters == 5
    assert table.comparisons[0].p_value is not None and table.comparisons[0].dropped
    assert any(note.startswith("energy: one value of all samples") for note in table.notes)
    assert all(
        render_with(table)
        == render_with(build_table(shuffled, parse_spec(document), labels, set_values={"": values}))
        for render_with in FORMATS.values()
        for shuffled in [records.sample(frac=1, random_state=0)]
    )


def test_blocks_stand_side_by_side_and_are_never_mixed(
    records: pd.DataFrame, document: dict[str, Any], labels: dict[str, str]
) -> None:
    """Two data sets with the same cases: each block has its own numbers, comparisons, paper numbers and sets."""
    both = pd.concat([records.assign(block="cats"), records.assign(block="dogs", clip_score=1.0)])
    document |= {"blocks": ["dogs", "cats"], "group_by": ""}
    numbers = {"setting": "s", "rows": {"doodl": {"clip_score": {"cats": 0.3, "dogs": 0.9}}}}
    spec = parse_spec(document, parse_numbers(numbers, "paper"))
    table = build_table(both, spec, labels)
    assert [block.title for block in table.blocks] == ["dogs", "cats"]
    assert [block.rows[2].cells[0].beside for block in table.blocks] == ["0.9", "0.3"]
    assert table.blocks[0].rows[0].cells[0].estimate.value == 1.0
    alone = build_table(records, parse_spec({**document, "blocks": []}), labels)
    assert table.blocks[1].rows[0] == alone.blocks[0].rows[0]
    assert [entry.block for entry in table.comparisons] == ["dogs", "dogs", "cats", "cats"]
    costs = build_costs(both, spec, labels)
    assert [block.title for block in costs.blocks] == ["dogs", "cats"]
    document["group_by"] = "category"
    finer = build_table(both, parse_spec(document), labels)
    assert [block.title for block in finer.blocks][:3] == ["dogs", "dogs, colors", "dogs, counting"]
    document["columns"]["energy"] = {"higher_is_better": False}
    both["energy"] = [np.array([1.0]) for _ in range(len(both))]
    values = {"cats": {"energy": lambda x: float(x.sum())}, "dogs": {"energy": lambda x: -float(x.sum())}}
    of_sets = build_table(both, parse_spec(document), labels, set_values=values)
    mine = [block.rows[0].cells[2].estimate.value for block in of_sets.blocks if "," not in block.title]
    assert mine == [-40.0, 40.0]


def test_what_is_not_stored_is_counted_as_missing(
    records: pd.DataFrame, spec: TableSpec, labels: dict[str, str], table: Table
) -> None:
    assert table.missing == 0
    assert build_table(records[records["row"] != "doodl"], spec, labels).missing == 6
    assert "missing" in to_csv(build_table(pd.DataFrame(), spec, labels))
