"""The mixture of two Gaussians of LGD: guided samples and gradients, where the right answer is known."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from guidebench.diffusion.random import generator
from guidebench.diffusion.schedules import EDM, NoiseSchedule
from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.lgd_mc import LGDMC
from guidebench.samplers.base import Sampler, sample
from guidebench.studies.base import Findings, Study
from guidebench.studies.two_gaussians import (
    MEANS,
    STD,
    estimated_gradient,
    exact_gradient,
    gaussian_kl,
    left_only,
    mixture,
    normal_of,
    wrong_side,
)

CLAIMED_RATIO = 10
"""LGD, Fig. 6: the KL of LGD-DPS over that of LGD-MC."""


class MixtureOfGaussians(Study):
    r"""Guide the exact model of 0.5 N(-1, 0.2^2) + 0.5 N(1, 0.2^2) to its left component.

    The loss is -log p(left | x_0) = softplus(50 x_0), so guided samples should follow N(-1, 0.2^2). Each run draws
    `points` samples and compares the Gaussian fitted to them (n - 1 in the variance) with the left component:
    KL(N(-1, 0.2^2) || fit), the truth first, and the reverse. The same code guides here that guides networks. All
    methods of a schedule start from the same x_T, run by run.

    Args:
        schedules: the noise schedules by the name of their table.
        samplers: the sampler on each.
        methods: the methods by name, with score injection.
        runs: number of runs.
        runs_of: fewer runs for methods that cost more.
        points: samples per run.
        sigmas: noise levels at which gradients are compared with the exact one.
        gradient_draws: sets of points x_t ~ p_t for the gradients' errors.
        gradient_points: points of a set.
        gradient_repeats: estimates at each point, whose mean tells bias from spread.
        seed: of all random numbers.

    References: Song et al., "Loss-Guided Diffusion Models for Plug-and-Play Controllable Generation", ICML 2023,
    Sec. 4.2 and 6.1, App. A.4 and B.1, Fig. 4, 6 and 8.
    Differs from the paper: it names neither the schedule, nor n, nor the direction of the KL of Fig. 6; here are two
    schedules, n from 1 to 1000, and both directions.
    """

    paper = "LGD, Sec. 6.1"

    def __init__(
        self,
        schedules: Mapping[str, NoiseSchedule],
        samplers: Mapping[str, Sampler],
        methods: Mapping[str, Guidance],
        runs: int = 500,
        runs_of: Mapping[str, int] | None = None,
        points: int = 100,
        sigmas: Sequence[float] = (1.0, 80.0),
        gradient_draws: int = 12,
        gradient_points: int = 300,
        gradient_repeats: int = 40,
        seed: int = 0,
    ) -> None:
        self.schedules, self.samplers, self.methods = dict(schedules), dict(samplers), dict(methods)
        self.runs, self.runs_of, self.points = runs, dict(runs_of or {}), points
        self.sigmas, self.seed = tuple(sigmas), seed
        self.gradient_draws, self.gradient_points = gradient_draws, gradient_points
        self.gradient_repeats = gradient_repeats

    @property
    def setting(self) -> Mapping[str, str]:
        return {"model": "the exact mixture", "points per run": str(self.points), "seed": str(self.seed)}

    def run(self, progress: Callable[[str], None]) -> Findings:
        records = {}
        for name in self.schedules:
            frames = []
            for method in ("oracle", *self.methods):
                progress(f"samples, {name}, {method}")
                frames.append(_records(method, self.samples(name, method)))
            records[name] = pd.concat(frames, ignore_index=True)
        frames = []
        for method in self.methods:
            progress(f"gradients, {method}")
            frames.append(self._gradient_records(method))
        records["gradient"] = pd.concat(frames, ignore_index=True)
        return Findings(records, tuple(self._claims(records)))

    def samples(self, schedule_name: str, method: str) -> Tensor:
        """Guided samples, (runs, points), or those of the oracle, which samples the left component itself."""
        schedule, sampler = self.schedules[schedule_name], self.samplers[schedule_name]
        runs = min(self.runs, self.runs_of.get(method, self.runs))
        x_T = self._generator(f"x_T {schedule_name}")
        own = self._generator(f"{method} {schedule_name}")
        n, chain, model = runs * self.points, sampler.chain(schedule), mixture(schedule)
        noise = torch.randn(self.runs * self.points, 1, generator=x_T, dtype=torch.float64)[:n]
        state = chain.init(schedule.prior_std * noise)
        with torch.no_grad():
            if method == "oracle":
                state = sample(chain, model, state, cond=left_only(n))
            else:
                state, _ = self.methods[method].run(chain, model, state, wrong_side, normal_of(own, n))
        return chain.output(state).view(runs, self.points)

    def _gradient_records(self, method: str) -> pd.DataFrame:
        rows = []
        for draw in range(self.gradient_draws):
            row = {
                "row": method,
                "case_id": f"draw-{draw:02d}",
                "seed": 0,
                "status": "ok",
                "draw": f"{draw:02d}",
            }
            for sigma in self.sigmas:
                row |= self._errors(method, sigma, draw)
            rows.append(row)
        return pd.DataFrame(rows)

    def _errors(self, method: str, sigma: float, draw: int) -> dict[str, float]:
        """Error of the gradient at points of one draw, relative to the root mean square of the exact gradient."""
        schedule = EDM(sigma_max=max(self.sigmas))
        points = self._generator(f"points {sigma} {draw}")
        x_0 = mixture(schedule).sample(self.gradient_points, points)
        noise = torch.randn(x_0.shape, generator=points, dtype=torch.float64)
        x_t, repeats = x_0 + sigma * noise, self.gradient_repeats
        exact = exact_gradient(schedule, x_t, sigma)
        own = self._generator(f"gradient {method} {sigma} {draw}")
        found = estimated_gradient(
            self.methods[method], schedule, x_t.repeat(repeats, 1), sigma, normal_of(own, repeats * len(x_t))
        ).view(repeats, -1, 1)
        size = exact.square().mean()
        mean, spread = found.mean(0), found.var(0) / repeats
        bias = ((mean - exact).square() - spread).mean().clamp_min(0.0)
        return {
            f"error_{sigma:g}": float(((found - exact).square().mean() / size).sqrt()),
            f"bias_{sigma:g}": float((bias / size).sqrt()),
            f"size_{sigma:g}": float(found.abs().mean() / exact.abs().mean()),
        }

    def _claims(self, records: Mapping[str, pd.DataFrame]) -> list[str]:
        """The paper's claims with what was found."""
        draws = {
            m.n_mc: key
            for key, m in self.methods.items()
            if isinstance(m, LGDMC) and key == f"lgd_mc_{m.n_mc}"
        }
        return [
            *(self._claim_of_kl(name, records[name], draws) for name in self.schedules),
            self._claim_of_gradient(records["gradient"], draws),
        ]

    def _claim_of_kl(self, name: str, records: pd.DataFrame, draws: Mapping[int, str]) -> str:
        kl = records.pivot_table(index="run", columns="row", values="kl")
        ratios = [f"{kl['lgd_dps'].mean() / kl[key].mean():.1f} (n={n})" for n, key in draws.items()]
        reached: dict[str, list[str]] = {"reproduced": [], "undecided": [], "not reproduced": []}
        for n, key in draws.items():
            reached[_sign(kl["lgd_dps"] - CLAIMED_RATIO * kl[key])].append(str(n))
        verdicts = [f"{verdict} for n = {', '.join(ns)}" for verdict, ns in reached.items() if ns]
        return (
            f"Claim (Fig. 6; neither n nor schedule is given): the KL of LGD-MC is {CLAIMED_RATIO} times smaller than "
            f"that of LGD-DPS. Found on {name}, ratio of the mean KL, truth first: {', '.join(ratios)}. "
            f"Verdict: {'; '.join(verdicts)}."
        )

    def _claim_of_gradient(self, records: pd.DataFrame, draws: Mapping[int, str]) -> str:
        errors, found, falling = records.groupby("row").mean(numeric_only=True), [], True
        for sigma in self.sigmas:
            error = errors[f"error_{sigma:g}"]
            of_draws = [float(error[draws[n]]) for n in sorted(draws)]
            falling &= of_draws == sorted(of_draws, reverse=True) and of_draws[-1] < error["lgd_dps"]
            found.append(
                f"{error['lgd_dps']:.3g} (LGD-DPS) and {of_draws[-1]:.3g} (n={max(draws)}) at sigma = {sigma:g}"
            )
        return (
            "Claim (Fig. 4 and 8): with more draws the gradient of LGD-MC comes closer to the exact one, and closer "
            f"than that of LGD-DPS. Found, relative error: {'; '.join(found)}. Verdict: "
            f"{'reproduced' if falling else 'not reproduced'}; the bias that is left at large n is that of a Gaussian "
            "in place of p(x_0 | x_t)."
        )

    def draw(self, findings: Findings, folder: Path, stem: str) -> list[Path]:
        from guidebench.studies.mog_figures import draw  # matplotlib

        return draw(self, findings, folder, stem)

    def _generator(self, stream: str) -> torch.Generator:
        return generator(self.seed, "mog", stream)


def _sign(differences: "pd.Series[float]") -> str:
    """Whether paired differences (NaN where a side has no run) are above 0, by their 95 % t interval over runs."""
    values = differences.dropna()
    low, high = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    return "reproduced" if low > 0 else "not reproduced" if high < 0 else "undecided"


def _records(method: str, x: Tensor) -> pd.DataFrame:
    """One record per run of (runs, points): divergences between the Gaussian fitted to it and the left component."""
    mean, std = x.mean(1), x.std(1)
    run = [f"run-{i:04d}" for i in range(len(x))]
    return pd.DataFrame(
        {
            "row": method,
            "case_id": run,
            "seed": 0,
            "status": "ok",
            "run": run,
            "kl": gaussian_kl(MEANS[0], STD, mean, std).numpy(),
            "reverse_kl": gaussian_kl(mean, std, MEANS[0], STD).numpy(),
            "mean": mean.numpy(),
            "std": std.numpy(),
            "wrong_side": 100 * (x > 0).double().mean(1).numpy(),
        }
    )
