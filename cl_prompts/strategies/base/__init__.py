"""Bases of families of strategies: the training loop, prompts, heads, prototypes and replay."""
