"""`guidebench gradients`: every way to differentiate through a sampling chain, measured side by side."""

import argparse
import csv
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from guidebench.diffusion.analytic import Gaussian, GaussianMixture, TanhNetwork
from guidebench.diffusion.schedules import Linear, NoiseSchedule
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainRun, GradientStrategy
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.compare import Measured, Workload, measure, unit_of
from guidebench.models.base import DiffusionModel, Guided
from guidebench.runner.compose import compose_config, merge, parse
from guidebench.runner.job import Job
from guidebench.samplers.base import EpsModel, Sampler, State, draw_noises
from guidebench.samplers.dpm_solver import DPMSolver

ANALYTIC = ("gaussian", "mixture", "network")
"""Models known in closed form, beside the choices of conf/model."""

ROWS: tuple[tuple[str, ...], ...] = (
    ("gradient=direct",),
    ("gradient=checkpointed", "gradient.keep_graphs=0"),
    ("gradient=checkpointed", "gradient.keep_graphs=auto"),
    ("gradient=reversible",),
    ("gradient=adjoint_deis",),
    ("gradient=adjoint_deis", "gradient.variant=official"),
    ("gradient=adjoint_deis", "gradient.solver=deis-2m"),
    ("gradient=adjoint_deis", "gradient.solver=deis-2m", "gradient.states=inverted2"),
    ("gradient=adjoint_dpm", "gradient.method=euler"),
    ("gradient=adjoint_dpm", "gradient.method=rk4"),
    ("gradient=truncated", "gradient.last_k=1"),
    ("gradient=one_step",),
)
"""Overrides of each row."""

COLUMNS = (
    "strategy",
    "exact",
    "order",
    "fwd",
    "bwd",
    "cost [F]",
    "seconds",
    "time/cost",
    "peak [MB]",
    "cosine",
    "rel. error",
    "length",
)


def main(argv: list[str]) -> int:
    """Print one row per strategy; with --out also as Markdown and CSV."""
    parser = argparse.ArgumentParser(
        prog="guidebench gradients",
        description="Gradient of the squared distance of x_0 to a fixed random target with respect to x_T, by every "
        "strategy: evaluations (counted), cost in network forwards F, seconds, peak memory, and cosine, relative "
        "error and length against the exact gradient in float64. Overrides as for `run`: model=embedded, "
        "'suite=random model=sd14', sampler=ddim n_steps=20, gradient=checkpointed (that row only); and "
        f"model={'|'.join(ANALYTIC)} for models known in closed form (linear table, 64 dimensions).",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="Hydra overrides")
    parser.add_argument("--batch", type=int, default=2, metavar="B", help="samples (default 2)")
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="R", help="timed runs; 0 times the counted one"
    )
    parser.add_argument(
        "--no-truth", action="store_true", help="compare with checkpointed in the model's own precision"
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help="also write PATH.md and PATH.csv")
    parser.add_argument("--note", default="", metavar="TEXT", help="what the table shows, written below it")
    arguments = parser.parse_intermixed_args(argv)
    comparison = Comparison.of(arguments.overrides, arguments.batch, with_truth=not arguments.no_truth)
    unit = unit_of(comparison.workload)
    console, measured = Console(), []
    for name, strategy in comparison.strategies:
        console.print(f"  {name} …", style="dim", highlight=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the row's own numbers tell
            measured.append(
                measure(
                    name, strategy, comparison.workload, comparison.truth, unit, repeats=arguments.repeats
                )
            )
    title = (
        f"{comparison.title}; batch {arguments.batch}, F = {1e3 * unit.forward / arguments.batch:.3g} ms, "
        f"b = {unit.backward_ratio:.2f}"
    )
    _print(console, title, measured)
    if arguments.out:
        _write(arguments.out, title, measured, arguments.note)
    return 0


@dataclass(frozen=True)
class Comparison:
    """What is compared: one workload, its true gradient, and the strategies.

    Args:
        title: model, sampler and grid in words.
        workload: what is differentiated.
        truth: gradient with respect to x_T, (b, ...).
        strategies: name and strategy of each row.
    """

    title: str
    workload: Workload
    truth: Tensor
    strategies: tuple[tuple[str, GradientStrategy], ...]

    @classmethod
    def of(cls, overrides: Sequence[str], batch: int, *, with_truth: bool) -> "Comparison":
        """Compose the choices and find the truth.

        Raises:
            ConfigError: an override is wrong.
        """
        values = {o.key_or_group: str(o.value()) for o in parse(overrides)}
        model = values.get("model", "")
        rest = [o for o in overrides if o != f"model={model}"] if model in ANALYTIC else list(overrides)
        if model in ANALYTIC:
            rest = merge(["sampler=ddim", "n_steps=20"], rest)
        jobs = {row: Job.from_config(compose_config(rest + list(row))) for row in _rows(values)}
        job = next(iter(jobs.values()))
        sampler: Sampler = job.build("sampler")
        if model in ANALYTIC:
            built = (
                _analytic(model, sampler, batch, torch.float32),
                _analytic(model, sampler, batch, torch.float64),
            )
            title = f"{model}, 64 dimensions"
        else:
            precise = Job(job.config | {"model": job.config["model"] | {"dtype": "float64"}})
            first = loaded_workload(job, batch)
            built = first, loaded_workload(precise, batch) if with_truth else first
            random = " (random weights)" if job.config["random_weights"] else ""
            title = (
                f"{values.get('model', job.config['suite'])}{random}, cfg_scale {job.config['cfg_scale']:g}"
            )
        workload, precise_workload = built
        chain = workload.run.chain
        order = f" order {sampler.order}" if sampler.order > 1 or isinstance(sampler, DPMSolver) else ""
        title += (
            f"; {type(sampler).__name__}{order}, N = {len(chain.times) - 1} ({chain.n_stages} evaluations)"
        )
        truth = (precise_workload if with_truth else workload).x_T_grad(Checkpointed()).double()
        strategies = tuple((_name(row), other.build("gradient")) for row, other in jobs.items())
        return cls(title, workload, truth, strategies)


def _rows(values: dict[str, str]) -> tuple[tuple[str, ...], ...]:
    """The rows to measure: the user's own gradient alone where one is chosen."""
    return ((f"gradient={values['gradient']}",),) if "gradient" in values else ROWS


def _name(row: Sequence[str]) -> str:
    choice, *settings = row
    return " ".join([choice.partition("=")[2], *(s.partition("=")[2] for s in settings)])


def _target(like: Tensor) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(like)


def _start(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return noise.to(device, dtype)


def _workload(
    sampler: Sampler, schedule: NoiseSchedule, model: EpsModel, rows: int, x_T: Tensor, cond: Tensor | None
) -> Workload:
    chain = sampler.chain(schedule)
    target, generator = _target(x_T), torch.Generator().manual_seed(2)

    def objective(final: State) -> Tensor:
        return 0.5 * (chain.output(final) - target).flatten(1).square().sum(1)

    def draw() -> Tensor:
        return torch.randn(x_T.shape, generator=generator, dtype=torch.float64).to(x_T)

    noises = draw_noises(chain, draw)
    run = ChainRun(chain, model, chain.init(schedule.prior_std * x_T), cond=cond, noises=noises)
    return Workload(run, objective, rows)


def _analytic(name: str, sampler: Sampler, batch: int, dtype: torch.dtype) -> Workload:
    """The closed-form models on the linear table, in 64 dimensions; the mixture is guided (cfg_scale 3)."""
    schedule, dim = Linear(), 64
    x_T = _start((batch, dim), dtype, torch.device("cpu"))
    cond: Tensor | None = None
    model: EpsModel
    if name == "gaussian":
        variance = torch.arange(1, dim + 1, dtype=dtype) ** -2.0  # the spectrum of natural images
        model = Gaussian(schedule, torch.zeros(dim, dtype=dtype), variance)
    elif name == "mixture":
        means = torch.randn(8, dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)
        model = GaussianMixture(schedule, means, 0.25, cfg_scale=3.0)
        cond = torch.zeros(batch, 8, dtype=dtype)
        cond[:, 2:] = -float("inf")
    else:
        model = TanhNetwork(schedule, dim, width=256, dtype=dtype).requires_grad_(False)
    return _workload(sampler, schedule, model, 2 if name == "mixture" else 1, x_T, cond)


def loaded_workload(
    job: Job, batch: int, prepare: Callable[[DiffusionModel], None] | None = None
) -> Workload:
    """A model of conf/model under classifier-free guidance, prompts by number.

    Args:
        job: chooses model, sampler, guidance and device.
        batch: samples.
        prepare: changes the loaded model (memory format, compilation) before it is used.
    """
    model: DiffusionModel = job.build("model")
    wanted = job.config["device"]
    model.load(("cuda" if torch.cuda.is_available() else "cpu") if wanted == "auto" else wanted)
    if prepare is not None:
        prepare(model)
    guided = Guided(model, job.config["cfg_scale"])
    cond = model.condition([f"a photograph, number {i}" for i in range(batch)])
    precise = job.config["model"]["dtype"] == "float64"
    x_T = _start((batch, *model.sample_shape), torch.float64 if precise else torch.float32, model.device)
    rows = 1 if job.config["cfg_scale"] in (0, 1) else 2
    return _workload(job.build("sampler"), model.schedule, guided, rows, x_T, cond.to(x_T.dtype))


def _cells(row: Measured) -> list[str]:
    head = [row.name, "yes" if row.is_exact else "no", "-" if row.order is None else str(row.order)]
    if row.cost is None or row.units is None or row.seconds is None or row.peak_bytes is None:
        return [*head, *["refused"] * (len(COLUMNS) - 3)]
    assert row.cosine is not None and row.overhead is not None
    return [
        *head,
        str(row.cost.nfe_fwd),
        str(row.cost.nfe_bwd),
        f"{row.units:.1f}",
        f"{row.seconds:.3g}",
        f"{row.overhead:.2f}",
        f"{row.peak_bytes / 1e6:.3g}",
        f"{row.cosine:.4f}",
        f"{row.error:.1e}",
        f"{row.length:.3g}",
    ]


def _print(console: Console, title: str, measured: Sequence[Measured]) -> None:
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "strategy" else "right", no_wrap=True)
    for row in measured:
        table.add_row(*_cells(row))
    console.print(table)
    for reason in dict.fromkeys(row.refused for row in measured if row.refused):
        names = ", ".join(row.name for row in measured if row.refused == reason)
        console.print(f"{names}: {reason.removeprefix('gradient: ')}")
    console.print(
        "F: one forward of one sample's row; b: backward over forward; time/cost: seconds over cost x F; "
        "seconds on a CPU are processor seconds"
    )


def _write(path: Path, title: str, measured: Sequence[Measured], note: str) -> None:
    if not path.parent.is_dir():
        raise ConfigError(f"--out: the folder {path.parent} does not exist; create it")
    cells = [_cells(row) for row in measured]
    lines = [f"# Gradient strategies: {title}", "", "| " + " | ".join(COLUMNS) + " |"]
    lines.append("|---|" + "---:|" * (len(COLUMNS) - 1))
    lines += ["| " + " | ".join(row) + " |" for row in cells]
    lines += ["", note] if note else []
    path.with_name(path.name + ".md").write_text("\n".join(lines) + "\n")
    with path.with_name(path.name + ".csv").open("w", newline="") as file:
        csv.writer(file).writerows([["title", *COLUMNS], *([title, *row] for row in cells)])
