"""LGD's tables but the mixture's, from nothing: on small random networks, planned at full size, run at full size."""

from pathlib import Path

import pytest
from PIL import Image

from guidebench.cli import plan, table
from guidebench.data.pictures import imagenet_names
from guidebench.errors import ConfigError, DataError
from guidebench.runner.table_file import TableFile
from tiny_models import make_classifier_directory

SMALL = [  # ADM and its classifier, shrunk
    "suite=random",
    "features@networks.features=embedded",
    "networks.reference.n=3",
    "networks.reference.size=16",
    "classifier@networks.judge_classifier=pixels_judge",
    *(
        f"{network}.architecture.{key}={value}"
        for network in ("model", "networks.guide_classifier")
        for key, value in {
            "image_size": 16,
            "model_channels": 32,
            "num_res_blocks": 1,
            "channel_mult": "[1,2]",
            "attention_resolutions": "[8]",
            "num_head_channels": 16,
        }.items()
    ),
]
TABLES = {
    "lgd/motion_path": ["dataset.directions=[0.0]"],
    "lgd/motion_obstacle": ["dataset.directions=[15.0]"],
    "lgd/sr": ["classifier@networks.guide_classifier=adm256_noisy", "dataset.pictures.size=16", *SMALL],
    "lgd/label": SMALL,
    "lgd/text": [
        "classifier@networks.guide_classifier=adm256_noisy",
        "clip@networks.guide_clip=embedded_guide",
        "clip@networks.score_clip=embedded_score",
        *SMALL,
    ],
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny classifier of ImageNet's classes."""
    return str(make_classifier_directory(tmp_path_factory.mktemp("judge"), classes=tuple(imagenet_names())))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_from_nothing(name: str, judge: str, tmp_path: Path) -> None:
    own = ["size=smoke", "n_steps=2", f"paths.results={tmp_path}", "device=cpu", *TABLES[name]]
    own += [f"networks.judge_classifier.directory={judge}"] if TABLES[name][-1] == SMALL[-1] else []
    assert table.main([name, *own]) == 0
    (page,) = [p for p in (tmp_path / "runs" / "tables").glob("*.md") if not p.stem.endswith("_costs")]
    lines = page.read_text().split("## Paired comparisons")[0].splitlines()
    for row in TableFile.read(name).specs[""].rows:
        found = [line for line in lines if line.startswith(f"| {row.label} |")]
        assert found and "missing" not in " ".join(found)
    first = page.read_bytes()
    assert table.main([name, "--no-run", *own]) == 0 and page.read_bytes() == first


def test_the_table_of_resources(judge: str, tmp_path: Path) -> None:
    own = ["classifier@networks.guide_classifier=adm256_noisy", "dataset.pictures.size=16", *SMALL]
    own += [f"networks.judge_classifier.directory={judge}"]
    assert table.main(["lgd/resources", "size=smoke", f"paths.results={tmp_path}", "device=cpu", *own]) == 0
    (page,) = (tmp_path / "runs" / "tables").glob("*.md")
    text = page.read_text()
    assert "LGD-MC n=100, ten at a time" in text and "device CPU" in text and "(random weights)" in text
    with pytest.raises(ConfigError, match="nothing of it is stored"):
        table.main(["lgd/resources", "--no-run"])


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A folder with ImageNet's thousand subfolders and four images."""
    for i in range(1000):
        (tmp_path / "val" / f"n{i:08d}").mkdir(parents=True)
    for i in (0, 1, 500, 999):
        Image.new("RGB", (300, 280), (i % 256, 90, 30)).save(tmp_path / "val" / f"n{i:08d}" / "1.jpeg")
    return tmp_path / "val"


@pytest.mark.parametrize(("name", "hours"), [("lgd/sr", "555 GPU-hours"), ("lgd/label", "79 GPU-hours")])
def test_the_full_tables_are_planned_without_their_weights(
    name: str, hours: str, imagenet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [f"networks.reference.path={imagenet}", "networks.reference.n=4"]
    if name == "lgd/sr":
        data += [f"dataset.pictures.path={imagenet}", "dataset.pictures.n=4"]
    plan.main([name, "suite=full", "size=paper", "seed=0", "--no-probe", *data])
    printed = " ".join(capsys.readouterr().out.split())
    assert "6 jobs, all valid" in printed and hours in printed


def test_a_plan_of_ones_own_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["dataset=prompts/embedded", "dataset.prompts=[a fox, an owl]", "~metrics.prompt_success"]
    assert plan.main([*own, "--no-probe"]) == 0
    assert "2 samples to make" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["lgd/sr", "lgd/label", "lgd/resources"])
def test_missing_images_are_told_before_anything_runs(name: str) -> None:
    with pytest.raises(DataError, match=r"imagenet/val holds 0 images .* give a folder"):
        plan.main([name, "suite=full", "seed=0", "--no-probe"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("lgd/motion_path", "none,lgd_dps,lgd_mc_n100"),
        ("lgd/motion_obstacle", "lgd_mc_n10"),
        ("lgd/sr", "ddrm,lgd_mc_n10"),
        ("lgd/label", "classifier_guidance,lgd_mc_n1"),
        ("lgd/resources", "lgd_mc_n100"),
        ("lgd/text", "lgd_mc_n1"),
    ],
)
def test_one_step_of_the_full_architectures(name: str, rows: str, tmp_path: Path) -> None:
    one = ["n_steps=1", "seed=0", "size=smoke", f"rows={rows}", f"paths.results={tmp_path}"]
    if name in ("lgd/sr", "lgd/label"):
        one += ["dataset.limit=1", "networks.reference.n=2"]
    elif name == "lgd/text":
        one += ["dataset.prompts=[a fox]"]
    elif name != "lgd/resources":
        one += ["dataset.directions=[15.0]", "batch_size=2"]
    assert table.main([name, "suite=random", *one]) == 0
