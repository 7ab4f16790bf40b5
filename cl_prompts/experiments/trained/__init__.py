"""Trained models, apart from the runs that made them.

``model.Model`` loads, predicts, learns, merges, forgets and saves. ``card`` is ``model.json``,
``ledger`` is ``images.npz``, ``arithmetic`` adds and subtracts, ``training`` trains on a folder,
``exporting`` writes files that need no cl-prompts, ``hub`` shares models on the Hugging Face hub.
"""
