"""docs/library.md is run as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest


def test_the_examples(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import diffusers

    page = (checkout / "docs" / "library.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    folder = checkout / "src" / "guidebench" / "weights" / "embedded" / "text_to_image"
    load = diffusers.StableDiffusionPipeline.from_pretrained.__func__
    monkeypatch.setattr(
        diffusers.StableDiffusionPipeline,
        "from_pretrained",
        classmethod(lambda cls, name, **how: load(cls, folder, **how)),
    )
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "library.md", "exec"), names)
    asymmetry = names["asymmetry"]
    assert (asymmetry(names["guided"].images) < 0.7 * asymmetry(names["plain"].images)).all()
    assert names["result"].images.shape == (4, 3, 64, 64) and all(path.exists() for path in names["paths"])
    assert names["darker"].images.shape == (1, 3, 64, 64)
    assert set(names["made"].records["row"]) == {"none"} and len(names["made"].frame)
    assert (tmp_path / "store" / "runs" / "samples").is_dir()
