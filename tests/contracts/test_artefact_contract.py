"""What is learned once: the artefact of CONTRIBUTING.md and a method that needs it, interrupted, shared, changed."""

import copy
import json
import multiprocessing
import sys
import time
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from components import job
from safetensors.torch import load_file
from test_contributing_examples import documented
from torch import Tensor

from guidebench.artefacts.base import Artefact, Learned
from guidebench.data.pictures import WorldPictures
from guidebench.diffusion.cost import Cost
from guidebench.errors import ConfigError, StoreError
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.models.base import DiffusionModel
from guidebench.pixels import to_tensor
from guidebench.problems import Problem
from guidebench.progress import Progress
from guidebench.runner import artefacts
from guidebench.runner.drafts import Draft
from guidebench.runner.experiment import Experiment
from guidebench.runner.job import Job
from guidebench.samplers.base import sample
from tiny_models import ARCHITECTURE

PICTURES, STEPS = 6, 3


class KilledError(Exception):
    pass


class Toward(Method):
    """Moves x_T towards a learned mean, in steps, then samples."""

    paper = "an example"
    uses = ("sampler", "artefact")

    def __init__(self, mean: Artefact) -> None:
        self.mean = mean

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        chain, guided, streams = setup.chain(), setup.guided(), setup.streams(problems)
        cond, mean, finite = setup.condition(problems), setup.learned("mean")["mean"], FiniteCheck()
        x_T = setup.x_T(streams)
        state = {"x": x_T, "norm": x_T.new_zeros(len(x_T), STEPS)}
        for k in setup.progress.steps(STEPS, state):
            streams.begin(k)
            with torch.no_grad():
                moved = guided(state["x"], setup.model.schedule.t_max, cond)
            state["x"] = state["x"] + 0.1 * mean + 0.01 * moved + 0.1 * setup.x_T(streams)
            state["norm"][:, k] = state["x"].flatten(1).norm(dim=1)
        with torch.no_grad():
            x0 = chain.output(sample(chain, guided, chain.init(state["x"]), cond=cond))
        parts = decoded(setup.model, x0, finite, STEPS)
        return Generation(parts, self.cost(setup), guided.cost, {"norm": state["norm"]}, finite.failures)

    def cost(self, setup: Setup) -> Cost:
        return Cost(setup.rows * (STEPS + setup.chain().n_stages))


class Undeclared(Toward):
    uses = ("sampler",)


class Misspelt(Toward):
    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        setup.learned("meen")
        raise AssertionError


class NotFinite(Artefact):
    paper = "an example"

    def learn(self, model: DiffusionModel, progress: Progress) -> Learned:
        return Learned({"mean": torch.full(model.sample_shape, torch.nan)})


@pytest.fixture(autouse=True)
def _toy(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(checkout, monkeypatch)


def install(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the documented artefact and this file's classes where components live."""
    documented(checkout, "artefact", "mean_latent", monkeypatch)
    toys = {
        "guidebench.methods.toy": (Toward, Undeclared, Misspelt),
        "guidebench.artefacts.toy": (NotFinite,),
    }
    for name, classes in toys.items():
        module = types.ModuleType(name)
        for cls in classes:
            monkeypatch.setattr(cls, "__module__", name)
            setattr(module, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(scope="module")
def composed(clip_directories: dict[str, str]) -> Job:
    clips = [f"networks.{name}_clip.directory={path}" for name, path in clip_directories.items()]
    return job(
        "method=none", "sampler=ddim", "n_steps=4", "dataset.limit=2", "dataset.categories=[Colors]", *clips
    )


def experiment(composed: Job, results: Path, method: str = "Toward", **changes: Any) -> Experiment:
    config = copy.deepcopy(composed.config)
    pictures = {"_target_": "guidebench.data.pictures.WorldPictures", "worlds": ["scenes"], "size": 32}
    mean = {
        "_target_": "guidebench.artefacts.mean_latent.MeanLatent",
        "pictures": {**pictures, "n": PICTURES},
    }
    config["model"] = {
        "_target_": "guidebench.models.latent_diffusion.LatentDiffusion",
        "source": "tiny",
        "architecture": ARCHITECTURE,
        "random_weights": True,
    }
    config["method"] = {"_target_": f"guidebench.methods.toy.{method}", "mean": changes.pop("mean", mean)}
    config["paths"] = {"results": str(results), "tables": str(results)}
    config |= {"checkpoint_seconds": 0.0, "device": "cpu", "metrics": {}} | changes
    return Experiment(Job(config))


def run(made: Experiment) -> list[Any]:
    records: list[Any] = []
    made.run(made.missing(), records.extend, wait=True)
    return records


def files(results: Path, below: str) -> dict[str, bytes]:
    """Contents by name, without the records, which hold times."""
    root = results / "runs" / below
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.name != "record.json"
    }


@pytest.fixture(scope="module")
def whole(composed: Job, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one uninterrupted run."""
    results = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        install(Path(__file__).resolve().parents[2], patch)
        run(experiment(composed, results))
    return results


def kills(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Dies when the at-th step of all loops is about to be taken."""
    steps, passed = Draft.steps, iter(range(10**9))

    def mortal(self: Draft, n: int, state: dict[str, Tensor]) -> Iterator[int]:
        for k in steps(self, n, state):
            if next(passed) == at:
                raise KilledError
            yield k

    monkeypatch.setattr(Draft, "steps", mortal)


def test_it_learns_the_mean_before_the_first_sample(
    composed: Job, whole: Path, tiny_model: DiffusionModel
) -> None:
    made = experiment(composed, whole)
    recipe_hash = made.recipes["mean"].hash
    pictures = WorldPictures(["scenes"], n=PICTURES, size=32).pictures()
    with torch.no_grad():
        latents = tiny_model.encode(
            to_tensor(torch.stack([torch.from_numpy(p.load()) for p in pictures]).numpy())
        )
    folder = whole / "runs" / "artefacts" / recipe_hash
    torch.testing.assert_close(
        load_file(folder / "weights.safetensors")["mean"], latents.mean(0), atol=1e-5, rtol=0
    )
    learnt = artefacts.stored(made.store)
    assert list(learnt) == [recipe_hash]
    assert len(learnt[recipe_hash].history["norm"]) == PICTURES and learnt[recipe_hash].seconds > 0
    assert json.loads((folder / "config.json").read_text()) == made.recipes["mean"].config
    stored = list(made.stored().values())
    assert len(stored) == 2
    for record in stored:
        assert record.artefacts == {"mean": learnt[recipe_hash].sha256}
        assert record.nfe_fwd == made.cost().nfe_fwd
    assert not list((whole / "runs" / "drafts").rglob("*.safetensors"))


@pytest.mark.parametrize("at", range(PICTURES + STEPS))
def test_killed_at_every_step_of_every_loop_it_goes_on_bit_identically(
    composed: Job, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    with monkeypatch.context() as patch:
        kills(patch, at)
        with pytest.raises(KilledError):
            run(experiment(composed, tmp_path))
    drafts = list((tmp_path / "runs" / "drafts").rglob("*.safetensors"))
    assert len(drafts) == 1
    records = run(experiment(composed, tmp_path))
    assert files(tmp_path, "samples") == files(whole, "samples")
    assert files(tmp_path, "artefacts") == files(whole, "artefacts")
    reference = experiment(composed, whole).stored().values()
    for record, other in zip(records, reference, strict=True):
        assert (record.nfe_fwd, record.nfe_bwd, record.history) == (
            other.nfe_fwd,
            other.nfe_bwd,
            other.history,
        )
    assert not list((tmp_path / "runs" / "drafts").rglob("*.safetensors"))


def _slowly(results: Path, composed: Job, log: Path) -> None:
    learn = artefacts._learn

    def noted(*arguments: Any) -> Any:
        with log.open("a") as lines:
            lines.write("learning\n")
        time.sleep(0.3)
        return learn(*arguments)

    artefacts._learn = noted
    run(experiment(composed, results))


def test_two_processes_that_need_it_learn_it_once(composed: Job, whole: Path, tmp_path: Path) -> None:
    log, fork = tmp_path / "log", multiprocessing.get_context("fork")
    both = [fork.Process(target=_slowly, args=(tmp_path / "results", composed, log)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert log.read_text() == "learning\n"
    assert files(tmp_path / "results", "samples") == files(whole, "samples")


def test_the_recipe_is_the_identity_and_is_known_before_learning(composed: Job, tmp_path: Path) -> None:
    made = experiment(composed, tmp_path)
    node = copy.deepcopy(made.job.config["method"]["mean"])
    assert artefacts.stored(made.store) == {} and len(made.missing()) == 1
    assert made.unlearned() == {"mean": made.recipes["mean"].hash}
    run(made)
    assert made.unlearned() == {}
    assert list(artefacts.stored(made.store)) == [made.recipes["mean"].hash]

    slower = experiment(composed, tmp_path, sampler={**made.job.config["sampler"], "n_steps": 8})
    assert slower.config_hash != made.config_hash and slower.recipes["mean"].hash == made.recipes["mean"].hash
    node["pictures"]["n"] = PICTURES - 1
    other = experiment(composed, tmp_path, mean=node)
    assert other.config_hash != made.config_hash and other.recipes["mean"].hash != made.recipes["mean"].hash
    run(slower)
    assert len(artefacts.stored(made.store)) == 1
    run(other)
    assert set(artefacts.stored(made.store)) == {made.recipes["mean"].hash, other.recipes["mean"].hash}


def test_damaged_weights_are_learned_anew(composed: Job, whole: Path, tmp_path: Path) -> None:
    made = experiment(composed, tmp_path)
    run(made)
    path = tmp_path / "runs" / "artefacts" / made.recipes["mean"].hash / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    assert artefacts.stored(made.store) == {}
    made.model.load("cpu")
    made.learned(torch.device("cpu"))
    assert files(tmp_path, "artefacts") == files(whole, "artefacts")
    assert len(list((tmp_path / "runs" / "quarantine").iterdir())) == 1


def test_what_is_wrong_is_said(composed: Job, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="uses the artefact and does not declare it"):
        run(experiment(composed, tmp_path, "Undeclared"))
    with pytest.raises(ConfigError, match=r"method\.meen: nothing was learned for it; there are mean"):
        run(experiment(composed, tmp_path, "Misspelt"))
    with pytest.raises(StoreError, match="not finite"):
        run(experiment(composed, tmp_path, mean={"_target_": "guidebench.artefacts.toy.NotFinite"}))
