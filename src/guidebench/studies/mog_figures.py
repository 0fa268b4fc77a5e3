"""The figures of the mixture-of-Gaussians study, redrawn from its own data."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from guidebench.diffusion.random import generator
from guidebench.diffusion.schedules import EDM
from guidebench.methods.posterior.lgd_mc import LGDMC
from guidebench.studies.base import Findings
from guidebench.studies.mog import MixtureOfGaussians
from guidebench.studies.two_gaussians import MEANS, STD, estimated_gradient, exact_gradient, normal_of

_SHOWN = ("lgd_dps", "lgd_mc_1", "lgd_mc_10", "lgd_mc_100")
_REPEATS = 200
_LABELS = {"oracle": "exact", "lgd_dps": "LGD-DPS"}


def draw(study: MixtureOfGaussians, findings: Findings, folder: Path, stem: str) -> list[Path]:
    """Write every figure as `<stem>_<figure>.svg`; the bytes depend on the data alone."""
    figures = {
        "gradients": _gradients(study),
        "samples": _samples(study),
        "errors": _errors(study, findings),
    }
    paths = []
    with mpl.rc_context({"svg.hashsalt": stem, "svg.fonttype": "none"}):
        for name, figure in figures.items():
            path = folder / f"{stem}_{name}.svg"
            figure.savefig(path, metadata={"Date": None, "Creator": None})
            paths.append(path)
    return paths


def _gradients(study: MixtureOfGaussians) -> Figure:
    """Fig. 4: the gradient of log p(left | x_t) over x_t, exact and estimated: mean and central 80 % of estimates."""
    figure = Figure(figsize=(4.2 * len(study.sigmas), 3.4), layout="constrained")
    for axes, sigma in zip(_row(figure, len(study.sigmas)), study.sigmas, strict=True):
        schedule, spread = EDM(sigma_max=max(study.sigmas)), (1 + sigma**2) ** 0.5
        x_t = torch.linspace(-3 * spread, 3 * spread, 121, dtype=torch.float64)[:, None]
        normal = normal_of(generator(study.seed, "mog", f"figure {sigma}"), _REPEATS * len(x_t))
        for method in (m for m in _SHOWN if m in study.methods):
            found = estimated_gradient(
                study.methods[method], schedule, x_t.repeat(_REPEATS, 1), sigma, normal
            ).view(_REPEATS, -1)
            low, high = found.quantile(torch.tensor([0.1, 0.9], dtype=torch.float64), dim=0)
            (line,) = axes.plot(x_t[:, 0], found.mean(0), lw=1, label=_label(study, method))
            axes.fill_between(x_t[:, 0], low, high, color=line.get_color(), alpha=0.15, lw=0)
        exact = exact_gradient(schedule, x_t, sigma)[:, 0]
        axes.plot(x_t[:, 0], exact, "k--", lw=1.5, label=_LABELS["oracle"])
        # linear up to the size of the exact gradient: estimates can be a hundred times as large
        axes.set_yscale("symlog", linthresh=float(exact.abs().max()))
        axes.set(title=f"$\\sigma$ = {sigma:g}", xlabel="$x_t$", ylabel="$\\nabla\\, \\log p(y \\mid x_t)$")
    figure.axes[0].legend(fontsize="small")
    return figure


def _samples(study: MixtureOfGaussians) -> Figure:
    """Fig. 6: guided samples of all runs against the component that they should follow."""
    shown = ("oracle", *(m for m in _SHOWN if m in study.methods))
    figure = Figure(figsize=(2.4 * len(shown), 2.2 * len(study.schedules)), layout="constrained")
    grid = figure.subplots(len(study.schedules), len(shown), sharex=True, sharey="row", squeeze=False)
    levels = np.linspace(-3, 2, 300)
    target = np.exp(-0.5 * ((levels - MEANS[0]) / STD) ** 2) / (STD * np.sqrt(2 * np.pi))
    for line, schedule in zip(grid, study.schedules, strict=True):
        for axes, method in zip(line, shown, strict=True):
            axes.hist(
                study.samples(schedule, method).flatten().numpy(), bins=100, range=(-3, 2), density=True
            )
            axes.plot(levels, target, "k--", lw=1)
            axes.set(title=f"{_label(study, method)}, {schedule}", xlabel="$x_0$", yticks=[])
    return figure


def _errors(study: MixtureOfGaussians, findings: Findings) -> Figure:
    """Fig. 8: error of the gradient against n, and beside it the divergence of the samples."""
    draws = {m.n_mc: k for k, m in study.methods.items() if isinstance(m, LGDMC) and k == f"lgd_mc_{m.n_mc}"}
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    left, right = _row(figure, 2)
    errors = findings.records["gradient"].groupby("row").mean(numeric_only=True)
    for i, sigma in enumerate(study.sigmas):
        for column, style, name in (("error", "-o", "error"), ("bias", ":", "bias")):
            values = errors.loc[list(draws.values()), f"{column}_{sigma:g}"]
            left.plot(list(draws), values, style, color=f"C{i}", ms=3, label=f"{name}, $\\sigma$ = {sigma:g}")
        left.axhline(float(errors[f"error_{sigma:g}"]["lgd_dps"]), color=f"C{i}", ls="--", lw=1)
    left.set(title="gradient (dashed: LGD-DPS)", ylabel="relative root mean square")
    for i, schedule in enumerate(study.schedules):
        kl = findings.records[schedule].groupby("row")["kl"].mean()
        right.plot(list(draws), kl[list(draws.values())], "-o", color=f"C{i}", ms=3, label=schedule)
        right.axhline(kl["lgd_dps"], color=f"C{i}", ls="--", lw=1)
        right.axhline(kl["oracle"], color=f"C{i}", ls=":", lw=1)
    right.set(title="samples (dashed: LGD-DPS, dotted: exact)", ylabel="KL, truth first")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="n")
        axes.legend(fontsize="small")
    return figure


def _row(figure: Figure, n: int) -> list[Axes]:
    return list(figure.subplots(1, n, squeeze=False)[0])


def _label(study: MixtureOfGaussians, method: str) -> str:
    found = study.methods.get(method)
    return f"LGD-MC, n = {found.n_mc}" if isinstance(found, LGDMC) else _LABELS[method]
