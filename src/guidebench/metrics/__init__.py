"""Metrics: judge stored samples; they never see how a sample was made."""
