"""Linear maps that turn a clean sample into an observation."""
