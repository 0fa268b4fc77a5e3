"""The gallery's data and its safety; its behaviour is tested in a browser."""

import base64
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from guidebench.errors import DataError
from guidebench.report.gallery import write_gallery

METRICS = {"clip_score": True, "prompt_success": True}


@pytest.fixture
def stored(records: pd.DataFrame, tmp_path: Path) -> pd.DataFrame:
    """The records with an image each, one missing and one unreadable."""
    frame = records[records["case_id"].isin(["colors-1", "counting-0"])].reset_index(drop=True)
    folder = tmp_path / "runs" / "a folder#1"
    folder.mkdir(parents=True)
    for i in frame.index:
        size = (600, 300) if i == 0 else (64, 64)
        Image.new("RGB", size, (i, 80, 200)).save(folder / f"{i}.png")
    frame["parts"] = [{"sample": str(folder / f"{i}.png")} for i in frame.index]
    (folder / "1.png").unlink()
    (folder / "2.png").write_bytes(b"not an image")
    return frame


def content(page: Path) -> dict[str, Any]:
    match = re.search(
        r'<script type="application/json" id="content">(.*?)</script>', page.read_text("utf-8"), re.DOTALL
    )
    assert match is not None
    loaded: dict[str, Any] = json.loads(match[1])
    return loaded


def test_rows_columns_and_values(stored: pd.DataFrame, tmp_path: Path) -> None:
    page = write_gallery(
        stored, tmp_path / "out" / "gallery.html", title="t", metrics=METRICS, order=["none", "one_step"]
    )
    data = content(page)
    assert data["columns"] == ["none", "one_step", "doodl"]
    assert [(row["case"], row["seed"]) for row in data["rows"]] == [
        (case, seed) for case in ("colors-1", "counting-0") for seed in range(4)
    ]
    assert [measure["name"] for measure in data["measures"]][:3] == [
        "clip_score",
        "prompt_success",
        "seconds",
    ]
    failed = data["rows"][2]["samples"][2]
    assert failed["status"] == "failed"
    assert failed["failure"] == "x_t became non-finite at step 3"
    assert failed["values"][0] is None
    assert "thumbnail" not in failed
    assert data["configs"]["hash-doodl"] == {"method": {"name": "doodl"}}


def test_thumbnails_are_small_and_link_to_the_original(stored: pd.DataFrame, tmp_path: Path) -> None:
    page = write_gallery(
        stored, tmp_path / "out" / "gallery.html", title="t", metrics=METRICS, order=["none"]
    )
    first, *others = content(page)["rows"][0]["samples"]
    thumbnail = Image.open(io.BytesIO(base64.b64decode(first["thumbnail"].split(",")[1])))
    assert thumbnail.size == (256, 128)
    assert (first["width"], first["height"], first["pixelated"]) == (600, 300, False)
    assert first["href"] == "../runs/a%20folder%231/0.png"
    assert [sample["problem"] for sample in others] == [
        "no image: the file cannot be read",
        "no image: the file is missing",
    ]


def test_prompts_cannot_leave_their_place(stored: pd.DataFrame, tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><!-- & \u2028"
    stored["caption"] = hostile
    config = {"note": hostile, "scale": math.nan, "path": Path("x")}
    stored["config"] = pd.Series([config] * len(stored))
    page = write_gallery(stored, tmp_path / "gallery.html", title=hostile, setting=hostile, metrics=METRICS)
    text = page.read_text("utf-8")
    assert "alert(1)</script>" not in text
    assert text.count("<script") == 2
    data = content(page)
    assert data["rows"][0]["prompt"] == hostile
    assert data["configs"]["hash-none"] == {"note": hostile, "scale": None, "path": "x"}
    assert not re.search(r"(src|href)=\"?http", text)


def test_configs_that_share_a_method_get_columns_of_their_own(stored: pd.DataFrame, tmp_path: Path) -> None:
    other = stored[stored["row"] == "doodl"].assign(config_hash="0123456789abcdef")
    page = write_gallery(pd.concat([stored, other]), tmp_path / "gallery.html", title="t", metrics=METRICS)
    assert content(page)["columns"] == ["doodl 01234567", "doodl hash-doo", "none", "one_step"]


def test_the_page_is_the_same_for_every_order_of_records(stored: pd.DataFrame, tmp_path: Path) -> None:
    pages = [
        write_gallery(frame, tmp_path / "gallery.html", title="t", metrics=METRICS).read_bytes()
        for frame in (stored, stored.sample(frac=1, random_state=1))
    ]
    assert pages[0] == pages[1]


def test_bad_input_is_refused(stored: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column caption"):
        write_gallery(stored.drop(columns="caption"), tmp_path / "g.html", title="t", metrics=METRICS)
    with pytest.raises(DataError, match="stored more than once"):
        write_gallery(pd.concat([stored, stored]), tmp_path / "g.html", title="t", metrics=METRICS)
