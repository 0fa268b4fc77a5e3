"""The *scenes* world."""
