"""Small networks of the embedded suite: modules only, without weights and without preprocessing."""
