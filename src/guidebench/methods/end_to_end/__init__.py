"""Methods that differentiate a loss on the final sample through the whole sampling chain."""
