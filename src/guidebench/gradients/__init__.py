"""Gradient strategies: every way to differentiate a loss on the end of a sampling chain."""
