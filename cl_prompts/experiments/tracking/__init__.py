"""Records of a run while it trains: metrics file, TensorBoard, diagnostics and progress.

``tracker.Tracker`` is the Avalanche plugin that writes them, with ``tensorboard_layout`` and, at
task ends, ``diagnostics`` of prompts, buffer and cost. ``progress`` shows runs on a terminal.
"""
