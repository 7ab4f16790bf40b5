"""Anytime evaluation: the plugin, what it tests on, and the evaluator with its cache."""
