"""Sweeps over settings: every combination, or a search with Optuna.

``sweep.sweep`` executes the runs of a grid and ``search`` looks for good settings; runs go to
processes of this machine (``sweep_launcher``), to Ray (``sweep_ray``) or to Slurm
(``sweep_slurm``). ``sweep_ledger`` keeps which runs wait, ``sweep_worker`` executes them.
"""
