"""Sweeps over all combinations of settings, and searches for good ones.

``sweep`` runs the runs of a ``grid``, ``search`` settings that Optuna chooses (``search_space``,
``objective``). ``runner.running`` executes both.
"""
