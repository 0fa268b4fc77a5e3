"""Guidance losses: differentiable, one number per sample, lower is better."""
