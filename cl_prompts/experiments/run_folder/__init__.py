"""Run folders: configuration, metrics, checkpoints and summary, always valid on disk.

``folder.RunFolder`` is the folder of a run that is written, ``runs`` reads finished ones back,
``plans`` records which runs a command was to make. ``identity`` says what must not change between a
checkpoint and its resumption, ``checkpoint`` holds the container, ``files`` every write to disk.
"""
