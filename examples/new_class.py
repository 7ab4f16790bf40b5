"""Learn a new class from 1, 2, 5 and 10 images, and measure what the model knows afterwards.

    cl-prompts train photos
    python examples/new_class.py models/photos photos/test foxes/fox

Arguments: a model that ``cl-prompts train`` wrote; a folder ``<class>/*`` of test images of old and
new classes; one folder of images for each new class, named after it. A class that the model knows
is forgotten first. Each number of images is drawn three times.
"""

import random
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch

from cl_prompts import Model
from cl_prompts.errors import InputError

DRAWS = 3


def main(folder: str, test: str, *new: str) -> None:
    """Print the accuracies on the new and the old classes, in percent."""
    torch.set_num_threads(1)
    found: dict[int, list[tuple[float, float]]] = {}
    for place in map(Path, new):
        start = Model.load(folder)
        if place.name in start.classes:
            start.forget(class_name=place.name)
        files = sorted(place.iterdir())
        for n in [n for n in (0, 1, 2, 5, 10) if n <= len(files)]:
            for draw in range(DRAWS if n else 1):
                model = deepcopy(start)
                if n:
                    model.learn(random.Random(draw).sample(files, n), [place.name] * n)
                scores = {row.name: row.value for row in model.evaluate(test).by_class}
                fresh = scores.pop(place.name, 0.0)
                found.setdefault(n, []).append((fresh, np.mean([*scores.values()])))
    print("images   new class           old classes         (mean, middle 95 % of the draws)")
    for n, draws in found.items():
        low, high = np.quantile(draws, [0.025, 0.975], axis=0) * 100
        columns = zip(np.mean(draws, axis=0) * 100, low, high, strict=True)
        print(f"{n:6}", *(f"  {m:5.1f} ({a:5.1f} to {b:5.1f})" for m, a, b in columns))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(f"new_class.py: {error}")
