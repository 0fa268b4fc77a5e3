"""What the shipped networks can do, measured on pictures and prompts that they were not trained on."""
