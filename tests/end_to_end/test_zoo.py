"""The zoo measures every shipped network and writes its table."""

import csv
from pathlib import Path

import pytest

from guidebench.cli import zoo
from guidebench.errors import WeightsError
from guidebench.studies.zoo.estimates import Measured, Number


@pytest.mark.slow
def test_every_shipped_network_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo.main(["--n", "4", f"paths.tables={tmp_path}", "device=cpu"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        f"embedded_zoo.{suffix}" for suffix in ("md", "csv", "tex", "html")
    }
    with (tmp_path / "embedded_zoo.csv").open(newline="") as file:
        rows = {row["row"]: row for row in csv.DictReader(file)}
    worlds = ("scenes", "birds", "faces", "animals", "objects")
    for world in worlds:
        assert rows[f"{world}: PSNR (dB)"]["n"] == "20"
        assert float(rows[f"{world}: PSNR (dB)"]["value"]) > 20
    for role in ("guide", "score"):
        ranked = rows[f"{role}, all worlds: right caption of 100 first (%)"]
        assert ranked["n"] == "200" and float(ranked["value"]) > 30 and "at least 80" in ranked["verdict"]
        assert float(rows[f"{role}: correlation with the rule of pleasantness"]["value"]) > 0
    for world, classes in (("birds", "24 classes"), ("faces", "7 attributes"), ("animals", "9 classes")):
        for role in ("guide", "judge"):
            assert float(rows[f"{world}, {role}: {classes} (%)"]["value"]) > 50
    asked = {name: row for name, row in rows.items() if row["group"].startswith("Text to image")}
    assert len(asked) == 10 and all(row["n"] == "4" for row in asked.values())
    real, generated = (float(rows[f"FID of {name} to real"]["value"]) for name in ("real", "text to image"))
    assert 0 <= real < generated
    assert rows["FID of text to image over that of the autoencoder alone"]["verdict"].startswith(
        "at most 1.3"
    )
    for world in worlds:
        name = f"{world}: power above half the Nyquist frequency, text to image over the autoencoder alone"
        assert float(rows[name]["value"]) > 0
    for part in ("eyes", "mouth", "hair"):
        drawn, without = (
            float(rows[f"faces, drawn{w}: {part} present (%)"]["value"]) for w in ("", " without")
        )
        assert without < 50 < drawn
    text = capsys.readouterr().out
    assert "at least 85" in text and "embedded_zoo.md" in text


def test_parts_are_checked_before_anything_loads(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in ((["--only", "clips"], "invalid choice"), (["--n", "0"], "at least 1")):
        with pytest.raises(SystemExit):
            zoo.main(arguments)
        assert message in capsys.readouterr().err


def test_networks_that_are_not_there_are_told_and_the_others_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(models: object, n: int) -> list[Measured]:
        raise WeightsError("embedded/flow: no such weights")

    def there(models: object, n: int) -> list[Measured]:
        return [Measured("answer", Number(42.0, None, n))]

    monkeypatch.setattr("guidebench.runner.zoo.load", lambda job: None)
    monkeypatch.setattr(
        "guidebench.runner.zoo.PARTS", {"a": ("Flows", missing, 1), "b": ("Others", there, 1)}
    )
    monkeypatch.setattr("guidebench.cli.zoo.PARTS", {"a": (), "b": ()})
    assert zoo.main([f"paths.tables={tmp_path}"]) == 0
    page = (tmp_path / "embedded_zoo.md").read_text()
    assert "42" in page and "Not measured: Flows. embedded/flow: no such weights" in page
