"""Sweeps over all combinations of settings, and searches for good ones.

``grid`` reads settings with several values. ``sweep`` runs all their combinations, ``search`` those
that Optuna chooses. ``runner.running`` executes both.
"""
