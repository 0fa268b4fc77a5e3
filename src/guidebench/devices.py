"""Where networks run, and with which arithmetic: the same for those that make samples and those that judge them."""

import os

import torch


def device(name: str) -> torch.device:
    """The device that `device=` names, ready for `exact_arithmetic`; "auto" takes a GPU where there is one."""
    exact_arithmetic()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def exact_arithmetic() -> None:
    """Full float32 products in matrix products and convolutions, and on CUDA the same bits every time.

    Whoever loads a network calls this, so that no judge reads pictures with ten bits (TF32, cuDNN's default) that were
    made with 24. Operations that have no deterministic kernel warn and stay as they are.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS sums as it likes
        torch.use_deterministic_algorithms(True, warn_only=True)
