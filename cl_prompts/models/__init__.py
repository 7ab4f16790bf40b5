"""Models for strategies to train: prompts and heads on a frozen ViT, lanes, and classifiers without
gradients."""
