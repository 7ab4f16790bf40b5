"""HTTP server of a model that learns while it serves; ``cl-prompts serve`` starts it.

``journal`` stores events in SQLite, ``learner`` owns the sums, ``passes`` batches forward passes,
``app`` has the calls and ``guard`` their security. It needs the extra ``serve``.
"""
