"""What families of strategies share: the training loop, prompts, heads, prototypes and replay."""
