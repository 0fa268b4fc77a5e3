"""FK steering: particles of each problem, resampled on the way by what the loss says of their estimates."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import METHOD, RandomStreams
from guidebench.errors import ConfigError
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.guidance import DecodedLoss
from guidebench.methods.posterior.stage import Stage
from guidebench.problems import Problem
from guidebench.samplers.affine import AffineChain
from guidebench.samplers.base import Chain, noise_at


class FKSteering(Method):
    r"""A particle filter for p(x_0) exp(-scale l(x_0)): K particles per problem, weighed while they are denoised.

        log w += r(x_t) - r(x_s),   r(x_t) = -scale l(x0_hat(x_t)),   x_s what was weighed before; r = 0 at first

    and at the end r(x_0) takes the estimate's place, so that the increments add up to -scale l(x_0). Where the
    effective number of particles, (sum w)^2 / sum w^2, falls below a share of K, they are drawn anew by their weights
    (systematically) and weigh the same again. The loss need not be differentiable. On a sampler without noise,
    particles that were drawn twice stay the same.

    Cost: K samples, and K losses for every stage that is weighed and for the end.

    Args:
        n_particles: K.
        scale: inverse temperature of the target; 0 is unguided sampling itself.
        every: stages from one weighing to the next.
        resample_below: share of K; 1 resamples whenever weights differ, 0 never.
        chosen: which particle is the sample: "best", of the lowest loss, as in the paper, or "draw", one drawn by its
            weight, which follows the target as K grows.

    References: Singhal et al., "A General Framework for Inference-time Scaling and Steering of Diffusion Models", ICML
    2025, Algorithm 1, the potential "difference"; Kitagawa 1996 (systematic resampling).
    """

    paper = "FK steering (Singhal et al. 2025)"
    backpropagates: ClassVar[bool] = False

    def __init__(
        self,
        n_particles: int = 4,
        scale: float = 1.0,
        every: int = 1,
        resample_below: float = 0.5,
        chosen: Literal["best", "draw"] = "best",
    ) -> None:
        if n_particles < 1 or every < 1:
            raise ConfigError(
                f"method: got n_particles={n_particles} and every={every}; allowed are counts from 1"
            )
        if chosen not in ("best", "draw"):
            raise ConfigError(f"method.chosen: got {chosen!r}; allowed are 'best' and 'draw'")
        self.n_particles, self.scale, self.every = n_particles, scale, every
        self.resample_below, self.chosen = resample_below, chosen

    def look(self, stage: Stage) -> tuple[Tensor, Tensor]:
        """r(x_t), (rows,), and the prediction that the particles step with, (rows, ...)."""
        return -self.scale * stage.loss(stage.x0_hat[None])[0], stage.eps

    def correction(self, chain: Chain, k: int, change: Tensor, noise: Tensor | None) -> Tensor | float:
        """What stepping with a prediction changed by `change` adds to log w, (rows,)."""
        return 0.0

    @torch.no_grad()
    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self.scale == 0:
            return Unguided().generate(problems, setup)
        chain, guided, streams = setup.chain(), setup.guided(), setup.streams(problems)
        crowd, copies = [*problems] * self.n_particles, streams.copied(self.n_particles)
        cond, noises = setup.condition(crowd), setup.noises(chain, copies)
        of_draws = DecodedLoss(setup, problems, streams)

        def loss(x0: Tensor) -> Tensor:  # (1, K b, ...) -> (1, K b)
            return of_draws(x0[0].unflatten(0, (self.n_particles, -1))).flatten()[None]

        state = torch.stack(chain.init(setup.x_T(copies)))
        flat, curve = state.new_zeros(len(crowd)), state.new_zeros(len(problems), self._weighings(chain))
        kept = {"state": state, "log_w": flat, "r": flat, "loss": curve, "ess": curve.clone()}
        for k in setup.progress.steps(chain.n_stages, kept):
            streams.begin(k)
            x_t, t = chain.query(tuple(kept["state"]), k)
            twisted = self.backpropagates and moves(chain, k)
            stage = Stage(chain, k, x_t, t, guided, cond, loss, no_draws, twisted)
            proposal, rows = stage.eps, torch.arange(len(crowd), device=x_t.device)
            if k % self.every == 0:
                r, proposal = self.look(stage)
                self._weigh(kept, r, k // self.every)
                rows = self._survivors(kept, streams)
            noise = noise_at(chain, noises, k)
            after = chain.update(tuple(kept["state"][:, rows]), proposal[rows], k, noise)
            kept["state"] = torch.stack(after)
            kept["log_w"] = kept["log_w"] + self.correction(chain, k, (proposal - stage.eps)[rows], noise)
        streams.begin(chain.n_stages)
        x0 = chain.output(tuple(kept["state"]))
        self._weigh(kept, -self.scale * loss(x0[None])[0], -1)
        rows, finite = self._chosen(kept, streams), FiniteCheck()
        finite("loss", kept["r"][rows], chain.n_stages)
        parts = decoded(setup.model, x0[rows], finite, chain.n_stages)
        history = {"loss": kept["loss"], "ess": kept["ess"]}
        once, n = guided.cost, self.n_particles  # counted per row, and a problem has n of them
        spent = Cost(n * once.nfe_fwd, n * once.nfe_bwd)
        return Generation(parts, self.cost(setup), spent, history, finite.failures)

    def _weigh(self, kept: dict[str, Tensor], r: Tensor, column: int) -> None:
        """Add r - r(x_s) to log w; what is not finite weighs nothing. Remember mean loss and effective number."""
        kept["log_w"] = (kept["log_w"] + r - kept["r"]).nan_to_num(-torch.inf, neginf=-torch.inf)
        kept["r"] = r.to(kept["log_w"])
        weights = self._weights(kept)
        kept["loss"][:, column] = (-kept["r"] / self.scale).unflatten(0, weights.shape).nanmean(0)
        kept["ess"][:, column] = 1 / weights.square().sum(0)

    def _weights(self, kept: dict[str, Tensor]) -> Tensor:
        """Weights of the particles, (K, b), each column of sum 1; equal where all are 0."""
        log_w = kept["log_w"].unflatten(0, (self.n_particles, -1))
        return torch.softmax(log_w - log_w.amax(0).clamp_min(-1e30), dim=0).nan_to_num(1 / self.n_particles)

    def _survivors(self, kept: dict[str, Tensor], streams: RandomStreams) -> Tensor:
        """The row that each particle goes on from, (K b,); those of problems that were resampled weigh the same."""
        weights = self._weights(kept)
        stay = torch.arange(self.n_particles, device=weights.device)[:, None].expand_as(weights)
        drawn = 1 / weights.square().sum(0) < self.resample_below * self.n_particles * (1 - 1e-6)
        ancestors = torch.where(drawn, systematic(weights, _uniform(streams)), stay)
        rows = (
            ancestors * weights.shape[1] + torch.arange(weights.shape[1], device=weights.device)
        ).flatten()
        kept["log_w"] = torch.where(drawn.repeat(self.n_particles), 0.0, kept["log_w"])
        kept["r"] = kept["r"][rows]
        return rows

    def _chosen(self, kept: dict[str, Tensor], streams: RandomStreams) -> Tensor:
        """The row of each problem's sample, (b,)."""
        weights = self._weights(kept)
        if self.chosen == "best":
            r = kept["r"].unflatten(0, weights.shape).nan_to_num(-torch.inf, neginf=-torch.inf)
            one = r.argmax(0)
        else:
            one = (weights.cumsum(0) < _uniform(streams)).sum(0).clamp(max=self.n_particles - 1)
        return one * weights.shape[1] + torch.arange(weights.shape[1], device=weights.device)

    def _weighings(self, chain: Chain) -> int:
        return -(-chain.n_stages // self.every) + 1

    def cost(self, setup: Setup) -> Cost:
        if self.scale == 0:
            return Unguided().cost(setup)
        chain, rows = setup.chain(), setup.rows * self.n_particles
        backward = sum(moves(chain, k) for k in range(chain.n_stages)) if self.backpropagates else 0
        return Cost(nfe_fwd=rows * chain.n_stages, nfe_bwd=rows * backward)

    def loss_evaluations(self, setup: Setup) -> int:
        return self.n_particles * self._weighings(setup.chain()) if self.scale else 0


def systematic(weights: Tensor, uniform: Tensor) -> Tensor:
    """Draw n indices by their weights from one uniform number: index i comes floor or ceil of n w_i times.

    Args:
        weights: (n, b), each column of sum 1.
        uniform: in [0, 1), (b,).

    Returns:
        Indices, ascending, (n, b).
    """
    n = len(weights)
    points = (torch.arange(n, device=weights.device)[:, None] + uniform) / n
    edges = weights.double().cumsum(0)
    found = torch.searchsorted(edges.T.contiguous(), points.T.double().contiguous(), right=True)
    return found.T.clamp(max=n - 1)


def moves(chain: Chain, k: int) -> bool:
    """Whether stage k is a Gaussian step, so that the density of a particle's move is known."""
    return isinstance(chain, AffineChain) and chain.steps[k].c > 0.0


def no_draws(n: int) -> Tensor:
    """A stage's own randomness, of which these methods have none."""
    raise ConfigError("method: a particle's estimate is weighed without draws")


def _uniform(streams: RandomStreams) -> Tensor:
    """One number in [0, 1) per problem, (b,)."""
    return torch.special.ndtr(streams.normal((1,), METHOD)[:, 0].double()).clamp(max=1 - 1e-12)
