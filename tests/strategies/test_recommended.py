"""The recommended composition is made of parts that exist, and says nothing of its own."""

from __future__ import annotations

import torch

from tests.toy_data import Blobs, experiences
from tests.toys import fit, make


def test_it_is_its_parts_on_either_kind_of_labels() -> None:
    images = Blobs(12, seed=7).images
    parts = {"si_blurry": "balanced_ridge", "mlcil": "multi_label_ridge"}
    for scenario, part in parts.items():
        settings = {"ridge": 100.0} if scenario == "mlcil" else {}
        both = [
            fit(make(kind, scenario, **changes), experiences(scenario)).model(images)
            for kind, changes in (
                ("recommended", {}),
                (part, {"features": "blocks:half", **settings}),
            )
        ]
        assert torch.equal(*both)
