"""The *birds* world."""
