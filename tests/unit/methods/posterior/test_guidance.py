"""The methods of the family on exact models: what they have in common, and that TFG holds the others."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.analytic import GaussianMixture
from guidebench.diffusion.cost import Cost, CountedModel
from guidebench.diffusion.grids import Leading, Linspace
from guidebench.diffusion.schedules import EDM, NoiseSchedule, RectifiedFlow, ScaledLinear
from guidebench.errors import ConfigError
from guidebench.methods.base import Setup
from guidebench.methods.posterior.d_pnp import DPnP
from guidebench.methods.posterior.dps import DPS
from guidebench.methods.posterior.freedom import FreeDoM
from guidebench.methods.posterior.greedy import Greedy
from guidebench.methods.posterior.guidance import Guidance
from guidebench.methods.posterior.lgd_dps import LGDDPS
from guidebench.methods.posterior.lgd_mc import LGDMC
from guidebench.methods.posterior.mpgd import MPGD
from guidebench.methods.posterior.stage import Stage
from guidebench.methods.posterior.tfg import TFG
from guidebench.methods.posterior.universal_guidance import UniversalGuidance
from guidebench.samplers.base import Chain, Sampler, draw_noises, sample
from guidebench.samplers.ddim import DDIM
from guidebench.samplers.dpm_solver import Algorithm, DPMSolver
from guidebench.samplers.edict import EDICT
from guidebench.samplers.heun import Heun

MEANS = torch.tensor([[-1.0, 0.5], [1.0, 0.0], [0.2, -0.7]], dtype=torch.float64)
VP = ScaledLinear()
METHODS: list[Guidance] = [
    LGDDPS(),
    LGDMC(n_mc=3),
    LGDMC(n_mc=4, draws="stratified", spread="posterior", chunk=3),
    DPS(),
    FreeDoM(n_repeats=2),
    FreeDoM(rule="relative", n_repeats=1),
    MPGD(),
    MPGD(variant="official"),
    UniversalGuidance(n_backward=2, n_repeats=2),
    TFG(n_mc=2, n_iter=2, n_recur=2),
    TFG(rho_schedule="score", mu_schedule="decrease", gamma_schedule="constant"),
    Greedy(n_opt=3),
]
GRID = Linspace("clean")
SAMPLERS: list[Sampler] = [
    DDIM(4),
    DDIM(4, eta=1.0),
    DPMSolver(4),
    EDICT(4),
    Heun(4),
    Heun(4, s_churn=1.0, s_tmax=5.0),
]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(x: Tensor) -> Tensor:
    return 2 + x.sin().sum(-1) + 0.5 * (x[..., 0] - 0.3).square()


def numbers(b: int) -> Callable[[int], Tensor]:
    """Draws of rows 0 .. b-1 that do not depend on b."""
    generators = [torch.Generator().manual_seed(row) for row in range(b)]
    return lambda n: torch.stack(
        [torch.randn(n, 2, generator=g, dtype=torch.float64) for g in generators], dim=1
    )


def run(
    method: Guidance | None,
    chain: Chain,
    b: int = 3,
    model: Callable[..., Tensor] | None = None,
    rows: Sequence[int] | None = None,
) -> Tensor:
    model = model or GaussianMixture(chain.schedule, MEANS, 0.2)
    x_T = chain.schedule.prior_std * normal(b, 2)
    noises = draw_noises(chain, lambda: normal(b, 2, seed=11))
    draw = numbers(b)
    if rows is not None:
        x_T, noises = x_T[rows], tuple(n if n is None else n[rows] for n in noises)  # type: ignore[index]
        whole, draw = draw, lambda n: whole(n)[:, rows]
    with torch.no_grad():
        if method is None:
            return chain.output(sample(chain, model, chain.init(x_T), noises=noises))
        state, _ = method.run(chain, model, chain.init(x_T), loss, draw, noises=noises)
    return chain.output(state)


def name(value: object) -> str:
    return repr(value) if isinstance(value, Sampler) else f"{type(value).__name__}{vars(value)}"


@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
@pytest.mark.parametrize("method", METHODS, ids=name)
def test_guides_every_sampler_row_by_row_at_the_declared_cost(method: Guidance, sampler: Sampler) -> None:
    schedule: NoiseSchedule = VP
    chain = sampler.chain(schedule)
    together, plain = run(method, chain), run(None, chain)
    assert together.isfinite().all() and (together - plain).abs().amin() > 1e-9
    for row in range(3):
        torch.testing.assert_close(run(method, chain, rows=[row])[0], together[row], rtol=1e-9, atol=1e-11)
    mixture = GaussianMixture(schedule, MEANS, 0.2)

    class Counted(CountedModel):
        x0_variance = staticmethod(mixture.x0_variance)

    counted = Counted(mixture)
    assert torch.equal(run(method, chain, model=counted), together)
    evaluations = method._evaluations(chain)
    assert counted.cost == Cost(evaluations, evaluations if method.backpropagates else 0)


@pytest.mark.parametrize("sampler", [DDIM(8), DDIM(8, eta=1.0), DPMSolver(8), Heun(5)], ids=name)
@pytest.mark.parametrize(
    "method",
    [
        LGDDPS(),
        LGDMC(n_mc=30),
        FreeDoM(n_repeats=1),
        MPGD(0.2),
        UniversalGuidance(n_backward=1),
        TFG(rho=0.2, mu=0.1),
        Greedy(0.05, 20),
    ],
    ids=name,
)
def test_the_loss_goes_down(method: Guidance, sampler: Sampler) -> None:
    chain = sampler.chain(VP)
    assert loss(run(method, chain, 64)).mean() < loss(run(None, chain, 64)).mean() - 0.05


def test_heun_asks_71_times_in_36_steps_whatever_the_number_of_draws() -> None:
    schedule = EDM()
    chain = Heun(36).chain(schedule)
    for n_mc in (1, 100):
        counted = CountedModel(GaussianMixture(schedule, MEANS, 0.2))
        run(LGDMC(n_mc=n_mc), chain, 2, counted)
        assert counted.cost == Cost(71, 71)


def test_n_1_is_not_dps_but_no_spread_is(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = DDIM(6).chain(VP)
    assert not torch.allclose(run(LGDMC(n_mc=1), chain), run(LGDDPS(), chain))
    monkeypatch.setattr("guidebench.methods.posterior.stage.Stage.paper_spread", 0.0)
    for n_mc in (1, 5):
        torch.testing.assert_close(run(LGDMC(n_mc=n_mc), chain), run(LGDDPS(), chain), rtol=1e-12, atol=1e-12)


# -- TFG holds the others ------------------------------------------------------------------------------------------

EXACT = {"rtol": 1e-10, "atol": 1e-10}


def points(**changes: object) -> TFG:
    """TFG with everything off but what is named."""
    return TFG(**({"rho": 1.0, "mu": 0.0, "gamma": 0.0, "n_iter": 0} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=name)
def test_score_scheduled_it_is_lgd(sampler: Sampler) -> None:
    chain = sampler.chain(VP)
    torch.testing.assert_close(run(points(rho_schedule="score"), chain), run(LGDDPS(), chain), **EXACT)  # type: ignore[arg-type]
    tfg = points(rho_schedule="score", gamma=1.0, n_mc=5)
    torch.testing.assert_close(run(tfg, chain), run(LGDMC(n_mc=5), chain), **EXACT)  # type: ignore[arg-type]


def test_on_other_processes_too() -> None:
    chain = DDIM(6).chain(EDM(), (80.0, 10.0, 2.0, 0.3, 0.0))
    tfg = points(rho_schedule="score", gamma=1.0, n_mc=5)
    torch.testing.assert_close(run(tfg, chain), run(LGDMC(n_mc=5), chain), **EXACT)  # type: ignore[arg-type]


def test_decreasing_it_is_lgd_where_the_sampler_is_ancestral() -> None:
    for eta, equal in ((1.0, True), (0.0, False)):
        chain = DDIM(6, eta=eta).chain(VP)
        bars = [VP.alpha(t) ** 2 for t in chain.times]
        rho = sum(1 - t / u for t, u in pairwise(bars)) / (len(bars) - 1)
        tfg = points(rho=rho, rho_schedule="decrease", gamma=1.0, n_mc=5)
        found, expected = run(tfg, chain), run(LGDMC(n_mc=5), chain)
        assert torch.allclose(found, expected, **EXACT) == equal  # type: ignore[arg-type]


def test_mean_guidance_alone_is_mpgd() -> None:
    chain = DDIM(6).chain(VP)
    tfg = points(rho=0.0, mu=0.4, n_iter=1, mu_schedule="constant")
    torch.testing.assert_close(run(tfg, chain), run(MPGD(0.4), chain), **EXACT)  # type: ignore[arg-type]


ONE_STEP = (600.0, 300.0)


def test_with_recurrence_it_is_freedom() -> None:
    chain = DDIM(1).chain(VP, ONE_STEP)
    factor = VP.alpha(600) * VP.alpha(600) / VP.alpha(300)  # alpha_t sqrt(alpha)
    tfg = points(rho=0.7 * factor, n_recur=3)
    expected = run(FreeDoM(0.7, n_repeats=3, travel_from=1.0, travel_to=0.0), chain)
    torch.testing.assert_close(run(tfg, chain), expected, **EXACT)  # type: ignore[arg-type]
    assert not torch.allclose(expected, run(FreeDoM(0.7, n_repeats=1), chain))


@pytest.mark.parametrize("times", [(600.0, -1.0), ONE_STEP])
@pytest.mark.parametrize("m", [1, 3])
def test_with_both_it_is_universal_guidance(times: tuple[float, float], m: int) -> None:
    """Universal guidance moves x_u by alpha_u - c_2 alpha_t / sigma_t per unit of Delta instead of alpha_u."""
    t, u = times
    chain = DDIM(1).chain(VP, times)
    factor = (VP.alpha(u) - VP.sigma(u) * VP.alpha(t) / VP.sigma(t)) / VP.alpha(u)
    if factor != 1 and m > 1:
        pytest.skip(
            "the descents differ where the factor is not 1: TFG has it in every step, this method at the end"
        )
    tfg = points(rho_schedule="score", mu=0.3 * factor, n_iter=m, n_recur=2)
    method = UniversalGuidance(n_backward=m, backward_rate=0.3, n_repeats=2)
    torch.testing.assert_close(run(tfg, chain), run(method, chain), **EXACT)  # type: ignore[arg-type]


def test_with_the_root_of_the_loss_it_is_dps() -> None:
    chain = DDIM(1).chain(VP, ONE_STEP)
    model, x_T = GaussianMixture(VP, MEANS, 0.2), normal(1, 2)
    x0_hat = (x_T - VP.sigma(600) * model(x_T, 600.0)) / VP.alpha(600)
    rho = 0.3 * VP.alpha(600) / VP.alpha(300) / (2 * math.sqrt(float(loss(x0_hat))))
    torch.testing.assert_close(run(points(rho=rho), chain, 1), run(DPS(0.3), chain, 1), **EXACT)  # type: ignore[arg-type]


# -- in a whole set-up ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, DPnP(n_opt=3, n_augmentations=2)], ids=name)
def test_strength_0_is_unguided(setup: Setup, problems, method: Guidance) -> None:
    from guidebench.methods.none import Unguided

    method = type(method)(**{**vars(method), "scale": 0.0})
    plain = Unguided().generate(problems, setup)
    assert torch.equal(method.generate(problems, setup).latents, plain.latents)
    assert method.cost(setup) == Unguided().cost(setup)


def test_d_pnp_samples_its_end_from_the_point_itself_whatever_the_sampler(mixture, target) -> None:
    """At t = 200 and without noise, though this sampler would begin with more."""
    from guidebench.gradients.direct import Direct

    churned = Heun(18, s_churn=10.0, s_tmin=0.05, s_tmax=10.0, s_noise=1.003)
    setup = Setup(mixture, churned, target, Direct(), 1.0)
    end, x = DPnP()._tail(setup), normal(3, 3, 2, 2)
    asked, t = end.query(end.init(x), 0)
    torch.testing.assert_close(asked, x, rtol=1e-12, atol=0)
    assert t == 200 and end.needs_noise(0)
    assert list(end.times[1:]) == [at for at in setup.chain().times if at < 200]


def test_d_pnps_steps_are_adamaxs() -> None:
    grads, method = normal(5, 3, 2), DPnP(rate=0.3)
    x = normal(3, 2, seed=1).requires_grad_()
    state = {"x": x.detach().clone(), "mean": torch.zeros(3, 2), "peak": torch.zeros(3, 2)}
    optimizer = torch.optim.Adamax([x], lr=0.3)
    for n, grad in enumerate(grads, 1):
        x.grad = grad
        optimizer.step()
        method._adamax(state, grad, n)
        torch.testing.assert_close(state["x"], x.detach(), rtol=1e-12, atol=1e-12)


def test_d_pnp_finds_the_likeliest_point(mixture, target, problems) -> None:
    """Of one Gaussian, denoising pulls towards its mean; the loss, clipped, pulls a little towards the target."""
    from guidebench.gradients.direct import Direct

    setup = Setup(mixture, DDIM(n_steps=4), target, Direct(), 1.0)
    loss = target.bind(problems, setup.streams(problems))
    unguided = DPnP(scale=1e-9, n_opt=200, n_augmentations=1).generate(problems, setup)
    guided = DPnP(scale=1.0, n_opt=200, n_augmentations=1).generate(problems, setup)
    assert (loss(guided.samples) < loss(unguided.samples)).all()
    assert guided.spent == guided.cost == DPnP(n_opt=200).cost(setup)


@pytest.fixture
def setup(mixture, target) -> Setup:
    from guidebench.gradients.direct import Direct

    return Setup(mixture, DDIM(n_steps=4), target, Direct(), 3.0)


def test_draws_of_the_loss_are_those_of_one_at_a_time(setup: Setup, problems) -> None:
    from guidebench.methods.posterior.guidance import DecodedLoss

    draws = normal(5, 3, 3, 2, 2)
    bound = DecodedLoss(setup, problems, setup.streams(problems))
    expected = torch.stack([bound(x[None])[0] for x in draws])
    torch.testing.assert_close(bound(draws), expected, rtol=1e-12, atol=0)
    assert bound(draws).shape == (5, 3)


def test_a_loss_that_mixes_the_batch_is_refused(setup: Setup, problems) -> None:
    class Mean(type(setup.loss)):  # type: ignore[misc]
        def bind(self, problems, streams):
            objective = super().bind(problems, streams)
            return lambda images: objective(images).mean()

    with pytest.raises(ConfigError, match="one number per sample"):
        LGDDPS().generate(problems, dataclasses.replace(setup, loss=Mean()))


def test_a_loss_that_becomes_nan_fails_its_row_alone(setup: Setup, problems) -> None:
    bad = [dataclasses.replace(problems[0], case_id="bad"), *problems[1:]]
    generation = LGDMC(n_mc=2).generate(bad, setup)
    assert set(generation.failures) == {0}
    good = LGDMC(n_mc=2).generate(problems, setup)
    torch.testing.assert_close(generation.latents[1:], good.latents[1:], rtol=1e-5, atol=1e-5)


def test_the_history_has_loss_and_effective_draws(setup: Setup, problems) -> None:
    history = LGDMC(n_mc=4).generate(problems, setup).history
    assert history["loss"].shape == history["ess"].shape == (3, setup.chain().n_stages)
    assert (history["ess"] >= 1 - 1e-5).all() and (history["ess"] <= 4 + 1e-5).all()


def test_classifier_guidance_needs_a_loss_that_knows_noise(setup: Setup, problems) -> None:
    from guidebench.methods.posterior.classifier_guidance import ClassifierGuidance

    with pytest.raises(ConfigError, match="trained on noise"):
        ClassifierGuidance().generate(problems, setup)


def test_classifier_guidance_with_the_exact_classifier_samples_the_class(setup: Setup) -> None:
    """Bayes: score of the mixture plus the gradient of log p(component | x_t) is the component's score."""
    from guidebench.methods.posterior.classifier_guidance import ClassifierGuidance

    chain, model = DDIM(6).chain(VP), GaussianMixture(VP, MEANS, 0.2)

    def noisy(x_t: Tensor, t: float) -> Tensor:
        return -torch.log(model._posterior(x_t, t, 0.0)[:, 1])

    x_T = normal(4, 2)
    with torch.no_grad():
        state, _ = ClassifierGuidance(1.0).run(chain, model, chain.init(x_T), noisy, numbers(4))
        only = torch.tensor([-math.inf, 0.0, -math.inf], dtype=torch.float64).expand(4, 3)
        expected = sample(chain, model, chain.init(x_T), cond=only)
    torch.testing.assert_close(chain.output(state), chain.output(expected), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS, ids=name)
def test_a_step_that_moves_nothing_guides_nothing(method: Guidance) -> None:
    """EDICT's last step on Stable Diffusion's grid leads from the last time to itself."""
    plain, whole = (run(method, EDICT(4, skip_trivial_step=skip).chain(VP)) for skip in (True, False))
    assert whole.isfinite().all()
    if method.repeats(EDICT(4).chain(VP), 3) == 1:  # else the pair is mixed once more each time
        torch.testing.assert_close(whole, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "sampler",
    [DDIM(8, GRID), DDIM(8, GRID, eta=1.0), DPMSolver(8, GRID), EDICT(8, GRID), Heun(8, GRID)],
    ids=name,
)
@pytest.mark.parametrize("method", METHODS, ids=name)
def test_guides_a_chain_that_begins_in_pure_noise(method: Guidance, sampler: Sampler) -> None:
    """On a rectified flow, where x_T says nothing of the sample; as it does where it begins a little later."""
    flow, model = RectifiedFlow(), GaussianMixture(RectifiedFlow(), MEANS, 0.2)
    chain = sampler.chain(flow)
    guided, plain = run(method, chain, 64, model), run(None, chain, 64, model)
    assert guided.isfinite().all() and (guided - plain).abs().amax() > 1e-3
    # EDICT's mixing and Heun's corrector have no limit there, nor has the first step of these two methods.
    if isinstance(sampler, (DDIM, DPMSolver)) and not isinstance(method, (FreeDoM, DPS)):
        later = run(method, sampler.chain(flow, (1 - 1e-7, *chain.times[1:])), 64, model)
        gained = loss(plain).mean() - loss(later).mean()
        assert abs(loss(guided).mean() - loss(later).mean()) < 0.1 * abs(gained) + 0.05


# -- what the authors' codes do, written out -------------------------------------------------------------------------


def released(
    x_t: Tensor, t: float, u: float, model: Callable[..., Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_t with its graph, the noise, the estimate of x_0, and the next state of DDIM."""
    x_t = x_t.clone().requires_grad_()
    eps = model(x_t, t)
    x0_hat = (x_t - VP.sigma(t) * eps) / VP.alpha(t)
    return x_t, eps, x0_hat, VP.alpha(u) * x0_hat + VP.sigma(u) * eps


def test_freedoms_relative_rule_is_that_of_its_code() -> None:
    """rho = 0.02 rms(eps) sqrt(1 - at) / sqrt(at) c1 / rms(grad), c1 = sqrt(at_next) (1 - at / at_next) / (1 - at)."""
    model, x = GaussianMixture(VP, MEANS, 0.2), normal(1, 2)
    chain = DDIM(20).chain(VP)
    expected = x
    for t, u in pairwise(chain.times):
        leaf, eps, x0_hat, x_u = released(expected, t, u, model)
        (grad,) = torch.autograd.grad(loss(x0_hat).sum(), leaf)
        at, at_next = (VP.alphas_cumprod[int(s)] for s in (t, u))
        c1 = at_next**0.5 * (1 - at / at_next) / (1 - at)
        rho = 0.02 * eps.square().mean().sqrt() * ((1 - at) / at) ** 0.5 * c1 / grad.square().mean().sqrt()
        expected = (x_u - rho * grad).detach()
    found = run(FreeDoM(0.02, rule="relative", n_repeats=1), chain, 1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_freedom_travels_where_its_code_does() -> None:
    chain = DDIM(100, Leading(final="clean")).chain(VP)
    travelled = [chain.times[step] for step in range(100) if FreeDoM().repeats(chain, step) > 1]
    assert travelled == [t for t in chain.times[:100] if 800 >= t >= 500]


def test_mpgd_official_moves_the_next_state_by_the_gradient_at_the_estimate() -> None:
    """x0' = x0_hat - c / sqrt(alpha_bar of the next time) grad, where the code's `at` is that of the next time."""
    model, x = GaussianMixture(VP, MEANS, 0.2), normal(3, 2)
    chain = DDIM(10).chain(VP)
    for t, u in pairwise(chain.times):
        _, eps, x0_hat, _ = released(x, t, u, model)
        leaf = x0_hat.detach().requires_grad_()
        (grad,) = torch.autograd.grad(loss(leaf).sum(), leaf)
        x0_hat = x0_hat - 0.3 / VP.alpha(u) * grad
        x = (VP.alpha(u) * x0_hat + VP.sigma(u) * eps).detach()
    torch.testing.assert_close(run(MPGD(0.3, "official"), chain), x, rtol=1e-12, atol=1e-12)


# -- time travel -----------------------------------------------------------------------------------------------------


class Travelling(Guidance):
    """Nothing but time travel: each step `n` times."""

    backpropagates = False

    def __init__(self, n: int) -> None:
        self.n = n

    def repeats(self, chain: Chain, step: int) -> int:
        return self.n

    def guide(self, stage: Stage) -> Tensor:
        stage.logged["loss"] = stage.eps.new_zeros(len(stage.eps))
        return stage.eps


@pytest.mark.parametrize("algorithm", ["dpmsolver++", "dpmsolver"])
def test_after_time_travel_a_multistep_sampler_begins_anew(algorithm: Algorithm) -> None:
    """Each repetition is a chain of its own, begun at that step: what came before belongs to another path."""
    chain, model = DPMSolver(20, algorithm=algorithm).chain(VP), GaussianMixture(VP, MEANS, 0.2)
    draw, state = numbers(5), chain.init(normal(5, 2))
    for step, (t, u) in enumerate(pairwise(chain.times)):
        state = chain.update(state, model(state[0], t), step)
        for _ in range(2):
            r = VP.alpha(t) / VP.alpha(u)
            back = r * state[0] + math.sqrt(VP.sigma(t) ** 2 - (r * VP.sigma(u)) ** 2) * draw(1)[0]
            alone = DPMSolver(2, algorithm=algorithm).chain(VP, chain.times[step:])
            state = alone.update(alone.init(back), model(back, t), 0)
    torch.testing.assert_close(run(Travelling(3), chain, 5), chain.output(state), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sampler", [DPMSolver(20), DDIM(20), Heun(20)], ids=name)
def test_time_travel_brings_samples_nearer_to_the_data(sampler: Sampler) -> None:
    chain, model = sampler.chain(VP), GaussianMixture(VP, MEANS, 1e-4)
    distances = [
        torch.cdist(run(Travelling(n), chain, 400, model), MEANS).amin(1).square().mean() for n in (1, 4, 10)
    ]
    assert max(distances[1:]) <= 1.05 * distances[0] < 0.1, distances
