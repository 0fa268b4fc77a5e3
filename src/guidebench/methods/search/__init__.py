"""Methods that sample more often than once and choose, without a gradient: at equal cost, what guidance has to beat."""
