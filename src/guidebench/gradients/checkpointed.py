"""Stored latents: exact gradients through any chain for the memory of a few latents and one network graph."""

import os
import weakref
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from guidebench.diffusion.cost import Cost
from guidebench.errors import ConfigError
from guidebench.gradients.base import (
    ChainGradient,
    ChainRun,
    GradientStrategy,
    StateObjective,
    value_and_cotangent,
)
from guidebench.gradients.stage import Differentiated, StageGraph
from guidebench.samplers.base import Chain, State


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
            weighed on the first two stages of the first run.
        memory_budget_gb: memory for kept graphs in gigabytes (10^9 bytes) where k is "auto"; None = 80 % of what is
            free on the device.

    Raises:
        ConfigError: `keep_graphs` is neither "auto" nor a count.

    References: Chen et al. 2016 (checkpointing); DOODL's released code, which stores its latents.
    """

    keep_graphs: int | str = 0
    memory_budget_gb: float | None = None
    _weighed: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

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

    def value_and_grad(self, run: ChainRun, objective: StateObjective) -> ChainGradient:
        """See `GradientStrategy`."""
        inputs, state, n = Differentiated(run), run.state, run.chain.n_stages
        scale = self._scale(run) if self.keep_graphs == "auto" else None
        kept = int(self.keep_graphs) if scale is None else scale.graphs_that_fit
        stored: list[State] = []
        graphs: list[StageGraph] = []
        for k in range(n):
            if kept is not None and k >= n - kept:
                graphs.append(StageGraph.record(inputs, state, k))
                state = graphs[-1].after
            else:
                stored.append(tuple(s.detach() for s in state))
                if scale is not None and kept is None:
                    state = scale.weigh(inputs, state, k)
                    kept = scale.graphs_that_fit
                else:
                    with torch.no_grad():
                        state = run.stage(state, k)
            run.watched(k, state)
        if scale is not None:
            self._weighed.update(network=weakref.ref(run.eps_model), batch=_batch(run), size=scale.size)
        value, cotangent = value_and_cotangent(objective, state)
        for k in reversed(range(n)):
            graph = graphs.pop() if graphs else StageGraph.record(inputs, stored.pop(), k)
            cotangent = graph.pull(cotangent, inputs)
        return inputs.result(value, state, cotangent)

    def _scale(self, run: ChainRun) -> "_Scale":
        """A scale that knows the size of a graph where the last run was one of the same network and batch."""
        last = self._weighed
        same = last and last["network"]() is run.eps_model and last["batch"] == _batch(run)
        return _Scale(self._budget(run.state[0].device), last["size"] if same else None)

    def _budget(self, device: torch.device) -> float:
        """Bytes that kept graphs may take."""
        if self.memory_budget_gb is not None:
            return self.memory_budget_gb * 1e9
        if device.type == "cuda":
            unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            return 0.8 * (torch.cuda.mem_get_info(device)[0] + unused)
        return 0.8 * os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _batch(run: ChainRun) -> tuple[Any, ...]:
    """What the size of a graph depends on besides the network."""
    return type(run.chain), *((s.shape, s.dtype, s.device) for s in run.state)


class _Scale:
    """Weighs the graph of one stage, at no evaluation beyond those of sampling.

    A graph saves activations, and refers to weights and to what all stages share. Parameters and their views are left
    out; what else two stages share shows when the second is weighed with the first still alive (unless not even two
    fit).

    Args:
        budget: bytes that graphs may take.
        size: bytes of one graph; None = known after one or two stages.
    """

    def __init__(self, budget: float, size: int | None) -> None:
        self.budget, self.size = budget, size
        self._first: tuple[StageGraph, dict[int, int]] | None = None

    @property
    def graphs_that_fit(self) -> int | None:
        """How many, beside the one that is needed in any case: that of the stage under way in the reverse sweep."""
        return None if self.size is None else max(0, int(self.budget // max(self.size, 1)) - 1)

    def weigh(self, inputs: Differentiated, state: State, k: int) -> State:
        """Stage k, with its graph recorded and weighed. Cost: 1 forward."""
        saved: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            if not isinstance(tensor if tensor._base is None else tensor._base, torch.nn.Parameter):
                saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor.detach()  # an output kept as it is would hold the graph that holds it, for ever

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            graph = StageGraph.record(inputs, state, k)
        whole = sum(saved.values())
        if self._first is not None:
            self.size = sum(size for pointer, size in saved.items() if pointer not in self._first[1])
            self._first = None
        elif 2 * whole > self.budget:
            self.size = whole
        else:
            self._first = (graph, saved)
        return graph.after
