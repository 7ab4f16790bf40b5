"""Continual and multi-label scores, and the evaluator that takes them."""
