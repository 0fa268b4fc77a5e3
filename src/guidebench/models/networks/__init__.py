"""Network modules in the key layouts of published checkpoints, where no library in use offers them."""
