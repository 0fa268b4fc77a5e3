"""Measured memory and evaluations; the command that prints them."""

import csv

import pytest
import torch

from guidebench.cli.gradients import COLUMNS, ROWS, main
from guidebench.diffusion.analytic import TanhNetwork
from guidebench.diffusion.cost import Cost
from guidebench.diffusion.schedules import ScaledLinear
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainRun, GradientStrategy
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.compare import Unit, Workload, measure, unit_of
from guidebench.gradients.direct import Direct
from guidebench.gradients.reversible import Reversible
from guidebench.gradients.truncated import Truncated
from guidebench.measuring import peak_memory
from guidebench.samplers.base import Sampler
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.edict import EDICT

SD = ScaledLinear()
NETWORK = TanhNetwork(SD, 64, width=64, dtype=torch.float32).requires_grad_(False)
X_T = torch.randn(1000, 64, generator=torch.Generator().manual_seed(0))
LATENT = X_T.nbytes


def workload(sampler: Sampler) -> Workload:
    chain = sampler.chain(SD)
    return Workload(ChainRun(chain, NETWORK, chain.init(X_T)), lambda final: final[0].square().sum(1))


def peak(strategy: GradientStrategy, sampler: Sampler) -> int:
    made = workload(sampler)

    def work() -> None:
        made.x_T_grad(strategy)

    return peak_memory(work, X_T.device)


@pytest.mark.parametrize(("sampler", "latents_per_step"), [(DDIM, 1), (EDICT, 3)], ids=["ddim", "edict"])
def test_checkpointed_memory_grows_by_the_stored_latents(sampler, latents_per_step):
    """EDICT's step stores x, y and the member that moved first; nothing else grows with N."""
    growth = peak(Checkpointed(), sampler(40)) - peak(Checkpointed(), sampler(10))
    assert growth == pytest.approx(30 * latents_per_step * LATENT, rel=0.01)


def test_reversible_memory_does_not_grow():
    assert peak(Reversible(), EDICT(40)) == pytest.approx(peak(Reversible(), EDICT(10)), abs=0.01 * LATENT)


def test_kept_graphs_cost_their_memory():
    one = peak(Checkpointed(keep_graphs=4), DDIM(20)) - peak(Checkpointed(keep_graphs=3), DDIM(20))
    hidden = 1000 * 64 * 4  # all that the frozen network saves; the latent is stored in any case
    assert one == pytest.approx(hidden, rel=0.01)


def test_a_row_holds_counts_and_errors():
    made = workload(DDIM(10))
    truth = made.x_T_grad(Direct()).double()
    row = measure("exact", Checkpointed(), made, truth, Unit(1e-3, 2.0), repeats=1)
    assert row.cost == Cost(18, 9) and row.units == 36.0
    assert row.error is not None and row.error < 1e-6
    assert row.cosine == pytest.approx(1.0) and row.length == pytest.approx(1.0)
    assert row.seconds is not None and row.overhead == pytest.approx(row.seconds / 0.036)
    short = measure("short", Truncated(1), made, 2 * truth, Unit(1e-3, 2.0), repeats=0)
    assert short.cost == Cost(9, 1) and short.error is not None and short.error > 0.1
    refused = measure("refused", Reversible(), made, truth, Unit(1e-3, 2.0))
    assert refused.cost is None and "sampler=edict" in refused.refused


def test_the_unit_of_cost_is_timed():
    unit = unit_of(workload(DDIM(10)))
    assert unit.forward > 0 and unit.backward_ratio >= 0
    assert unit.of(Cost(10, 4)) == pytest.approx(10 + 4 * unit.backward_ratio)


def test_the_command_prints_and_writes_a_row_per_strategy(tmp_path, capsys):
    out = tmp_path / "gradients"
    overrides = ["model=mixture", "sampler=edict", "n_steps=4", "--repeats", "0", "--out", str(out)]
    assert main(overrides) == 0
    assert "reversible" in capsys.readouterr().out
    with out.with_name("gradients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(ROWS) and set(COLUMNS) < set(rows[0])
    by_name = {row["strategy"]: row for row in rows}
    # 3 of 4 steps move: 6 stages, guidance doubles
    assert (by_name["reversible"]["fwd"], by_name["reversible"]["bwd"]) == ("24", "12")
    assert float(by_name["checkpointed 0"]["rel. error"]) < 1e-4
    assert by_name["adjoint_deis"]["fwd"] == "refused"
    assert "| strategy | exact |" in out.with_name("gradients.md").read_text()


def test_a_chosen_gradient_is_the_only_row(capsys):
    assert (
        main(["model=gaussian", "n_steps=3", "gradient=truncated", "gradient.last_k=2", "--repeats", "0"])
        == 0
    )
    printed = capsys.readouterr().out
    assert "truncated" in printed and "one_step" not in printed


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="did you mean"):
        main(["model=gaussian", "gradient=checkpoined"])
    with pytest.raises(ConfigError, match="does not exist"):
        main(["model=gaussian", "n_steps=2", "gradient=one_step", "--out", str(tmp_path / "no" / "where")])
