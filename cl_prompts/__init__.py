"""cl-prompts: prompt-based continual learning on frozen Vision Transformers.

``cl_prompts.scenarios`` makes streams, ``cl_prompts.strategies`` learns on them (on Avalanche),
``cl_prompts.experiments`` runs recipes. The modules beside them are the parts that methods are made
of; they need no Avalanche.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cl-prompts")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
