"""cl-prompts: prompt-based continual learning on frozen Vision Transformers.

``cl_prompts.scenarios`` makes streams, ``cl_prompts.strategies`` trains on them (with Avalanche),
``cl_prompts.experiments`` runs recipes. The other modules are parts of methods and do not need
Avalanche. ``@cl_prompts.scenario`` and ``@cl_prompts.dataset`` declare user functions that recipes
may name.
"""

from cl_prompts.user_code import dataset, scenario

__all__ = ["dataset", "scenario"]

#: pyproject.toml reads the version here
__version__ = "0.1.0"
