"""Records of a run while it trains: metrics file, TensorBoard, diagnostics and progress.

``tracker.Tracker`` is the Avalanche plugin that writes them, to the ``loggers`` of a run
(``tensorboard_layout`` lays out TensorBoard's) and, at task ends, with ``diagnostics`` of prompts,
buffer and cost. ``progress`` shows runs on a terminal.
"""
