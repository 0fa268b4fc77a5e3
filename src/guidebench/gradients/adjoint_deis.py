"""AdjointDEIS: exponential integrators of the continuous adjoint of a diffusion ODE or SDE."""

import warnings
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.grids import Grid
from guidebench.errors import ConfigError
from guidebench.gradients.base import (
    ChainGradient,
    ChainRun,
    GradientStrategy,
    StateObjective,
    adjoint_nodes,
    stage_at,
    value_and_cotangent,
)
from guidebench.gradients.stage import Differentiated, scaled_vjp
from guidebench.samplers.affine import AffineChain
from guidebench.samplers.base import Chain, noise_at
from guidebench.samplers.dpm_solver import DPMSolver

SIGN_FLIP_RATIO = 1.9


@dataclass(frozen=True)
class AdjointDEIS(GradientStrategy):
    """Solve the adjoint equations from the data to the noise on nodes u_0 < u_1 < … < u_M, one evaluation each.

    With k = 1 (ODE) or 2 (SDE), from the known node t to the noisier s, h = lam_s - lam_t < 0, and products taken
    at the *known* node (x_t, t):

        deis-1:   a_s = (alpha_t/alpha_s) (a_t + k c J_x^T a_t),     a_z += k c J_z^T a_t
                  c = sigma_t - sigma_s alpha_t/alpha_s = sigma_s (e^h - 1) alpha_t/alpha_s
        deis-2m:  V_x = alpha^2 J_x^T a, V_z = alpha J_z^T a at every node; r the node before t
                  D = (1 + 1/(2 rho)) V_t - 1/(2 rho) V_r,           rho = (lam_t - lam_r) / h
                  a_s = (alpha_t/alpha_s) a_t + k c/(alpha_t alpha_s) D_x,   a_z += k c/alpha_t D_z

    The order is that of the solver or that of the states, whichever is lower. For an SDE the path is rough and
    either solver is first order at best. It is a *direction*, not the gradient of the discrete sampler: at M = 20
    on the linear table its length is 20 to 30 times too small, and where alpha_t/alpha_s of the last step nears 2
    its sign flips. `Checkpointed` costs the same and is exact.

    Cost: n forwards to sample, then M forwards and M backwards. Memory: n stored states (none when inverted), one
    network graph.

    Args:
        solver: "deis-1" or "deis-2m".
        states: where x_t comes from: "cached" (sampling states; adjoint nodes must be sampling times), "dense"
            (between sampling times by one DDIM step from the noisier one; no evaluation), "inverted1" or "inverted2"
            (solved from x_0 towards the noise with the evaluations of the adjoint itself). SDEs: "cached" only.
        n_steps: M; None = the sampling times.
        grid: placement of the M + 1 nodes; must end where the chain ends; None = the sampling times.
        variant: "paper", or "official", whose loop leaves out the first interval u_0 … u_1 (M - 1 evaluations).

    Raises:
        ConfigError: the chain takes several evaluations per step, ends at clean data, or does not have the states.

    Warns:
        UserWarning: the last step's alpha ratio is near the sign flip.

    References: Blasingame & Liu 2024 (AdjointDEIS), eq. 3.11–3.14, Algorithm 1, Proposition 4.1.
    Differs from the paper: rho of Algorithm 1, not of appendix B.4, which is first order; Theorem 3.1's error is
        O(h^k). The official code uses the cached states and skips an interval; neither is in the paper.
    """

    solver: Literal["deis-1", "deis-2m"] = "deis-1"
    states: Literal["cached", "dense", "inverted1", "inverted2"] = "cached"
    n_steps: int | None = None
    grid: Grid | None = None
    variant: Literal["paper", "official"] = "paper"

    is_exact = False
    paper = "Blasingame & Liu 2024, AdjointDEIS: Efficient Gradients for Diffusion Models"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("solver", ("deis-1", "deis-2m")),
            ("states", ("cached", "dense", "inverted1", "inverted2")),
            ("variant", ("paper", "official")),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"gradient.{name}: got {getattr(self, name)!r}; allowed are {', '.join(allowed)}"
                )

    @property
    def order(self) -> int:  # type: ignore[override]
        """Of the ODE's adjoint, given states of at least the solver's order."""
        inverted_first = self.states in ("inverted1", "dense")
        return 1 if self.solver == "deis-1" or inverted_first or self.variant == "official" else 2

    def cost(self, chain: Chain) -> Cost:
        """n + M forwards, M backwards; one forward more if inverted states pass over the skipped interval."""
        nodes = len(adjoint_nodes(chain, self.grid, self.n_steps)) - 1
        skipped = 1 if self.variant == "official" else 0
        passed = skipped if self.states.startswith("inverted") else 0
        return Cost(nfe_fwd=chain.n_stages + nodes - skipped + passed, nfe_bwd=nodes - skipped)

    def value_and_grad(self, run: ChainRun, objective: StateObjective) -> ChainGradient:
        """See `GradientStrategy`; gradients of noises are those of the discrete step, c_k a(t_(k+1))."""
        chain = run.chain
        nodes = adjoint_nodes(chain, self.grid, self.n_steps)
        _warn_if_unstable(chain, nodes)
        inputs, path, state = Differentiated(run), self._path(chain, nodes), run.state
        for k in range(chain.n_stages):
            with torch.no_grad():
                x_t, t = chain.query(state, k)
                eps = run.eps(x_t, t, k)
                path.sampled(t, x_t, eps)
                state = run.watched(k, chain.update(state, eps, k, noise_at(chain, run.noises, k)))
        path.ended(chain.output(state).detach())
        value, (a, *_) = value_and_cotangent(objective, state)

        schedule, power = chain.schedule, chain.noise_power
        adjoints, previous = {nodes[0]: a}, None
        for i, (t, s) in enumerate(pairwise(nodes)):
            x_t, k = path.state(i), stage_at(chain, t)
            if self.variant == "official" and i == 0:
                if path.needs_eps:
                    with torch.no_grad():
                        path.adjoined(i, run.eps(x_t, t, k))
                adjoints[s] = a
                continue
            others = inputs.at(k, with_noise=False)
            with torch.enable_grad():
                x_t = x_t.detach().requires_grad_()
                eps = run.eps(x_t, t, k)
            products = scaled_vjp((eps,), (x_t, *others), (a,), per_row=not run.params)
            path.adjoined(i, eps.detach())

            ratio, c = schedule.transfer(s, t)
            alpha_t = schedule.alpha(t)
            scaled = (alpha_t**2 * products[0], *(alpha_t * p for p in products[1:]))
            slopes = scaled
            if self.solver == "deis-2m" and previous is not None:
                r = nodes[i - 1]
                w = 0.5 * (schedule.lam(s) - schedule.lam(t)) / (schedule.lam(t) - schedule.lam(r))
                slopes = tuple((1.0 + w) * v - w * v_r for v, v_r in zip(scaled, previous, strict=True))
            previous = scaled
            a = ratio * a + power * c / alpha_t * ratio / alpha_t * slopes[0]
            inputs.add(others, [power * c / alpha_t * slope for slope in slopes[1:]])
            adjoints[s] = a
        self._add_noises(chain, inputs, adjoints)
        rest = tuple(torch.zeros_like(s) for s in run.state[1:])
        return inputs.result(value, state, (a, *rest))

    def _path(self, chain: Chain, nodes: tuple[float, ...]) -> "_Path":
        if self.states != "cached" and chain.noise_power != 1.0:
            raise ConfigError(
                f"gradient.states: {self.states!r} would need the path of an SDE to be solved backwards; use 'cached'"
            )
        if self.states == "cached":
            return _Cached(chain, nodes)
        if self.states == "dense":
            return _Dense(chain, nodes)
        return _Inverted(chain, nodes, 1 if self.states == "inverted1" else 2)

    def _add_noises(self, chain: Chain, inputs: Differentiated, adjoints: dict[float, Tensor]) -> None:
        for k, noise in enumerate(inputs.run.noises or ()):
            if noise is None or not noise.requires_grad:
                continue
            if not isinstance(chain, AffineChain) or chain.times[k + 1] not in adjoints:
                raise ConfigError(
                    "gradient: gradients of noises need the adjoint at every sampling time; drop the grid"
                )
            inputs.add([noise], [chain.steps[k].c * adjoints[chain.times[k + 1]]])


def _warn_if_unstable(chain: Chain, nodes: tuple[float, ...]) -> None:
    ratio = chain.schedule.alpha(nodes[-2]) / chain.schedule.alpha(nodes[-1])
    if ratio > SIGN_FLIP_RATIO:
        warnings.warn(
            f"AdjointDEIS: alpha_t/alpha_s of the last adjoint step is {ratio:.2f}; near 2 the factor "
            "(alpha_t/alpha_s) (1 + c J) turns negative and the gradient's sign flips. Use more adjoint steps "
            "(gradient.n_steps), or gradient=checkpointed: the same cost, and exact",
            UserWarning,
            stacklevel=3,
        )


class _Path:
    """States x_t at the adjoint's nodes.

    Args:
        chain: the sampling chain.
        nodes: adjoint nodes, least noisy first.
    """

    needs_eps = False

    def __init__(self, chain: Chain, nodes: tuple[float, ...]) -> None:
        self.chain, self.nodes = chain, nodes

    def sampled(self, t: float, x_t: Tensor, eps: Tensor) -> None:
        """Sampling passed (x_t, t) and predicted eps."""

    def ended(self, x_0: Tensor) -> None:
        """Sampling ended in x_0."""

    def state(self, i: int) -> Tensor:
        """x at nodes[i]; asked in order."""
        raise NotImplementedError

    def adjoined(self, i: int, eps: Tensor) -> None:
        """The adjoint predicted eps at nodes[i]."""


class _Cached(_Path):
    """The states that sampling passed."""

    def __init__(self, chain: Chain, nodes: tuple[float, ...]) -> None:
        super().__init__(chain, nodes)
        missing = sorted(set(nodes) - set(chain.times))
        if missing:
            raise ConfigError(
                f"gradient.states: cached states do not exist at times {missing[:3]}; use states=dense or inverted2, "
                "or adjoint nodes among the sampling times"
            )
        self._states: dict[float, Tensor] = {}

    def sampled(self, t: float, x_t: Tensor, eps: Tensor) -> None:
        if t in self.nodes:
            self._states[t] = x_t

    def ended(self, x_0: Tensor) -> None:
        self._states[self.nodes[0]] = x_0

    def state(self, i: int) -> Tensor:
        return self._states[self.nodes[i]]


class _Dense(_Path):
    """x_u = (alpha_u/alpha_j) x_j + (sigma_u - sigma_j alpha_u/alpha_j) eps_j from the next noisier sampling time j."""

    def __init__(self, chain: Chain, nodes: tuple[float, ...]) -> None:
        super().__init__(chain, nodes)
        self._passed: list[tuple[float, Tensor, Tensor]] = []

    def sampled(self, t: float, x_t: Tensor, eps: Tensor) -> None:
        self._passed.append((t, x_t, eps))

    def ended(self, x_0: Tensor) -> None:
        self._end = x_0

    def state(self, i: int) -> Tensor:
        u = self.nodes[i]
        if u == self.chain.times[-1]:
            return self._end
        t, x, eps = min((p for p in self._passed if p[0] >= u), key=lambda p: p[0])
        a, b = self.chain.schedule.transfer(t, u)
        return a * x + b * eps


class _Inverted(_Path):
    """Solved from x_0 towards the noise, with the evaluations of the adjoint itself."""

    needs_eps = True

    def __init__(self, chain: Chain, nodes: tuple[float, ...], order: int) -> None:
        super().__init__(chain, nodes)
        solver = DPMSolver(solver_order=order, algorithm="dpmsolver", lower_order_final=False)
        self._inversion = solver.chain(chain.schedule, times=nodes)

    def ended(self, x_0: Tensor) -> None:
        self._state = self._inversion.init(x_0)

    def state(self, i: int) -> Tensor:
        return self._state[0]

    def adjoined(self, i: int, eps: Tensor) -> None:
        self._state = self._inversion.update(self._state, eps, i)
