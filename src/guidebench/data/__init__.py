"""Data: prompts, cases and rendered worlds."""
