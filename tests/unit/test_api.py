"""The library: what `import guidebench` offers, and that it does what the commands do."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

import guidebench as gb
from guidebench import api
from guidebench.diffusion.grids import Leading
from guidebench.errors import ConfigError, GuidebenchError, WeightsError
from guidebench.methods.base import Setup
from guidebench.models.latent_diffusion import LatentDiffusion
from guidebench.models.motion_prior import MotionPrior
from guidebench.pixels import to_uint8
from guidebench.runner.folders import shipped

SAMPLER = gb.DDIM(n_steps=4, eta=1.0, grid=Leading(offset=0, final="clean"))
EMBEDDED = Path(gb.__file__).parent / "weights" / "embedded" / "text_to_image"
PROMPTS = ("a red circle", "a blue square")


def brightness(images: torch.Tensor) -> torch.Tensor:
    return images.mean((1, 2, 3))


def test_importing_is_cheap_and_the_names_are_there() -> None:
    program = (
        "import sys; import guidebench as gb\n"
        "print([m for m in ('torch', 'hydra', 'omegaconf', 'pandas', 'numpy', 'yaml') if m in sys.modules])\n"
        "print(set(gb.__all__) <= set(dir(gb)), gb.__version__)\n"
        "try: gb.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.splitlines() == [
        "[]",
        f"True {gb.__version__}",
        "module 'guidebench' has no attribute 'nothing'",
    ]


def test_the_types_say_what_is_imported() -> None:
    stub = ast.parse(Path(gb.__file__).with_suffix(".pyi").read_text())
    typed = {
        alias.name: (node.module or "").removeprefix("guidebench.")
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == gb._HOME_OF
    assert Path(gb.__file__).with_name("py.typed").exists()


@pytest.mark.parametrize("group", ["method", "sampler"])
def test_every_method_and_sampler_has_a_name(group: str) -> None:
    nodes = [yaml.safe_load(path.read_text()) for path in (shipped("conf") / group).rglob("*.yaml")]
    targets = {node["_target_"] for node in nodes if "_target_" in node}
    assert targets <= {f"guidebench.{home}.{name}" for name, home in gb._HOME_OF.items()}


def test_a_function_guides_and_a_method_gives_what_it_gives_by_hand(tiny_model: LatentDiffusion) -> None:
    plain = gb.sample(tiny_model, prompts=PROMPTS, n=2, sampler=SAMPLER, cfg_scale=2.0, seed=3)
    method = gb.LGDMC(scale=20.0, n_mc=2, injection="pigdm_code")
    result = gb.sample(
        tiny_model,
        prompts=PROMPTS,
        n=2,
        sampler=SAMPLER,
        cfg_scale=2.0,
        seed=3,
        loss=brightness,
        method=method,
    )
    assert result.images.shape == (4, 3, 32, 32) and result.failures == {}
    assert [problem.prompt for problem in result.problems] == [p for p in PROMPTS for _ in range(2)]
    assert len({problem.case_id for problem in result.problems}) == 4
    assert (brightness(result.images) < brightness(plain.images)).all()
    assert all(len(curve) == 4 for curve in result.history.values()) and result.history
    setup = Setup(tiny_model, SAMPLER, api.FunctionLoss(brightness), cfg_scale=2.0)
    by_hand = method.generate(result.problems, setup)
    torch.testing.assert_close(result.images, by_hand.samples, rtol=0, atol=0)
    assert result.cost == by_hand.cost


def test_a_sample_does_not_depend_on_the_batch_or_the_others(tiny_model: LatentDiffusion) -> None:
    whole = gb.sample(tiny_model, prompts=PROMPTS[0], n=5, sampler=SAMPLER, loss=brightness)
    parts = gb.sample(tiny_model, prompts=PROMPTS[0], n=5, sampler=SAMPLER, loss=brightness, batch_size=2)
    torch.testing.assert_close(whole.images, parts.images, rtol=1e-3, atol=1e-4)
    other = gb.sample(tiny_model, prompts=PROMPTS[0], n=1, sampler=SAMPLER, seed=1)
    assert not torch.allclose(
        other.images[0], gb.sample(tiny_model, prompts=PROMPTS[0], sampler=SAMPLER).images[0]
    )


def test_what_is_saved_reads_back(tiny_model: LatentDiffusion, tmp_path: Path) -> None:
    result = gb.sample(tiny_model, prompts=PROMPTS, sampler=SAMPLER, loss=brightness)
    failed = api.Result(
        result.problems, result.parts, result.cost, result.history, {1: "x0 became non-finite"}
    )
    paths = failed.save(tmp_path / "new")
    index = json.loads((tmp_path / "new" / "samples.json").read_text())
    with Image.open(tmp_path / "new" / index["samples"][0]["files"]["sample"]) as image:
        np.testing.assert_array_equal(np.asarray(image), to_uint8(result.images)[0])
    assert index["samples"][1]["files"] == {} and index["samples"][1]["failure"] == "x0 became non-finite"
    assert index["samples"][0]["problem"]["prompt"] == PROMPTS[0]
    assert index["cost"]["nfe_fwd"] == result.cost.nfe_fwd
    assert set(paths) == set((tmp_path / "new").iterdir())
    with pytest.raises(ConfigError, match="choose another folder"):
        failed.save(tmp_path / "new")
    assert (failed._repr_png_() or b"").startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"method": gb.DOODL()}, "guided by a loss; give loss"),
        ({"loss": brightness, "method": gb.Unguided()}, "uses none; leave it out"),
        ({"loss": brightness, "method": gb.DOODL(), "sampler": SAMPLER}, "draws noise at every step"),
        ({"loss": lambda images: images.mean()}, "a single number for the whole batch"),
        ({"loss": lambda images: images.mean((1, 2, 3)).detach()}, "detached"),
        ({"n": 0}, "numbers from 1"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tiny_model: LatentDiffusion, chosen: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        gb.sample(tiny_model, **{"prompts": PROMPTS, "sampler": gb.DDIM(n_steps=2), **chosen})


def test_samples_that_are_no_images() -> None:
    """A closed-form model of motions."""
    model = gb.model("motion_prior", frames=30)
    assert isinstance(model, MotionPrior)
    result = gb.sample(
        model,
        prompts="a person walks",
        n=2,
        sampler=gb.DDIM(n_steps=5),
        loss=lambda motions: motions.square().mean((1, 2)),
        cfg_scale=1.0,
    )
    assert result.samples.shape[:2] == (2, 30)
    with pytest.raises(ConfigError, match="read `samples`"):
        _ = result.images


def test_choices_are_named_as_everywhere() -> None:
    with pytest.raises(ConfigError, match="did you mean 'embedded'"):
        gb.model("embeded")
    with pytest.raises(ConfigError, match="allowed: float32, bfloat16"):
        gb.model("embedded_pixels", dtype="float16")
    with pytest.raises(ConfigError, match="no such parameter"):
        gb.model("embedded_pixels", steps=3)


# -- pipelines ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pipeline() -> Any:
    """The embedded suite's model as its user would hold it."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline.from_pretrained(EMBEDDED, dtype=torch.float32)


def test_a_pipeline_is_the_model_that_it_holds(pipeline: Any) -> None:
    ours, theirs = gb.model("embedded", device="cpu"), gb.model(pipeline, device="cpu")
    chosen = {"prompts": PROMPTS[0], "sampler": gb.DDIM(n_steps=2), "cfg_scale": 3.0}
    expected = gb.sample(ours, **chosen).images
    torch.testing.assert_close(gb.sample(theirs, **chosen).images, expected, rtol=0, atol=0)
    torch.testing.assert_close(gb.sample(pipeline, **chosen).images, expected, rtol=0, atol=0)
    before = theirs.fingerprint()
    with torch.no_grad():
        pipeline.unet.conv_in.bias += 1
        assert theirs.fingerprint() != before  # and it is the user's own network, not a copy
        pipeline.unet.conv_in.bias -= 1


def vae(dtype: torch.dtype) -> Any:
    return SimpleNamespace(config=SimpleNamespace(latent_channels=4), dtype=dtype)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"text_encoder_2": object()}, "has text_encoder_2"),
        ({"vae": None}, "lacks vae"),
        (
            {"unet": SimpleNamespace(config=SimpleNamespace(in_channels=9), dtype=torch.float32)},
            "takes 9 channels",
        ),
        ({"unet": SimpleNamespace(config=SimpleNamespace(in_channels=4), dtype=torch.float16)}, "underflow"),
        ({"vae": vae(torch.bfloat16)}, "in one precision"),
    ],
)
def test_pipelines_of_other_parts_are_refused_in_words(
    pipeline: Any, parts: dict[str, Any], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        gb.model(SimpleNamespace(components={**pipeline.components, **parts}))
    with pytest.raises(GuidebenchError, match="lacks"):
        gb.sample(object(), n=1)


# -- tables ------------------------------------------------------------------------------------------------------------


def test_a_table_asks_for_what_the_command_asks_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def make(name: str, overrides: list[str], run: bool) -> Any:
        asked.append((name, overrides, run))
        return SimpleNamespace(tables={"": None}, records=pd.DataFrame(), paths=(), failed_jobs=("a",))

    monkeypatch.setattr(api, "make", make)
    made = gb.table(
        "doodl/fig5", "rows=none", suite="random", size="smoke", seeds=range(2), results=tmp_path, run=False
    )
    assert asked == [
        (
            "doodl/fig5",
            ["suite=random", "size=smoke", "seed=[0,1]", f"paths.results='{tmp_path}'", "rows=none"],
            False,
        )
    ]
    assert made.failed == ("a",)
