"""Models on a frozen ViT: prompts, lanes, adapters, closed-form classifiers."""
