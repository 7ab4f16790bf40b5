"""Run folders: configuration, metrics, checkpoints and summary, always valid on disk.

``folder.RunFolder`` writes the folder of a run with its checkpoints, ``runs`` reads finished runs,
and ``plans`` records the runs of a command. ``identity`` defines what must not change before a run
resumes, and ``files`` contains every write to disk.
"""
