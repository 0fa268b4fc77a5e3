"""`guidebench gradients`: the table of ways to differentiate through a sampling chain, by its short name."""

from guidebench.cli import table

NAME = "adjointdeis/gradients"


def main(argv: list[str]) -> int:
    """`guidebench table adjointdeis/gradients` with the same arguments."""
    return table.main([NAME, *argv], alias="gradients")
