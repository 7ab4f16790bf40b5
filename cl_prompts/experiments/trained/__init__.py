"""Trained models of finished runs.

``loading.load_run`` restores the strategy of a run folder, ``learning`` trains it on further
images, ``predicting`` writes predictions for image files as CSV, ``exporting`` saves models that
need no cl-prompts, ``hub`` shares runs on the Hugging Face hub.
"""
