"""What draws take, counted: the claim of LGD's Table 6."""

import pandas as pd
import pytest

from guidebench.runner import resources
from guidebench.runner.experiment import Experiment
from guidebench.runner.tables import ComposedTable, compose_table

BATCH, N, ELEMENTS = 4, 100, 3 * 32 * 32


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ComposedTable:
    root = tmp_path_factory.mktemp("resources")
    own = ["size=smoke", "seed=0,1", f"batch_size={BATCH}", f"paths.results={root}", "device=cpu"]
    return compose_table("lgd/resources", own)


@pytest.fixture(scope="module")
def records(table: ComposedTable) -> pd.DataFrame:
    return resources.measure(table.jobs, lambda what: None)


def test_every_row_is_measured_at_every_seed(table: ComposedTable, records: pd.DataFrame) -> None:
    assert set(zip(records["row"], records["seed"], strict=True)) == {
        (row.name, seed) for row in table.specs[""].rows for seed in (0, 1)
    }
    assert (records["seconds"] > 0).all()
    assert not table.root.exists(), "nothing is stored"


def test_seeds_begin_with_another_row_each(table: ComposedTable) -> None:
    turns = list(resources._interleaved([Experiment(entry.job) for entry in table.jobs]))
    seeds = [batch.problems[0].seed for _, batch in turns]
    assert seeds == sorted(seeds) and len(turns) == 2 * len(table.jobs)
    assert [i for i, _ in turns[:: len(table.jobs)]] == [0, 1]


def test_draws_cost_their_noise_and_a_chunk(records: pd.DataFrame) -> None:
    """A hundred draws in chunks need less than two numbers each beside what one draw needs."""
    memory = records.groupby("row")["memory_gb"].first() * 1e9
    draws = 4 * BATCH * N * ELEMENTS
    assert 0.8 * draws < memory["lgd_mc_n100_chunks"] - memory["lgd_mc_n1"] < 2 * draws
    assert memory["lgd_mc_n100_chunks"] < memory["lgd_mc_n100"]
    assert memory["lgd_dps"] == pytest.approx(memory["lgd_mc_n1"], rel=0.02)
