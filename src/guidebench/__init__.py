"""guidebench: guide pretrained diffusion models, compare the methods fairly, regenerate the papers' tables."""

__version__ = "0.1.0"
