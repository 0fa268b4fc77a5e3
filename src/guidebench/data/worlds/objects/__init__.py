"""The *objects* world."""
