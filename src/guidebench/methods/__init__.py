"""Methods: what turns a problem into a sample. One folder per family, one file per method."""
