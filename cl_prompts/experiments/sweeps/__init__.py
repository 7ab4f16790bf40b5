"""Sweeps over all combinations of settings, and searches for good ones.

``sweep`` runs a grid, and ``search`` asks Optuna for settings (``search_space``, ``objective``).
Both leave execution to ``runner.running``.
"""
