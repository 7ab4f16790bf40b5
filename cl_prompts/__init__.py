"""cl-prompts: prompt-based continual learning on frozen Vision Transformers.

``cl_prompts.scenarios`` makes streams, ``cl_prompts.strategies`` learns on them (on Avalanche),
``cl_prompts.experiments`` runs recipes. The modules beside them are the parts that methods are made
of; they need no Avalanche. ``@cl_prompts.scenario`` and ``@cl_prompts.dataset`` declare functions
of your own that recipes may name.
"""

from cl_prompts.user_code import dataset, scenario

__all__ = ["dataset", "scenario"]

#: the one place of the version; pyproject.toml reads it here
__version__ = "0.1.0"
