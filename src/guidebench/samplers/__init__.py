"""Samplers: pure algebra over an explicit grid of times; the caller evaluates the network."""
