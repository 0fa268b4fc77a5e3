"""docs/custom_loss.md is run as it stands there."""

import re
import shlex
import sys
import types
from pathlib import Path

import pytest
import test_loss_contract as loss_contract
import torch
import yaml
from components import problems

from guidebench.diffusion.grids import Leading
from guidebench.losses.base import Loss
from guidebench.methods.base import Setup
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.lgd_mc import LGDMC
from guidebench.models.latent_diffusion import LatentDiffusion
from guidebench.runner.compat import check_compatibility
from guidebench.runner.components import check
from guidebench.runner.compose import compose_config, expand
from guidebench.runner.job import Job
from guidebench.samplers.ddim import DDIM


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs" / "custom_loss.md").read_text(encoding="utf-8")


@pytest.fixture
def loss(page: str, monkeypatch: pytest.MonkeyPatch) -> Loss:
    code = re.search(r"losses/symmetry\.py`\n\n```python\n(.*?)```", page, re.DOTALL)
    node = re.search(r"loss/symmetry\.yaml`\n\n```yaml\n(.*?)```", page, re.DOTALL)
    assert code and node
    assert len(code[1].split("class Symmetry")[1].splitlines()) <= 12  # "a ten-line loss"
    module = types.ModuleType("guidebench.losses.symmetry")
    exec(compile(code[1], "custom_loss.md", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    config = yaml.safe_load(node[1])
    check(config, "loss")
    built: Loss = Job({"loss": config}).build("loss")
    return built


def test_the_loss_keeps_the_contract(loss: Loss) -> None:
    images = torch.zeros(4, 3, 64, 64)
    images[1, :, :, 0] = 0.5  # and 0 in the last column: both differ from their mirror image
    torch.testing.assert_close(loss_contract.evaluate(loss, images)[:2], torch.tensor([0.0, 96.0]))
    noise = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    loss_contract.test_one_number_per_sample_that_depends_on_its_row_alone(loss, noise)
    loss_contract.test_the_gradient_of_a_row_stays_in_it_and_leads_down(loss, noise)


def test_the_script_makes_pictures_more_symmetric(page: str, loss: Loss) -> None:
    script = re.search(r"## From Python\n\n```python\n(.*?)```", page, re.DOTALL)
    assert script
    names: dict = {}
    exec(compile(script[1], "custom_loss.md", "exec"), names)
    assert names["images"].shape == (8, 3, 32, 32)
    assert names["asymmetry"]["guided"] < 0.5 * names["asymmetry"]["unguided"]


def test_the_command_lines_compose(page: str) -> None:
    """With a loss that ships in the place of the page's own."""
    commands = re.findall(r"^guidebench run (.*?) *(?:#.*)?$", page, re.MULTILINE)
    assert len(commands) >= 3
    for command in commands:
        ships = "classifier" if "class_conditional" in command else "clip_text"
        overrides = shlex.split(command.replace("symmetry", ships).replace("-m ", ""))
        for job in expand(overrides):
            check_compatibility(Job.from_config(compose_config(job)))


def test_it_guides_another_model_too(loss: Loss, tiny_model: LatentDiffusion) -> None:
    sampler = DDIM(n_steps=8, eta=1.0, grid=Leading(offset=0, final="clean"))
    setup = Setup(tiny_model, sampler, loss)
    cases = problems(["prompt"])
    objective = loss.bind(cases, setup.streams(cases))
    methods = (Unguided(), LGDMC(scale=0.1, n_mc=4, injection="pigdm_code"))
    plain, guided = (objective(method.generate(cases, setup).samples) for method in methods)
    assert (guided < plain).all()
