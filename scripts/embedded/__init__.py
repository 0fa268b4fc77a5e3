"""Training of the embedded suite's models; see ../train_embedded.py."""
