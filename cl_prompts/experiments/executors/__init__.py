"""Execution of jobs in local processes, on Ray or Slurm, and the signals that stop it."""
