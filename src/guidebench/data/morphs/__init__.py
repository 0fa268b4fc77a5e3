"""Galleries of people, and which two of them are to be morphed."""
