"""Where the shipped configurations lie."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped(name: str) -> Path:
    """The folder `conf` or `experiments`: of the checkout where there is one, else of the installed package."""
    checkout = _PACKAGE.parents[1] / name
    return (
        checkout
        if checkout.is_dir() and (_PACKAGE.parents[1] / "pyproject.toml").is_file()
        else _PACKAGE / name
    )
