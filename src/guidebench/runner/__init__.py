"""Compose, check and build jobs; run them into the store; evaluate what is stored."""
