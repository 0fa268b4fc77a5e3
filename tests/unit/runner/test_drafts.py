"""Work that is killed anywhere and begun again ends with the same bits and the same counted cost."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from guidebench.diffusion.cost import CountedModel
from guidebench.diffusion.random import generator
from guidebench.progress import Progress
from guidebench.runner.drafts import Draft


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class KilledError(Exception):
    pass


class Bomb:
    """Kills at the n-th time that it is passed; remembers how often it was."""

    def __init__(self, at: int | None = None) -> None:
        self.at, self.passed = at, 0

    def __call__(self) -> None:
        if self.passed == self.at:
            raise KilledError
        self.passed += 1


def draft(folder: Path, every: float = 0.0, identity: str = "work") -> Draft:
    """Saves after every `every` looks at the clock."""
    ticks = itertools.count()
    path = folder / "drafts" / "work" / "batch" / "state.safetensors"
    return Draft(path, identity, every, folder / "quarantine", clock=lambda: float(next(ticks)))


def draw(*key: object) -> Tensor:
    return torch.randn(3, generator=generator(0, "case", " ".join(map(str, key))))


def doubled(x: Tensor) -> Tensor:
    return 2.0 * x


def work(progress: Progress, bomb: Bomb) -> dict[str, Tensor]:
    """Loops that follow one another and stand within one another, that replace, that write in place, that break."""
    network = CountedModel(doubled)
    network(torch.ones(1))  # before the first loop: runs again, and is counted once
    progress.counters.append(network)

    weight = draw("weight").requires_grad_()
    state = {"x": weight, "moment": torch.zeros(3), "loss": torch.zeros(4)}
    for k in progress.steps(4, state):
        x, moment = state["x"], state["moment"]
        bomb()
        loss = (network(x) - draw("data", k)).square().sum()
        (grad,) = torch.autograd.grad(loss, x)
        with torch.no_grad():
            moment.mul_(0.9).add_(grad)
            x.sub_(0.1 * moment)  # in place, as optimisers do
        state["loss"][k] = loss.detach()
        bomb()
    last = loss.detach()  # a loop's last locals outlive it

    x = state["x"].detach()
    outer = {"x": x, "y": x, "seen": torch.zeros(4, dtype=torch.int64)}  # one tensor under two names
    for k in progress.steps(4, outer):
        outer["x"] = network(outer["x"]) / 2 + draw("outer", k)
        if k == 2:
            outer["seen"][k] += 1  # in place, before an inner loop: that one cannot be saved in this step
        inner = {"z": outer["x"].clone()}
        for j in progress.steps(3, inner):
            bomb()
            inner["z"] = network(inner["z"]) - outer["y"] + draw("inner", k, j)
        second = {"z": inner["z"], "t": torch.zeros((), dtype=torch.bfloat16)}
        for j in progress.steps(50, second):
            bomb()
            second["z"] = 0.5 * second["z"] + draw("second", k, j)
            second["t"] = second["t"] + 0.5
            deepest = {"u": second["z"].to(torch.float64)}
            for i in progress.steps(2, deepest):
                bomb()
                deepest["u"] = deepest["u"].sin() + draw("deepest", k, j, i)
            second["z"] = deepest["u"].to(torch.float32)
            if j == 1 + k % 3:
                break
        third = {"z": second["z"]}
        for j in progress.steps(8, third):
            bomb()
            third["z"] = third["z"] + draw("third", k, j)
        second["z"] = third["z"]
        outer["y"] = outer["y"] + second["z"] * second["t"].to(torch.float32)
        outer["seen"][k] += 2

    for _ in progress.steps(0, {"nothing": torch.zeros(1)}):
        raise AssertionError("there are no steps")
    end = {"x": outer["y"], "grown": torch.zeros(0)}
    for _ in progress.steps(1, end):
        bomb()
        end["grown"] = torch.cat([end["grown"], end["x"]])
    cost = torch.tensor([network.cost.nfe_fwd, network.cost.nfe_bwd])
    return {"last": last, "loss": state["loss"], "seen": outer["seen"], "grown": end["grown"], "cost": cost}


_WHOLE = Bomb()
RESULT = work(Progress(), _WHOLE)


def same(result: dict[str, Tensor]) -> None:
    assert all(torch.equal(result[name], RESULT[name]) for name in RESULT | result)


def test_the_work_itself() -> None:
    assert RESULT["cost"].tolist() == [1 + 4 + 4 * (1 + 3), 4]
    assert RESULT["seen"].tolist() == [2, 2, 3, 2] and _WHOLE.passed > 30


@pytest.mark.parametrize("every", [0.0, 7.0, 13.0])
@pytest.mark.parametrize("at", range(_WHOLE.passed))
def test_killed_anywhere_it_goes_on_bit_identically(tmp_path: Path, at: int, every: float) -> None:
    with pytest.raises(KilledError):
        work(draft(tmp_path, every), Bomb(at))
    resumed = Bomb()
    same(work(draft(tmp_path, every), resumed))
    if every == 0:
        assert (
            resumed.passed <= _WHOLE.passed - at + 40
        )  # what may run again: one outer step, one step of the first
    assert not (tmp_path / "quarantine").exists()


def test_killed_again_and_again_it_ends(tmp_path: Path) -> None:
    for runs in itertools.count(1):
        try:
            same(work(draft(tmp_path), Bomb(7)))
        except KilledError:
            assert runs < 40
        else:
            break
    assert runs > 3


def test_a_loop_that_has_ended_is_kept_though_its_tensors_change(tmp_path: Path) -> None:
    def stages(progress: Progress, bomb: Bomb) -> list[float]:
        shared = torch.zeros(1)
        for _ in range(2):
            state = {"x": shared}
            for _ in progress.steps(20, state):
                bomb()
                state["x"] += 1
            shared = state["x"]
        return shared.tolist()

    with pytest.raises(KilledError):
        stages(draft(tmp_path, 30.0), Bomb(35))  # one save, in the second loop
    again = Bomb()
    assert stages(draft(tmp_path, 30.0), again) == [40.0]
    assert again.passed < 15


def test_seconds_go_on(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        work(draft(tmp_path), Bomb(12))
    assert draft(tmp_path).seconds > 5  # looks at the clock until the last save


def test_nothing_is_written_before_it_is_due_and_nothing_stays(tmp_path: Path) -> None:
    work(draft(tmp_path, 1e9), Bomb())
    assert not list(tmp_path.rglob("*.safetensors"))
    made = draft(tmp_path)
    work(made, Bomb())
    assert made.path.exists()
    made.remove()
    assert not made.path.parent.exists()


def damaged(content: bytes) -> Iterator[bytes]:
    yield b""
    yield content[: len(content) // 2]
    yield content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
    yield b"\xff" * len(content)


@pytest.mark.parametrize("kind", range(4))
def test_a_damaged_draft_is_set_aside(tmp_path: Path, kind: int) -> None:
    with pytest.raises(KilledError):
        work(draft(tmp_path), Bomb(20))
    path = draft(tmp_path).path
    path.write_bytes(list(damaged(path.read_bytes()))[kind])
    again = Bomb()
    same(work(draft(tmp_path), again))
    assert again.passed == _WHOLE.passed
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


def test_a_draft_of_other_work_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        work(draft(tmp_path, identity="other"), Bomb(20))
    again = Bomb()
    same(work(draft(tmp_path), again))
    assert again.passed == _WHOLE.passed and len(list((tmp_path / "quarantine").iterdir())) == 1


def test_a_draft_whose_loop_holds_other_things_is_not_used(tmp_path: Path) -> None:
    def loop(progress: Progress, **state: Tensor) -> list[int]:
        return list(progress.steps(3, state))

    assert loop(draft(tmp_path), x=torch.zeros(2)) == [0, 1, 2]
    assert loop(draft(tmp_path), x=torch.zeros(2)) == [2]
    assert loop(draft(tmp_path), y=torch.zeros(2)) == [0, 1, 2]
    assert len(list((tmp_path / "quarantine").iterdir())) == 1


def test_what_comes_into_a_state_later_is_refused(tmp_path: Path) -> None:
    state = {"x": torch.zeros(2)}
    steps = draft(tmp_path).steps(3, state)
    next(steps)
    state["moment"] = torch.zeros(2)
    with pytest.raises(ValueError, match="moment came or went before step 1"):
        next(steps)


def test_a_longer_loop_goes_on_and_a_shorter_one_has_ended(tmp_path: Path) -> None:
    state = {"x": torch.zeros(2)}
    for _ in draft(tmp_path).steps(3, state):
        state["x"] = state["x"] + 1
    assert list(draft(tmp_path).steps(5, {"x": torch.zeros(2)})) == [2, 3, 4]
    ended = {"x": torch.zeros(2)}
    assert list(draft(tmp_path).steps(2, ended)) == []
    assert ended["x"].tolist() == [2.0, 2.0]


def test_memory_format_is_kept(tmp_path: Path) -> None:
    def state() -> dict[str, Tensor]:
        return {"x": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)}

    first, then = state(), state()
    list(draft(tmp_path).steps(1, first))
    list(draft(tmp_path).steps(1, then))
    assert torch.equal(first["x"], then["x"]) and then["x"].is_contiguous(memory_format=torch.channels_last)


_SIGNALLED = """
import os, signal, sys, threading
from pathlib import Path
import torch
from guidebench.runner.drafts import Draft
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's parent may ignore it
path = Path(sys.argv[1]) / "state.safetensors"
state = {"x": torch.zeros(1)}
for k in Draft(path, "work", 1e9, path.parent).steps(9, state):
    print(k, flush=True)
    if k == 4:
        os.kill(os.getpid(), int(sys.argv[2]))
    state["x"] = state["x"] + 1
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_step_and_saves(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", _SIGNALLED, str(tmp_path), str(int(number))]
    before = signal.getsignal(signal.SIGINT)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode in (-number, 128 + number) and done.stdout.split() == list("01234")
    state = {"x": torch.zeros(1)}
    rest = Draft(tmp_path / "state.safetensors", "work", 1e9, tmp_path).steps(9, state)
    assert next(rest) == 5 and state["x"].item() == 5.0
    rest.close()
    assert signal.getsignal(signal.SIGINT) is before
