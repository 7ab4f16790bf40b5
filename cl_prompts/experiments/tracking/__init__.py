"""Records of a run while it trains: metrics file, TensorBoard, diagnostics and progress.

``tracker.Tracker`` is the Avalanche plugin that writes them. ``board`` lays out TensorBoard,
``inside`` draws prompts, buffer and cost at task ends, ``progress`` shows runs on a terminal.
"""
