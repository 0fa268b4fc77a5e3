"""Methods that steer each sampling step by a loss on an estimate of the clean sample."""
