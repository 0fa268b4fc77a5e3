"""Measured memory and evaluations; the command that prints them."""

import csv

import pytest
import torch

from guidebench.cli.gradients import NAME, main
from guidebench.diffusion.analytic import GaussianMixture, TanhNetwork
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
from guidebench.models.base import Guided
from guidebench.models.closed_form import ClosedForm
from guidebench.runner.table_file import TableFile
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
    asked = ["model=mixture", "cfg_scale=3", "sampler=edict", "n_steps=4", f"paths.tables={tmp_path}"]
    assert main([*asked, "device=cpu"]) == 0
    printed = capsys.readouterr().out
    assert "reversible" in printed and "adjoint_deis: " in " ".join(printed.split())  # refused, and why
    (path,) = tmp_path.glob("*.csv")
    with path.open(newline="") as file:
        rows = {(row["row"], row["quantity"]): row["value"] for row in csv.DictReader(file)}
    assert {row for row, _ in rows} == {row.label for row in TableFile.read(NAME).specs[""].rows}
    # 3 of 4 steps move: 6 stages, guidance doubles
    assert (rows["reversible, exact", "forwards"], rows["reversible, exact", "backwards"]) == ("24", "12")
    assert float(rows["checkpointed, exact, no graph kept", "correct digits"]) > 4
    assert float(rows["truncated, last step", "correct digits"]) < 1
    assert rows["AdjointDEIS, order 1", "forwards"] == ""


def test_a_chosen_row_is_the_only_one(tmp_path, capsys):
    asked = ["model=gaussian", "cfg_scale=1", "sampler=ddim", "n_steps=3", "rows=truncated"]
    assert main([*asked, f"paths.tables={tmp_path}", "device=cpu"]) == 0
    printed = capsys.readouterr().out
    assert "\ntruncated, last step " in printed and "\none-step" not in printed


def test_refusals(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'gaussian'"):
        main(["model=gausian"])
    with pytest.raises(ConfigError, match="would bear wrong names"):
        main(["gradient=one_step"])


@pytest.mark.parametrize("distribution", ["gaussian", "mixture", "network"])
def test_a_closed_form_is_a_model_under_guidance(distribution):
    """Guided by the runner's own combination, against the mixture's own."""
    model = ClosedForm(distribution, dtype="float64")
    model.load("cpu")
    x = torch.randn(3, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    cond = model.condition(["a photograph"] * 3)
    guided = Guided(model, 3.0)(x, 500.0, cond)
    if distribution == "mixture":
        exact = GaussianMixture(model.schedule, model._model.means, 0.25, cfg_scale=3.0)
        torch.testing.assert_close(guided, exact(x, 500.0, cond))
        assert not torch.allclose(guided, model.eps(x, 500.0, cond))
    else:
        torch.testing.assert_close(guided, model.eps(x, 500.0, None))
