"""Benchmark the exact gradient strategies on one model: seconds and memory against what their counts promise.

    python scripts/benchmark_gradients.py model=embedded n_steps=10 --batch 1 4
    python scripts/benchmark_gradients.py suite=random model=sd14 model.dtype=bfloat16 n_steps=50 --batch 1 4 \
        --channels-last --compile        # on a GPU

Writes results/benchmarks/gradients_NAME.md. All ratios are taken within one run, against a forward F and a backward
b F timed just before: with C evaluations in the chain, checkpointed should take C (2 + b) F, and C (1 + b) F where it
keeps all graphs.
"""

import argparse
import platform
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from guidebench.gradients.base import ChainRun, GradientStrategy
from guidebench.gradients.checkpointed import Checkpointed
from guidebench.gradients.compare import Workload, measure, unit_of
from guidebench.gradients.direct import Direct
from guidebench.gradients.reversible import Reversible
from guidebench.measuring import peak_memory
from guidebench.models.base import DiffusionModel
from guidebench.runner.compose import compose_config, merge
from guidebench.runner.gradients import loaded_workload
from guidebench.runner.job import Job
from guidebench.samplers.base import ReversibleChain


def main() -> None:
    """Run the benchmark and write its page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="Hydra overrides, as for `guidebench run`"
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--name", default="cpu", help="of the page")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    arguments = parser.parse_args()

    def prepare(model: DiffusionModel) -> None:
        unet = model.modules.get("unet")
        if unet is not None and arguments.channels_last:
            unet.to(memory_format=torch.channels_last)
        if unet is not None and arguments.compile:
            unet.compile()

    job = Job.from_config(compose_config(merge(["model=embedded"], arguments.overrides)))
    lines = [
        f"# Exact gradients: {' '.join(arguments.overrides) or 'model=embedded'}",
        "",
        f"torch {torch.__version__}, {_device(job)}, {torch.get_num_threads()} thread(s), {platform.machine()}; "
        "seconds are processor seconds on a CPU.",
        "",
    ]
    for batch in arguments.batch:
        workload = loaded_workload(job, batch, prepare)
        lines += _strategies(workload, batch, arguments.repeats)
    lines += _memory(job) + _bookkeeping(workload)
    text = "\n".join(lines) + "\n"
    print(text)
    (arguments.out / f"gradients_{arguments.name}.md").write_text(text)


def _device(job: Job) -> str:
    cuda = torch.cuda.is_available() and job.config["device"] != "cpu"
    return torch.cuda.get_device_name() if cuda else "CPU"


def _strategies(workload: Workload, batch: int, repeats: int) -> list[str]:
    """Seconds over the promise of the counts, and peak memory."""
    unit, chain = unit_of(workload), workload.run.chain
    half, every = chain.n_stages // 2, chain.n_stages
    strategies: list[tuple[str, GradientStrategy]] = [
        ("direct", Direct()),
        ("checkpointed, k = 0", Checkpointed(0)),
        (f"checkpointed, k = {half}", Checkpointed(half)),
        (f"checkpointed, k = {every} (all)", Checkpointed(every)),
    ]
    if isinstance(chain, ReversibleChain):
        strategies.append(("reversible", Reversible()))
    truth = workload.x_T_grad(Checkpointed()).double()
    lines = [
        f"## Batch {batch}: C = {every * workload.rows} network evaluations per sample in the chain, "
        f"F = {1e3 * unit.forward:.1f} ms, b = {unit.backward_ratio:.2f}",
        "",
        "| strategy | forwards | backwards | promise [F] | seconds | seconds / promise | peak [MB] |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, strategy in strategies:
        row = measure(name, strategy, workload, truth, unit, repeats=repeats)
        assert row.cost and row.units and row.seconds and row.overhead and row.peak_bytes
        lines.append(
            f"| {name} | {row.cost.nfe_fwd} | {row.cost.nfe_bwd} | {row.units:.0f} | {row.seconds:.3g} "
            f"| {row.overhead:.2f} | {row.peak_bytes / 1e6:.1f} |"
        )
    return [*lines, ""]


def _memory(job: Job) -> list[str]:
    """Peak memory beside the stored latents' own size, as N doubles."""
    lines = [
        "## Peak memory as N grows (batch 1)",
        "",
        "| N | stages | checkpointed [MB] | stored latents [MB] | reversible [MB] |",
        "|---:|---:|---:|---:|---:|",
    ]
    base = loaded_workload(job, 1)
    sampler = job.build("sampler")
    for n_steps in (4, 8, 20):
        made = type(sampler)(**(vars(sampler) | {"n_steps": n_steps}))
        chain = made.chain(base.run.chain.schedule)
        run = replace(base.run, chain=chain, state=chain.init(base.run.state[0]))
        made_longer = replace(base, run=run)

        def peak(strategy: GradientStrategy, workload: Workload = made_longer) -> float:
            return peak_memory(lambda: workload.x_T_grad(strategy), workload.run.state[0].device) / 1e6

        stored = _stored_bytes(run) / 1e6
        reversible = f"{peak(Reversible()):.3f}" if isinstance(chain, ReversibleChain) else "-"
        lines.append(
            f"| {n_steps} | {chain.n_stages} | {peak(Checkpointed()):.3f} | {stored:.3f} | {reversible} |"
        )
    return [*lines, ""]


def _stored_bytes(run: ChainRun) -> int:
    """Bytes of the distinct tensors among the states before every stage."""
    distinct: dict[int, torch.Tensor] = {}
    state = run.state
    for k in range(run.chain.n_stages):
        distinct |= {id(s): s for s in state}
        state = run.chain.update(state, torch.zeros_like(state[0]), k)
    return sum(s.nbytes for s in distinct.values())


def _bookkeeping(workload: Workload, repeats: int = 20) -> list[str]:
    """What a stage costs besides the network: the same sweep with a prediction of zero."""
    unit, n = unit_of(workload), workload.run.chain.n_stages
    idle = replace(workload, run=replace(workload.run, eps_model=lambda x, t, cond: 0.0 * x))
    seconds: list[float] = []
    for _ in range(repeats):
        start = time.process_time()
        idle.x_T_grad(Checkpointed())
        seconds.append((time.process_time() - start) / n)
    stage = workload.rows * unit.forward * (2 + unit.backward_ratio)
    return [
        "## Coefficients, bookkeeping and hooks",
        "",
        f"{1e3 * median(seconds):.3f} ms per stage of a checkpointed gradient, "
        f"{100 * median(seconds) / stage:.2f} % of the {1e3 * stage:.1f} ms that the network takes.",
    ]


if __name__ == "__main__":
    main()
