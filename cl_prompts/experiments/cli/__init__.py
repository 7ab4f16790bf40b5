"""Command line: ``cl-prompts ls | show | validate | run | report`` and so on.

``main`` is the entry point; ``arguments`` takes command lines apart, ``actions`` carries commands
out. ``listing`` prints what there is, ``proposal`` makes a recipe for one's own images.
"""

from cl_prompts.experiments.cli.entry import main

__all__ = ["main"]
