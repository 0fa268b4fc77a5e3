"""Every table in experiments/ parses, composes at every size, and finds the numbers that its paper prints."""

from typing import Any

import pytest
import yaml

from guidebench.errors import ConfigError
from guidebench.runner.folders import shipped
from guidebench.runner.table_file import TableFile, table_names
from guidebench.runner.tables import compose_table

FILES = {name: TableFile.read(name) for name in table_names()}
STUDIES = [name for name, file in FILES.items() if file.is_study]
SPECS = [(name, suffix) for name, file in FILES.items() for suffix in file.specs]
SIZES = [(name, size) for name, file in FILES.items() for size in file.content["sizes"]]


def paper_of(name: str) -> dict[str, Any]:
    path = shipped("experiments") / name.split("/")[0] / "paper.yaml"
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def test_there_are_tables_and_papers() -> None:
    assert "doodl/fig5" in FILES
    folders = [path for path in shipped("experiments").iterdir() if path.is_dir()]
    assert len(folders) >= 5
    for folder in folders:
        assert paper_of(folder.name)["paper"] == folder.name
        assert (folder / "README.md").is_file() or not (folder.parents[1] / "pyproject.toml").is_file()


@pytest.mark.parametrize(("name", "suffix"), SPECS)
def test_every_number_of_a_tables_section_has_its_place(name: str, suffix: str) -> None:
    """A slip in the name of a row or column would drop a number of the paper without a word."""
    spec = FILES[name].specs[suffix]
    rows, columns = {row.name for row in spec.rows}, {column.name for column in spec.columns}
    assert spec.paper.setting and spec.expected
    for row, cells in spec.paper.rows.items():
        assert row in rows and set(cells) <= columns, f"{row}: {set(cells)}"
    for column, row, against, _ in spec.paper.changes:
        assert {row, against} <= rows and column in columns
    found = [spec.paper.change(c.column, c.row, c.against, c.kind) for c in spec.comparisons]
    qualitative = "prints no numbers" in spec.expected or suffix == "gradient"
    assert qualitative != bool(spec.paper.rows or any(found)), (
        "a table without any number of its paper reproduces nothing"
    )


def test_fid_never_stands_without_kid() -> None:
    """FID of few samples is biased, KID is not."""
    for name, suffix in SPECS:
        columns = {column.name for column in FILES[name].specs[suffix].columns}
        assert "fid" not in columns or "kid" in columns, name


@pytest.mark.parametrize(("name", "size"), SIZES)
def test_a_table_composes_at_every_size(name: str, size: str) -> None:
    table = compose_table(name, [f"size={size}"])
    if table.study:
        assert table.study.paper and table.labels["size"] == size
        return
    spec = table.specs[""]
    assert {entry.job.config["size"] for entry in table.jobs} == {size}
    assert [(j.block, j.row) for j in table.jobs] == [
        (block, row.name) for block in spec.blocks or ("",) for row in spec.rows
    ]
    assert len({tuple(entry.job.seeds) for entry in table.jobs}) == 1, (
        "rows are compared on the same problems"
    )
    if table.source == "samples":
        assert all(spec.primary in entry.job.config["metrics"] for entry in table.jobs)
        configs = [entry.job.generation_config({}) for entry in table.jobs]
        assert all(a != b for i, a in enumerate(configs) for b in configs[:i]), "two rows are the same run"


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("size=smal", "did you mean 'smoke'|allowed: smoke"),
        ("sorce.seed=1", "a study has no such key"),
        ("source.sed=1", "did you mean 'seed'"),
        ("seed=1", "allowed: size, source"),
    ],
)
def test_a_slip_in_a_studys_override_is_refused(name: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_table(name, [override])
