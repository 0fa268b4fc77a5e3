"""The *faces* world."""
