"""Trained models, apart from the runs that made them.

``model.Model`` loads, predicts, learns, merges, forgets and saves, ``training`` makes a model of a
user's images, ``exporting`` writes files that need no cl-prompts, ``hub`` shares models on the
Hugging Face hub.
"""

from pathlib import Path

#: parent of models that are apart from a run
MODELS = Path("models")
