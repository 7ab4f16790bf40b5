"""Sweeps over all combinations of settings, and searches for good ones.

``sweep`` runs the runs of a ``grid``, ``search`` settings that Optuna chooses from a
``search_space``. ``runner.running`` executes both.
"""
