"""Face morphs: both people are encoded, their codes blended, and what follows is sampled, searched or optimised."""
