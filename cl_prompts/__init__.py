"""cl-prompts: prompt-based continual learning on frozen Vision Transformers.

``cl_prompts.scenarios`` makes streams, ``cl_prompts.strategies`` trains on them (with Avalanche),
``cl_prompts.experiments`` runs recipes. The other modules are parts of methods and do not need
Avalanche. ``@cl_prompts.scenario`` and ``@cl_prompts.dataset`` declare user functions that recipes
may name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_prompts.catalog import door
from cl_prompts.user_code import dataset, load_late, scenario
from cl_prompts.versions import NUMBERS, __version__

if TYPE_CHECKING:
    from cl_prompts.experiments.trained.model import Model

__all__ = ["NUMBERS", "Model", "__version__", "dataset", "scenario"]

__getattr__, __dir__ = door(
    __name__, "experiments.trained.model.Model", "NUMBERS", "__version__", "dataset", "scenario"
)

# Avalanche imports it for GEM alone, and it imports each installed solver: with pip twenty.
load_late("qpsolvers")
