"""Rendered worlds whose every attribute is known."""
