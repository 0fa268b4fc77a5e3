"""Every table in experiments/ parses, composes at every size, and prints the numbers that its paper prints."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from guidebench.errors import ConfigError
from guidebench.report.spec import parse_spec
from guidebench.runner import studies, sweeps
from guidebench.runner.folders import shipped

TABLES = sweeps.table_names()
STUDIES = [name for name in TABLES if sweeps.is_study(name)]
LAYOUTS = [(name, suffix) for name in TABLES for suffix in sweeps.layouts(name)]
SIZES = [(name, size) for name in TABLES if name not in STUDIES for size in sweeps.document(name)["sizes"]]
STUDY_SIZES = [(name, size) for name in STUDIES for size in sweeps.document(name)["sizes"]]


def paper_of(name: str) -> dict[str, Any]:
    path = shipped("experiments") / name.split("/")[0] / "paper.yaml"
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def mappings(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every mapping inside a document."""
    if isinstance(node, Mapping):
        yield node
        for value in node.values():
            yield from mappings(value)
    elif isinstance(node, list):
        for value in node:
            yield from mappings(value)


def test_there_are_tables_and_papers() -> None:
    assert "doodl/fig5" in TABLES
    folders = [path for path in shipped("experiments").iterdir() if path.is_dir()]
    assert len(folders) >= 5
    for folder in folders:
        assert paper_of(folder.name)["paper"] == folder.name
        assert (folder / "README.md").is_file() or not (folder.parents[1] / "pyproject.toml").is_file()


@pytest.mark.parametrize(("name", "suffix"), LAYOUTS)
def test_a_tables_paper_numbers_are_those_of_paper_yaml(name: str, suffix: str) -> None:
    spec = parse_spec(sweeps.layouts(name)[suffix])
    assert spec.paper == name.split("/")[0] and spec.paper_setting and spec.expected
    printed = list(mappings(paper_of(name)))
    quoted = [c.paper for c in spec.comparisons if c.paper] + [value.values for value in spec.paper_values]
    is_main = suffix == next(iter(sweeps.layouts(name)))
    qualitative = "prints no numbers" in spec.expected
    assert bool(quoted) != qualitative or not is_main, (
        "a table without any number of its paper reproduces nothing"
    )
    for numbers in quoted:
        assert any(numbers.items() <= mapping.items() for mapping in printed), (
            f"{dict(numbers)} stands nowhere in experiments/{spec.paper}/paper.yaml"
        )


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_a_table_composes_at_every_size(name: str, size: str) -> None:
    sweep = sweeps.load(name, [f"size={size}"])
    spec, jobs = parse_spec(sweep.layout), sweep.jobs
    assert {job.job.config["size"] for job in jobs} == {size}
    swept = {job.choice(spec.rows.key) for job in jobs}
    assert swept == set(spec.rows.values)
    assert len(jobs) == len({job.overrides for job in jobs})
    for job in jobs:
        assert sweep.records == "resources" or spec.primary in job.job.config["metrics"]
    for value in spec.rows.values:  # rows are compared on the same problems
        assert {job.choice("seed") for job in jobs if job.choice(spec.rows.key) == value} == {
            job.choice("seed") for job in jobs
        }


@pytest.mark.parametrize(("name", "size"), STUDY_SIZES)
def test_a_study_is_built_at_every_size(name: str, size: str) -> None:
    loaded = studies.load(name, [f"size={size}"])
    assert loaded.study.paper and loaded.labels["size"] == size
    with pytest.raises(ConfigError, match="it has no jobs"):
        sweeps.load(name)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("size=smal", "did you mean 'smoke'|allowed: smoke"),
        ("studi.seed=1", "a study has no such key"),
        ("study.sed=1", "did you mean 'seed'"),
        ("seed=1", "allowed: size, study"),
    ],
)
def test_a_slip_in_a_studys_override_is_refused(name: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        studies.load(name, [override])


def test_the_users_overrides_win_over_the_tables() -> None:
    jobs = sweeps.load("doodl/fig5", ["size=smoke", "seed=7", "method=none"]).jobs
    assert [job.choice("seed") for job in jobs] == ["7"] and jobs[0].job.config["seed"] == 7
