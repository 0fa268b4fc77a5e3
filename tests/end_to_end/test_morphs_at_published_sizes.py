"""One step of each morphing method at the sizes of DiffAE and IResNet-100, with random weights: needs no download."""

from pathlib import Path

import pytest

from guidebench.runner.compose import compose_config
from guidebench.runner.experiment import Experiment
from guidebench.runner.job import Job

METHODS = {
    "landmark_morph": [],
    "dim": [],
    "best_blend": ["method.n_blends=1"],
    "greedy_search": ["method.n_blends=2"],
    "dim_greedy": ["method.method.n_opt=1"],
    "dim_freedom": ["method.method.n_repeats=1"],
    "dim_lgd": ["method.method.n_mc=1"],
    "dim_flowgrad": ["method.method.n_opt=1", "method.method.form=flow"],
    "dim_implicit": ["method.method.n_opt=1"],
    "dim_descent": ["method.method.n_opt=1", "gradient=adjoint_deis"],
    "dim_doodl": ["method.method.n_opt=1", "sampler=edict", "gradient=reversible"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_one_step_of_each_method(name: str, tmp_path: Path) -> None:
    chosen = METHODS[name] if name == "dim_doodl" else ["sampler.solver_order=1", *METHODS[name]]
    encoder = [] if name == "landmark_morph" else ["method.encoder.n_steps=1"]
    config = compose_config(
        [
            *("task=morphing", "suite=random", "size=smoke", f"method={name}", "seed=0", "dataset.limit=1"),
            *("n_steps=1", f"paths.results={tmp_path}", *encoder, *chosen),
        ]
    )
    experiment = Experiment(Job.from_config(config))
    records = []
    experiment.run(experiment.missing(), records.extend, wait=True)
    assert [record.status for record in records] == ["ok"]
    assert records[0].nfe_fwd == experiment.cost().nfe_fwd
