"""The *animals* world."""
