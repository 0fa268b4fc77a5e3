"""Pure mathematics of diffusion: schedules, parameterisations, random streams, cost counting."""
