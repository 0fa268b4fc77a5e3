"""The identities of score distillation, on fields whose denoiser is known; numbers are those of closed forms."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from guidebench.artefacts.corrective import normalised
from guidebench.diffusion.random import METHOD, RandomStreams
from guidebench.diffusion.schedules import Cosine, ScaledLinear
from guidebench.methods.base import Setup
from guidebench.methods.distillation.base import Distillation
from guidebench.methods.distillation.canvas import Latents, Pixels, View
from guidebench.methods.distillation.dds import DDS
from guidebench.methods.distillation.descent import Descent
from guidebench.methods.distillation.lmc_sds import LMCSDS
from guidebench.methods.distillation.look import Look, Network
from guidebench.methods.distillation.ms_sds import MSSDS
from guidebench.methods.distillation.nfsd import NFSD
from guidebench.methods.distillation.sds import CSD, SDS, ConditionOnly, SDSBridge
from guidebench.problems import Picture, Problem
from random_fields import SIDE, Fields


@dataclass(frozen=True)
class Sourced(Problem):
    prompt: str
    source_prompt: str
    source: Picture


def problems(n: int = 8, source_prompt: str = "b") -> list[Sourced]:
    def load() -> np.ndarray:
        return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)

    return [Sourced(f"case-{i}", 0, "a", source_prompt, Picture("noise", load)) for i in range(n)]


class Blur:
    """Stands for the learned corrective."""

    def __init__(self, b: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.b = b

    def predictor(self, weights: Any, model: Any) -> Callable[[Tensor, Tensor], Tensor]:
        return self.b

    def clipped(self, x0: Tensor) -> Tensor:
        return x0


def made(cls: type[Distillation], init: str = "grey", **settings: Any) -> Distillation:
    shared = {"canvas": Latents(init), "descent": Descent(0.03), "n_steps": 300}
    return cls(**(shared | settings))


def look(model: Fields, t: float | Tensor, w: float = 8.0, n: int = 8, **replaced: Any) -> Look:
    """At samples of the field."""
    some, network, z = problems(n), Network(model, n), model.draw(n).to(model.spectrum.dtype)
    generator = torch.Generator().manual_seed(1)
    eps = torch.randn(z.shape, generator=generator, dtype=z.dtype)
    times = torch.as_tensor(t, dtype=torch.float64).expand(n)
    alpha_t, sigma_t = network.coefficients(times, z)
    z_t = alpha_t * z + sigma_t * eps
    cond = network.condition([""] * n + ["a"] * n)
    eps_u, eps_c = network(torch.cat([z_t, z_t]), times.repeat(2), cond).chunk(2)
    found: dict[str, Any] = dict(
        z=z, eps=eps, z_t=z_t, eps_u=eps_u, eps_c=eps_c, t=times, alpha_t=alpha_t, sigma_t=sigma_t, cfg_scale=w,
        step=0, problems=some, words=[""] * n, source=z, cond=cond, network=network,
        normal=lambda stream: torch.randn(z.shape, generator=generator, dtype=z.dtype),
    )  # fmt: skip
    return Look(**(found | replaced))


@pytest.mark.parametrize("t", [20.0, 200.0, 500.0, 980.0])
def test_decomposition(t: float) -> None:
    seen = look(Fields(), t)
    g = made(SDS).gradient(seen)
    torch.testing.assert_close(g, seen.g_cond + seen.g_proj, atol=1e-5, rtol=0)
    restored = seen.alpha_t / seen.sigma_t * (seen.z - seen.x0_u)
    assert (seen.g_proj - restored).norm() <= 1e-4 * seen.g_proj.norm()
    w1 = look(Fields(), t, w=1.0)
    torch.testing.assert_close(w1.eps_w, w1.eps_c, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(look(Fields(), t, w=0.0).eps_w, seen.eps_u)


def test_schedules_have_the_published_values() -> None:
    for schedule, table in (
        (Cosine(), {20: 0.998, 200: 0.898, 500: 0.492, 800: 0.093, 980: 0.00088}),
        (ScaledLinear(1000, 0.00085, 0.012), {20: 0.981, 200: 0.754, 500: 0.276, 800: 0.037, 980: 0.0058}),
    ):
        for t, alpha_bar in table.items():
            assert schedule.alpha(t) ** 2 == pytest.approx(alpha_bar, rel=0.02, abs=5e-4)


def test_a_perfect_corrective_leaves_the_condition_alone() -> None:
    seen = look(Fields(), 500.0)
    method = made(LMCSDS, corrective=Blur(lambda z, t: seen.x0_u))
    method.begin(Setup(Fields(), artefact={"corrective": {}}))
    torch.testing.assert_close(method.gradient(seen), seen.g_cond, atol=1e-5, rtol=0)


@pytest.mark.parametrize("axes", [(1, 2, 3), (2, 3)])
def test_normalisation(axes: tuple[int, ...]) -> None:
    b, x0 = torch.randn(2, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    b_n = normalised(b, x0, axes)
    torch.testing.assert_close(b_n.std(axes), x0.std(axes), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(b_n.mean(axes), b.mean(axes), rtol=1e-5, atol=1e-5)
    mean = b.mean(axes, keepdim=True)
    torch.testing.assert_close(normalised(3 * (b - mean) + mean, x0, axes), b_n, rtol=1e-4, atol=1e-5)
    order = torch.tensor([3, 1, 4, 0, 2])
    assert torch.equal(normalised(b[order], x0[order], axes), b_n[order])
    assert normalised(torch.ones_like(b), x0, axes).isfinite().all()


def test_the_exact_corrective_of_a_gaussian_has_mean_zero_where_the_projection_has_not() -> None:
    model, n = Fields(amplitude=0.0), 2000
    z = model.draw(1)
    seen = look(model, 500.0, n=n, z=None)
    z_t = seen.alpha_t * z + seen.sigma_t * seen.eps
    eps_u = model.eps(z_t, 500.0, model.condition([""]))
    x0 = (z_t - seen.sigma_t * eps_u) / seen.alpha_t
    raw = model.blur(z, 500.0) - x0
    score = raw.mean(0) / (raw.std(0) / n**0.5)
    assert score.square().mean().sqrt() <= 2
    biased = z - x0
    assert (biased.mean(0) / (biased.std(0) / n**0.5)).square().mean().sqrt() > 5


def test_the_one_step_estimate_loses_the_spectrum_that_theory_says() -> None:
    model, n = Fields(amplitude=0.0), 512
    for t in (200.0, 600.0):
        seen = look(model, t, n=n)
        power = torch.fft.fft2(seen.x0_u).abs().square().mean((0, 1)) / SIDE**2
        a2 = float(seen.alpha_t[0]) ** 2
        gain = a2 * model.spectrum / (a2 * model.spectrum + 1 - a2)
        f = torch.fft.fftfreq(SIDE, 1 / SIDE)
        radius = (f[:, None].square() + f[None].square()).sqrt().round()
        for r in (1, 3, 8, 14):
            there = radius == r
            assert power[there].sum() == pytest.approx(float((gain * model.spectrum)[there].sum()), rel=0.1)


def test_dds_cancels_at_the_source() -> None:
    seen = look(Fields(), 400.0, w=7.5)
    same = Look(**{**vars(seen), "problems": problems(source_prompt="a")})
    method = made(DDS, init="source")
    torch.testing.assert_close(method.gradient(same), torch.zeros_like(seen.z), atol=1e-5, rtol=0)
    eps_b = seen.ask(seen.z_t, ["b"] * 8)
    torch.testing.assert_close(method.gradient(seen), 7.5 * (seen.eps_c - eps_b), atol=1e-4, rtol=0)


def test_nfsd_branches_by_the_time_of_each_row() -> None:
    times = torch.tensor([199.0, 200.0] * 4)
    seen = look(Fields(), times)
    g = made(NFSD, negative_prompt="").gradient(seen)
    assert torch.equal(g[1::2], (seen.eps_u - seen.eps_u + seen.g_cond)[1::2])
    assert torch.equal(g[::2], (seen.eps_u + seen.g_cond)[::2])


def test_other_methods_without_the_projection() -> None:
    seen = look(Fields(), 300.0)
    assert torch.equal(made(ConditionOnly).gradient(seen), seen.g_cond)
    torch.testing.assert_close(made(CSD).gradient(seen), seen.g_cond)  # the null prompt as the negative one
    away = made(CSD, negative_prompt="b", negative_weight=2.0).gradient(seen)
    torch.testing.assert_close(away, seen.g_cond + 2 * (seen.eps_u - seen.ask(seen.z_t, ["b"] * 8)))
    assert made(SDSBridge, suffix=", blurry").null_prompts(["a"]) == ["a, blurry"]


def test_several_steps_end_at_the_exact_one() -> None:
    model = Fields(amplitude=0.0, dtype=torch.float64)
    seen = look(model, 700.0, w=1.0)
    one = made(MSSDS, k=1).gradient(seen)
    torch.testing.assert_close(one, made(SDS).gradient(seen), rtol=1e-10, atol=1e-10)
    ends = {
        k: seen.z - seen.sigma_t / seen.alpha_t * made(MSSDS, k=k).gradient(seen) for k in (1, 5, 20, 700)
    }
    errors = [float((ends[k] - ends[700]).norm() / ends[700].norm()) for k in (1, 5, 20)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.2
    fine = torch.fft.fft2(ends[20]).abs()[:, :, 11:21, 11:21].square().mean()
    assert fine > 5 * torch.fft.fft2(ends[1]).abs()[:, :, 11:21, 11:21].square().mean()


def test_times_reach_both_ends() -> None:
    method, schedule = made(SDS), Cosine()
    draws = [method.time(schedule, torch.Generator().manual_seed(i)) for i in range(20_000)]
    assert min(draws) == 20 and max(draws) == 980
    assert np.mean(draws) == pytest.approx(500, abs=3 * 278 / 20_000**0.5)


def test_weights() -> None:
    seen = look(Fields(), torch.tensor([20.0, 500.0] * 4))
    alphas = torch.tensor(Cosine().alphas_cumprod[[20, 500] * 4]).view(-1, 1, 1, 1).float()
    torch.testing.assert_close(made(SDS, weighting="sigma2").weight(seen), 1 - alphas)
    assert torch.equal(made(SDS).weight(seen), torch.ones(8, 1, 1, 1))
    torch.testing.assert_close(made(SDS, jacobian="alpha").weight(seen), alphas.sqrt())


@pytest.mark.parametrize(
    ("descent", "values"),
    [
        (Descent(0.1, 0.03, 150, 300), {0: 0.1, 150: 0.1, 300: 0.0515, 450: 0.003, 499: 0.003}),
        (Descent(0.02, 0.8, 0, 500), {0: 0.02, 250: 0.018, 500: 0.016}),
    ],
)
def test_rates(descent: Descent, values: dict[int, float]) -> None:
    for step, rate in values.items():
        assert descent.rate(step) == pytest.approx(rate, abs=1e-6)


def test_patches() -> None:
    canvas, model, some = Pixels(size=48, whole_steps=1, n_patches=3), Fields(), problems(2)
    parameters, streams = canvas.begin(some, model), RandomStreams(some)
    assert len(canvas.render(parameters, 0, streams, model).z) == 2
    streams.begin(1)
    view = canvas.render(parameters, 1, streams, model)
    assert view.z.shape == (6, 1, SIDE, SIDE)
    boxes = canvas.boxes(2, streams, 48)
    streams.begin(1)
    boxes = canvas.boxes(1, streams, 48)
    assert all(SIDE <= side <= 48 and 0 <= top <= 48 - side >= left >= 0 for top, left, side in boxes)
    view.z.sum().backward()
    for i in range(2):
        seen = torch.zeros(48, 48, dtype=torch.bool)
        for top, left, side in boxes[i::2]:
            seen[top : top + side, left : left + side] = True
        assert torch.equal(parameters["pixels"].grad[i].abs().sum(0) > 0, seen)


def run(method: Distillation, w: float) -> tuple[Tensor, Any]:
    made = method.generate(problems(), Setup(Fields(), cfg_scale=w, artefact={"corrective": {}}))
    return made.latents, made


def test_noise_is_fresh_or_kept_and_the_surrogate_is_exact() -> None:
    seen: list[Look] = []

    class Watched(SDS):
        def gradient(self, look: Look) -> Tensor:
            seen.append(look)
            return super().gradient(look)

    run(made(Watched, n_steps=2, descent=Descent(0.0)), 8.0)
    assert torch.corrcoef(torch.stack([s.eps.flatten() for s in seen]))[0, 1].abs() < 0.05
    run(made(Watched, n_steps=2, fixed_eps=True, descent=Descent(0.0)), 8.0)
    assert torch.equal(seen[2].eps, seen[3].eps)
    fresh = RandomStreams(problems())
    fresh.begin(0)
    assert torch.equal(seen[0].eps, fresh.normal((1, SIDE, SIDE), METHOD))

    class Watcher(Latents):
        def render(self, parameters: Any, *others: Any) -> View:
            self.last = parameters["z"]
            return super().render(parameters, *others)

    canvas = Watcher()
    run(made(Watched, n_steps=1, divide=False, canvas=canvas), 8.0)
    assert torch.equal(canvas.last.grad, seen[-1].eps_w - seen[-1].eps)


def test_a_sample_that_becomes_nan_fails_with_its_step() -> None:
    class Breaks(SDS):
        def gradient(self, look: Look) -> Tensor:
            g = super().gradient(look)
            g[2] = g[2] / 0 if look.step == 1 else g[2]
            return g

    _, made_ = run(made(Breaks, n_steps=3), 8.0)
    assert list(made_.failures) == [2]
    assert "step 1" in str(made_.failures[2])


def test_the_papers_three_claims_on_two_classes() -> None:
    """SDS blurs, the condition alone overshoots into noise, LMC keeps the natural power and follows the prompt."""
    model = Fields()
    natural = model.draw(64, label=0)

    def fine(x: Tensor) -> Tensor:
        return torch.fft.fft2(x).abs()[:, :, 11:22, 11:22].square().mean()

    def towards(x: Tensor, label: int) -> float:
        mean = model.means[label].flatten()
        return float(torch.cosine_similarity(x.flatten(1), mean[None]).mean())

    def b(z: Tensor, t: Tensor) -> Tensor:
        return model.blur(z, float(t[0]))

    sds, _ = run(made(SDS), 8.0)
    alone, _ = run(made(ConditionOnly), 8.0)
    few = [run(made(ConditionOnly, n_steps=20), w)[0] for w in (1.0, 8.0)]
    lmc, kept = run(made(LMCSDS, corrective=Blur(b)), 8.0)
    assert fine(sds) < 0.2 * fine(natural)
    assert alone.std() > 2 * sds.std()
    assert 0.4 < fine(lmc) / fine(natural) < 2.5
    assert towards(lmc, 0) > 0.4 and abs(towards(lmc, 1)) < 0.5 * abs(towards(alone, 1))
    torch.testing.assert_close(*few, atol=1e-4, rtol=1e-4)  # w is a no-op there
    assert kept.history.keys() == {"gradient", "g_cond", "g_proj", "g_lmc", "cosine", "sigma_ratio"}
