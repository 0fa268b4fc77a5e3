"""Human motion: its representation and its pictures."""
