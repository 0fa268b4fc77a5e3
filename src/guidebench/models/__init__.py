"""Adapters to real networks: they own loading, freezing, precision and preprocessing, never an algorithm."""
