"""Command line: ``cl-prompts ls | show | validate | run | report`` and so on.

``entry.main`` parses command lines; ``actions``, ``models`` and ``outcomes`` are the commands.
``listing`` prints what there is, ``proposal`` makes a recipe for one's own images.
"""

from cl_prompts.experiments.cli.entry import main

__all__ = ["main"]
