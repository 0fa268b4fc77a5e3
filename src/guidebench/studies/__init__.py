"""Experiments small enough to be made from nothing in one process, without stored samples."""
