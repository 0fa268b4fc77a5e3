"""What the methods of posterior guidance share: they change the predicted noise of each stage of any sampler."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.diffusion.random import METHOD, RandomStreams
from guidebench.methods.base import FiniteCheck, Generation, Method, Setup, decoded
from guidebench.methods.none import Unguided
from guidebench.methods.posterior.stage import Stage
from guidebench.problems import Problem
from guidebench.progress import Progress
from guidebench.samplers.base import Chain, EpsModel, Noises, State, cond_at, noise_at

BoundLoss = Any
"""What a method's `bind` gives to its `guide` as `Stage.loss`; a `DrawLoss` unless the method says otherwise."""

Normal = Callable[[int], Tensor]
"""Gives n standard normal draws, (n, b, ...), one stream per sample."""


class Guidance(Method):
    """A method that says, at each stage, which noise prediction the sampler is told instead of the network's.

    A subclass has `guide`, which logs the loss of its stage; `scale` 0 is unguided sampling itself. Where `repeats` is
    above 1, the step is taken back by the forward process and made again, guided each time.

    Attributes:
        scale: the strength.
        backpropagates: whether `guide` calls `Stage.pull_back`, at most once.
    """

    backpropagates: ClassVar[bool] = True
    scale: float

    @abstractmethod
    def guide(self, stage: Stage) -> Tensor:
        """The guided prediction eps', (b, ...), of one stage. Nothing here mixes rows."""

    def repeats(self, chain: Chain, step: int) -> int:
        """How often a step of the grid is made; 1 = no time travel."""
        return 1

    def bind(self, setup: Setup, problems: Sequence[Problem], streams: RandomStreams) -> BoundLoss:
        """What `guide` finds as `stage.loss`; by default the loss of what the model decodes clean samples to."""
        return DecodedLoss(setup, problems, streams)

    def chain(self, setup: Setup) -> Chain:
        """The chain that is guided; by default the sampler's."""
        return setup.chain()

    def start(self, chain: Chain, x_T: Tensor, loss: BoundLoss) -> Tensor:
        """Where sampling starts; by default at noise."""
        return x_T

    def run(
        self,
        chain: Chain,
        eps_model: EpsModel,
        state: State,
        loss: BoundLoss,
        normal: Normal,
        *,
        cond: Tensor | None = None,
        noises: Noises | None = None,
        begin: Callable[[int], None] = lambda evaluation: None,
        progress: Progress | None = None,
        finite: Callable[[str, Tensor, int], None] = lambda name, tensor, step: None,
    ) -> tuple[State, dict[str, Tensor]]:
        """Sample with guidance.

        Args:
            chain: the sampler's algebra.
            eps_model: the unguided prediction.
            state: `chain.init(x_T)`.
            loss: what `bind` gives.
            normal: the method's own randomness.
            cond: conditioning of the model.
            noises: of the chain's stochastic stages; repeated stages draw theirs from `normal`.
            begin: told of the number of each evaluation before it.
            progress: hands out the steps of the grid.
            finite: told of losses, predictions and states, with the number of the evaluation.

        Returns:
            The final state, and curves by name, each (b, evaluations).
        """
        steps, names = _steps(chain), list[str]()
        kept = {"state": torch.stack(state), "curves": torch.empty(0)}
        for i in (progress or Progress()).steps(len(steps), kept):
            asked = sum(self.repeats(chain, before) * len(stages) for before, stages in steps[:i])
            state, (step, stages), logged = tuple(kept["state"]), steps[i], []
            repeats = self.repeats(chain, step)
            for repeat in range(repeats):
                for k in stages:
                    begin(asked)
                    x_t, t = chain.query(state, k)
                    stage = Stage(
                        chain, k, x_t, t, eps_model, cond_at(cond, k), loss, normal, self.backpropagates
                    )
                    eps = self.guide(stage).detach()
                    finite("loss", stage.logged["loss"], asked)
                    finite("guided prediction", eps, asked)
                    noise = noise_at(chain, noises, k)
                    if noise is not None and repeat:
                        noise = normal(1)[0]
                    state = chain.update(state, eps, k, noise)
                    finite("x_t", state[0], asked)
                    names = list(stage.logged)
                    logged.append(torch.stack(list(stage.logged.values())))
                    asked += 1
                if repeat < repeats - 1:
                    state = chain.rewind(state, step, normal(1)[0])
            curves = torch.stack(logged, dim=-1)  # (names, b, evaluations)
            kept["state"] = torch.stack(state)
            kept["curves"] = torch.cat([kept["curves"], curves], dim=-1) if i else curves
        history = dict(zip(names, kept["curves"], strict=True))
        for evaluation, losses in enumerate(history["loss"].T):  # those of before an interruption too
            finite("loss", losses, evaluation)
        return tuple(kept["state"]), history

    def generate(self, problems: Sequence[Problem], setup: Setup) -> Generation:
        if self.scale == 0:
            return Unguided().generate(problems, setup)
        chain, guided, streams = self.chain(setup), setup.guided(), setup.streams(problems)
        loss, finite = self.bind(setup, problems, streams), FiniteCheck()
        with torch.no_grad():
            state, history = self.run(
                chain,
                guided,
                chain.init(self.start(chain, setup.x_T(streams), loss)),
                loss,
                lambda n: streams.normal((n, *setup.model.sample_shape), METHOD).transpose(0, 1),
                cond=setup.condition(problems),
                noises=setup.noises(chain, streams),
                begin=streams.begin,
                progress=setup.progress,
                finite=finite,
            )
        x0 = chain.output(state)
        parts = decoded(setup.model, x0, finite, chain.n_stages)
        return Generation(parts, self.cost(setup), guided.cost, history, finite.failures)

    def cost(self, setup: Setup) -> Cost:
        if self.scale == 0:
            return Unguided().cost(setup)
        rows = setup.rows * self._evaluations(self.chain(setup))
        return Cost(nfe_fwd=rows, nfe_bwd=rows if self.backpropagates else 0)

    def loss_evaluations(self, setup: Setup) -> int:
        return self._evaluations(self.chain(setup)) * self.losses_per_stage if self.scale else 0

    @property
    def losses_per_stage(self) -> int:
        """Evaluations of the loss per stage and sample."""
        return 1

    def _evaluations(self, chain: Chain) -> int:
        """Stages, repeated ones counted as often as they are made."""
        return sum(self.repeats(chain, step) * len(stages) for step, stages in _steps(chain))


class DecodedLoss:
    """A loss of what the model decodes clean samples to, for n draws at once.

    Args:
        setup: model and loss.
        problems: the batch, b of them.
        streams: its randomness; each draw gets its own copy of it.
    """

    def __init__(self, setup: Setup, problems: Sequence[Problem], streams: RandomStreams) -> None:
        self._setup, self._problems, self._streams = setup, problems, streams
        self._bound: dict[int, Callable[[Tensor], Tensor]] = {}

    def __call__(self, x0: Tensor) -> Tensor:
        """(n, b, ...) -> (n, b); random augmentations are each draw's own."""
        n = len(x0)
        if n not in self._bound:
            self._bound[n] = self._setup.objective([*self._problems] * n, self._streams.copied(n))
        return self._bound[n](self._setup.model.decode(x0.flatten(0, 1))).unflatten(0, (n, -1))


def _steps(chain: Chain) -> list[tuple[int, list[int]]]:
    """The steps of the grid that ask the network, each with its stages."""
    stages: dict[int, list[int]] = defaultdict(list)
    for k in range(chain.n_stages):
        stages[chain.step_of(k)].append(k)
    return list(stages.items())
