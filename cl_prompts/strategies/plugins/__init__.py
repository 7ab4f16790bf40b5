"""Avalanche plugins: anytime evaluation and multi-label metrics."""
