"""What is learned once and then only read: embeddings, directions, corrective networks, translators, heads."""
