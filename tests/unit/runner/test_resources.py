"""What draws take, counted: the claim of LGD's Table 6."""

import pandas as pd
import pytest
from guidebench.runner.sweeps import Sweep

from guidebench.errors import ConfigError
from guidebench.runner import resources, sweeps
from guidebench.runner.resources import measure

BATCH, N, ELEMENTS = 4, 100, 3 * 32 * 32


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    root = tmp_path_factory.mktemp("resources")
    own = ["size=smoke", "seed=0,1", f"batch_size={BATCH}", f"paths.results={root}", "device=cpu"]
    return sweeps.load("lgd/resources", own)


@pytest.fixture(scope="module")
def records(sweep: Sweep) -> pd.DataFrame:
    return measure(sweep, lambda what: None)


def test_every_row_is_measured_at_every_seed(sweep: Sweep, records: pd.DataFrame) -> None:
    assert set(zip(records["method"], records["seed"], strict=True)) == {
        (method, seed) for method in sweep.layout["rows"]["values"] for seed in ("0", "1")
    }
    assert (records["seconds"] > 0).all()
    assert not sweep.root.exists(), "nothing is stored"


def test_seeds_begin_with_another_row_each(sweep: Sweep) -> None:
    jobs = resources._interleaved(sweep)
    seeds = [job.choice("seed") for job in jobs]
    assert seeds == sorted(seeds) and len(jobs) == len(sweep.jobs)
    rows = sweep.layout["rows"]["values"]
    assert [job.choice("method") for job in jobs[:: len(rows)]] == list(rows[:2])


def test_draws_cost_their_noise_and_a_chunk(records: pd.DataFrame) -> None:
    """A hundred draws in chunks need less than two numbers each beside what one draw needs."""
    memory = records.groupby("method")["memory_gb"].first() * 1e9
    draws = 4 * BATCH * N * ELEMENTS
    assert 0.8 * draws < memory["lgd_mc_n100_chunks"] - memory["lgd_mc_n1"] < 2 * draws
    assert memory["lgd_mc_n100_chunks"] < memory["lgd_mc_n100"]
    assert memory["lgd_dps"] == pytest.approx(memory["lgd_mc_n1"], rel=0.02)


def test_a_wrong_kind_of_records_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = {"overrides": [], "sizes": {}, "layout": {}, "records": "times"}
    monkeypatch.setattr(sweeps.yaml, "safe_load", lambda text: content)
    with pytest.raises(ConfigError, match="got 'times'; allowed: samples, resources"):
        sweeps.document("lgd/resources")
