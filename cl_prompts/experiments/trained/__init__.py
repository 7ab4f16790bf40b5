"""Trained models, apart from the runs that made them.

``model.Model`` loads, predicts, learns, merges, forgets and saves, ``training`` makes a model of a
user's images, ``exporting`` writes files that need no cl-prompts, ``hub`` shares models on the
Hugging Face hub.
"""

from pathlib import Path

from cl_prompts.checks import is_one_name
from cl_prompts.errors import InputError

#: parent of models that are apart from a run
MODELS = Path("models")


def named(name: str) -> Path:
    """Return the folder of a model of this name.

    Raises:
        InputError: a path, which may lead out of ``models/``.

    Example:
        >>> named("birds").as_posix()
        'models/birds'
    """
    if not is_one_name(name):
        raise InputError(f"{name!r} is not a name: give one without slashes, such as birds")
    return MODELS / name
