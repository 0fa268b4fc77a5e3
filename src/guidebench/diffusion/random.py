"""Random streams: every random number comes from a generator keyed by (seed, case id, stream, step of the loop).

A sample is then the same whatever the batch size, the order, the number of workers or a restart, and a method that
draws more noise does not move another method's x_T. Draws are made on the CPU and moved, so devices agree too.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from guidebench.problems import Problem

X_T, SAMPLER, METHOD, AUGMENTATION = "x_T", "sampler", "method", "augmentation"
OBSERVATION = "observation"


def generator(seed: int, case_id: str, stream: str) -> torch.Generator:
    """A CPU generator whose state depends on nothing but its key (torch seeds it with 32 bits of the key's hash)."""
    digest = hashlib.blake2b(f"{seed}\x1f{case_id}\x1f{stream}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


class RandomStreams:
    """The random streams of a batch of problems: one independent generator per (problem, stream).

    Args:
        problems: the batch, in order; row i of every draw belongs to `problems[i]`.
        device: where draws are moved to.
        dtype: floating-point type of the draws.
        copies: independent streams of each problem: row i of every draw belongs to `problems[i % b]`. The first copy
            draws what there is without copies.
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        copies: int = 1,
    ) -> None:
        self._problems = tuple(problems)
        self._keys = [(p.seed, p.case_id, f"#{c}" if c else "") for c in range(copies) for p in problems]
        self._generators: dict[str, list[torch.Generator]] = {}
        self._copied: dict[int, RandomStreams] = {}
        self._step = ""
        self.device, self.dtype = torch.device(device), dtype

    def begin(self, step: int) -> None:
        """Begin a step of a loop: what is drawn from here on depends on its number, not on what was drawn before."""
        self._generators.clear()
        self._step = f"@{step}"
        for other in self._copied.values():
            other.begin(step)

    def copied(self, n: int) -> "RandomStreams":
        """The streams of n copies of the problems, which begin every step with these ones."""
        if n not in self._copied:
            self._copied[n] = RandomStreams(self._problems, self.device, self.dtype, copies=n)
            self._copied[n]._step = self._step
        return self._copied[n]

    def generators(self, stream: str) -> list[torch.Generator]:
        """The batch's generators of `stream` in this step; they advance as they are drawn from."""
        if stream not in self._generators:
            self._generators[stream] = [
                generator(seed, case_id, stream + copy + self._step) for seed, case_id, copy in self._keys
            ]
        return self._generators[stream]

    def normal(self, shape: Sequence[int], stream: str) -> Tensor:
        """Standard normal draws, (b, *shape)."""
        generators = self.generators(stream)
        draws = torch.empty(len(generators), *shape, dtype=self.dtype)
        for row, g in zip(draws, generators, strict=True):
            torch.randn(*shape, generator=g, out=row)
        return draws.to(self.device)
