"""Stored latents: exact gradients through any chain for the memory of a few latents and one network graph."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.errors import ConfigError
from guidebench.gradients.base import ChainGradient, GradientStrategy, Objective, value_and_cotangent
from guidebench.gradients.stage import Differentiated, StageGraph
from guidebench.samplers.base import Chain, Conditioning, EpsModel, Noises, OnStage, State, cond_at, noise_at


@dataclass(frozen=True)
class Checkpointed(GradientStrategy):
    """Keep the state before every stage; in the reverse sweep evaluate each stage once more, with its graph.

    For a step x_u = a x_t + b eps_hat(x_t, z, t) + c w the sweep is the exact discrete adjoint,

        a_t = a a_u + b J_x^T a_u,   a_z += b J_z^T a_u,   dL/dw = c a_u,   J taken at (x_t, t),

    for ODE and SDE samplers alike ("discretise, then optimise"); autograd forms it, so it holds for every chain.
    The last stages may keep the graph of their first evaluation: k graphs save k forwards.

    Cost for n stages: 2n - k forwards and n backwards. Memory: the n stored states, k + 1 network graphs.

    Args:
        keep_graphs: k, how many of the last stages keep their graph; "auto" = as many as fit into the budget,
            weighed on the first two stages.
        memory_budget_gb: memory for kept graphs in gigabytes (10^9 bytes) where k is "auto"; None = 80 % of what is
            free on the device.

    Raises:
        ConfigError: `keep_graphs` is neither "auto" nor a count.

    References: Chen et al. 2016 (checkpointing); DOODL's released code, which stores its latents.
    """

    keep_graphs: int | str = 0
    memory_budget_gb: float | None = None

    execution_only = ("keep_graphs", "memory_budget_gb")
    is_exact = True
    paper = "Chen et al. 2016, Training Deep Nets with Sublinear Memory Cost"

    def __post_init__(self) -> None:
        if self.keep_graphs != "auto" and not (isinstance(self.keep_graphs, int) and self.keep_graphs >= 0):
            raise ConfigError(
                f"gradient.keep_graphs: got {self.keep_graphs!r}; allowed are 'auto' and counts from 0"
            )

    def cost(self, chain: Chain) -> Cost:
        """2n - k forwards, n backwards; with k = "auto" the most it can be, 2n."""
        kept = 0 if self.keep_graphs == "auto" else min(int(self.keep_graphs), chain.n_stages)
        return Cost(nfe_fwd=2 * chain.n_stages - kept, nfe_bwd=chain.n_stages)

    def value_and_grad(
        self,
        chain: Chain,
        eps_model: EpsModel,
        state: State,
        objective: Objective,
        *,
        cond: Conditioning = None,
        params: Sequence[Tensor] = (),
        noises: Noises | None = None,
        on_stage: OnStage | None = None,
    ) -> ChainGradient:
        """See `GradientStrategy`."""
        inputs, n = Differentiated(cond, params, noises), chain.n_stages
        scale = _Scale(self._budget(state[0].device)) if self.keep_graphs == "auto" else None
        first_kept = n if self.keep_graphs == "auto" else n - min(int(self.keep_graphs), n)
        stored: list[State] = []
        graphs: list[StageGraph] = []
        for k in range(n):
            if k >= first_kept:
                graphs.append(StageGraph.record(chain, eps_model, state, k, inputs))
                state = tuple(s.detach() for s in graphs[-1].new)
            else:
                stored.append(tuple(s.detach() for s in state))
                if scale is None:
                    state = _stage(chain, eps_model, state, k, inputs)
                else:
                    state = scale.weigh(chain, eps_model, state, k, inputs)
                    if scale.graphs_that_fit is not None:
                        first_kept, scale = max(k + 1, n - scale.graphs_that_fit), None
            if on_stage is not None:
                on_stage(k, state)
        value, cotangent = value_and_cotangent(objective, state)
        for k in reversed(range(n)):
            graph = graphs.pop() if graphs else StageGraph.record(chain, eps_model, stored.pop(), k, inputs)
            cotangent = graph.pull(cotangent, inputs)
        return inputs.result(value, state, cotangent)

    def _budget(self, device: torch.device) -> float:
        """Bytes that kept graphs may take."""
        if self.memory_budget_gb is not None:
            return self.memory_budget_gb * 1e9
        if device.type == "cuda":
            return 0.8 * torch.cuda.mem_get_info(device)[0]
        return 0.8 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _stage(chain: Chain, eps_model: EpsModel, state: State, k: int, inputs: Differentiated) -> State:
    """Stage k without a graph."""
    with torch.no_grad():
        x_t, t = chain.query(state, k)
        eps = eps_model(x_t, t, cond_at(inputs.cond, k))
        return chain.update(state, eps, k, noise_at(chain, inputs.noises, k))


class _Scale:
    """Weighs the graph of one stage, at no evaluation beyond those of sampling.

    A graph saves activations, and refers to weights and to what all stages share. Parameters and their views are left
    out; what else two stages share shows when the second is weighed with the first still alive (unless not even two
    fit).

    Args:
        budget: bytes that graphs may take.
    """

    def __init__(self, budget: float) -> None:
        self.budget = budget
        self.graphs_that_fit: int | None = None  # known after one or two stages
        self._first: tuple[StageGraph, dict[int, int]] | None = None

    def weigh(self, chain: Chain, eps_model: EpsModel, state: State, k: int, inputs: Differentiated) -> State:
        """Stage k, with its graph recorded and weighed. Cost: 1 forward."""
        saved: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if not isinstance(tensor if tensor._base is None else tensor._base, torch.nn.Parameter):
                saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor.detach()  # an output kept as it is would hold the graph that holds it, for ever

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            graph = StageGraph.record(chain, eps_model, state, k, inputs)
        if self._first is not None:
            own = sum(size for pointer, size in saved.items() if pointer not in self._first[1])
            # One graph is needed in any case, for the stage under way in the reverse sweep.
            self.graphs_that_fit = max(0, int(self.budget // max(own, 1)) - 1)
            self._first = None
        elif 2 * sum(saved.values()) > self.budget:
            self.graphs_that_fit = 0
        else:
            self._first = (graph, saved)
        return tuple(s.detach() for s in graph.new)
