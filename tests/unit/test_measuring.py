"""Bytes that live at once, counted by hand."""

import pytest
import torch

from guidebench.measuring import peak_memory


def test_peak_memory_is_what_lives_at_once():
    def work() -> None:
        a = torch.zeros(250_000)
        b = a + 1
        del a
        torch.cat([b, b])

    assert peak_memory(work, torch.device("cpu")) == pytest.approx(3e6, rel=0.01)
