"""The loss and the metric of CONTRIBUTING.md are run as they stand there."""

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import test_loss_contract as loss_contract
import test_metric_contract as metric_contract
import torch
import yaml

from guidebench.losses.base import Loss
from guidebench.runner.components import check
from guidebench.runner.job import Job
from guidebench.runner.tables import compose_table


def documented(checkout: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The component whose module and YAML are shown under `src/guidebench/...` and `conf/...`."""
    text = (checkout / "CONTRIBUTING.md").read_text(encoding="utf-8")
    package = {"loss": "losses", "metric": "metrics", "artefact": "artefacts"}[kind]
    code = re.search(rf"`src/guidebench/{package}/{name}\.py`\n\n```python\n(.*?)```", text, re.DOTALL)
    node = re.search(rf"`conf/{kind}/{name}\.yaml`\n\n```yaml\n(.*?)```", text, re.DOTALL)
    assert code and node
    module = types.ModuleType(f"guidebench.{package}.{name}")
    exec(compile(code[1], "CONTRIBUTING.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    config = yaml.safe_load(node[1])
    check(config, kind)
    return Job({kind: config}).build(kind)


def test_the_loss(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loss: Loss = documented(checkout, "loss", "brightness", monkeypatch)
    images = torch.stack([torch.full((3, 64, 64), value) for value in (0.1, 0.4, 0.9, 1.0)])
    expected = torch.tensor([0.64, 0.25, 0.0, 0.01])
    torch.testing.assert_close(loss_contract.evaluate(loss, images), expected, atol=1e-5, rtol=0)
    noise = 0.2 + 0.6 * torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    loss_contract.test_one_number_per_sample_that_depends_on_its_row_alone(loss, noise)
    loss_contract.test_the_gradient_of_a_row_stays_in_it_and_leads_down(loss, noise)


def test_the_metric(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = documented(checkout, "metric", "contrast", monkeypatch)
    metric_contract.test_declarations(metric)
    metric_contract.test_one_finite_number_per_image_that_depends_on_it_alone(
        metric, torch.rand(4, 3, 64, 64)
    )


def test_the_table(checkout: Path, tmp_path: Path) -> None:
    text = (checkout / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## A table")[1]
    found, section = re.search(r"```yaml\n(.*?)```", text, re.DOTALL), re.search(r"section is `(.*?)`", text)
    assert found and section
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "steps.yaml").write_text(found[1])
    (tmp_path / "toy" / "paper.yaml").write_text(f"paper: toy\n{section[1]}\n")
    for size in ("smoke", "small", "paper"):
        table = compose_table("toy/steps", [f"size={size}"], tmp_path)
        assert [(j.block, j.row) for j in table.jobs] == [
            (block, row) for block in ("east", "north") for row in ("n20", "dps")
        ]
    assert table.specs[""].paper.value("dps", "path_objective") == {"east": 3.1}
