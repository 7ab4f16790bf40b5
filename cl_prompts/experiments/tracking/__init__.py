"""Record a run while it trains: metrics file, loggers, diagnostics and progress.

``tracker.Tracker`` is the Avalanche plugin that writes ``metrics.csv`` and to the loggers of a run,
and reports to its ``progress`` on a terminal; at task ends it adds diagnostics of prompts,
buffer and cost.
"""
