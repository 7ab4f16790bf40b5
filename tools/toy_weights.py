"""Print a SHA-256 of the trained weights of each toy strategy of the tests.

Run it before and after a change that must not alter any number, on one machine, and compare:

    python tools/toy_weights.py > before.txt
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.toy_data import benchmark
from tests.toys import ALL, fit, make, trained_on, weights


def digest(kind: str, scenario: str) -> str:
    """Hash the trained state of a strategy, every tensor with its name."""
    strategy = fit(make(kind, scenario), benchmark(scenario).train_stream)
    found = hashlib.sha256()
    for name, value in sorted(weights(strategy).items()):
        found.update(name.encode())
        found.update(value.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind in ALL:
        for scenario in trained_on(kind):
            print(kind, scenario, digest(kind, scenario)[:20], flush=True)
