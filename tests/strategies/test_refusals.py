"""Settings of methods that mean nothing, alone or together."""

from functools import partial
from pathlib import Path
from typing import Any

from cl_prompts.strategies import (
    EWC,
    Distillation,
    Encoded,
    Head,
    HeadAlignment,
    PromptAveraging,
    Router,
    SelfRegulation,
    SlowHeads,
    SymmetricLoss,
)
from tests.refusals import check_refusals
from tests.toys import make

AVERAGING = [PromptAveraging(checkpoints=3)]
ENCODED = {"prompt_form": Encoded()}
SCALED = {"plugins": [HeadAlignment(feature_scale=0.5)]}
ROUTED = {"plugins": [Router()]}
ROWS: list[tuple[str, dict[str, Any]]] = [
    ("clib", {"plugins": [HeadAlignment()]}),
    ("coda_prompt", {"n_components": 30}),
    ("coda_prompt", {"n_tasks": 10}),
    ("coda_prompt", {"plugins": AVERAGING}),
    ("coda_prompt", {"prompt_length": 3}),
    ("dual_prompt", {"e_blocks": (4,)}),
    ("fine_tuning", {"plugins": [SelfRegulation()]}),
    ("hide_prompt", ENCODED),
    ("l2p", {"copy_keys": True}),
    ("l2p", ROUTED),
    ("ncm", {"plugins": [EWC()]}),
    ("linear_probe", {"head": "cosine"}),
    ("linear_probe", {"head": {"align": 1}}),
    ("linear_probe", {"head": {"input": "white"}}),
    ("multi_lane", {"plugins": [Distillation()]}),
    ("multi_lane", ENCODED),
    ("mvp", {"class_mask": "current"}),
    ("mvp", {"top_k": 11}),
    ("ncm", {"head": Head(input="whitened")}),
    ("one_prompt", {"head": {"kind": "cosine"}, **SCALED}),
    ("one_prompt", {"prompt_form": ["mlp"]}),
    ("one_prompt", {"prompt_form": {"encodde": {}}}),
    ("joint_probe", {"backbone_lr": 1e-5}),
    ("randumb_class", {"width": 400, "memory_gib": 1e-4}),
    ("rainbow", {"backbone_lr": 0.001, "reuse_features": True}),
]
#: where images have several labels
SEVERAL: list[tuple[str, dict[str, Any]]] = [
    ("linear_probe", {"plugins": [SymmetricLoss()]}),
    ("one_prompt", {"class_mask": "batch"}),
    ("one_prompt", {"plugins": [HeadAlignment()]}),
    ("one_prompt", {"plugins": [SelfRegulation()]}),
    ("one_prompt", {"plugins": [SlowHeads()]}),
]


def written(value: Any) -> str:
    """A value as it is, or the name of its class."""
    value = value[0] if isinstance(value, list) else value
    return str(value) if type(value).__module__ == "builtins" else type(value).__name__


def test_refusals() -> None:
    cases = {}
    for scenario, rows in (("si_blurry", ROWS), ("mlcil", SEVERAL)):
        for kind, changes in rows:
            settings = ", ".join(f"{name}={written(value)}" for name, value in changes.items())
            cases[f"{kind} {settings} ({scenario})"] = partial(make, kind, scenario, **changes)
    assert len(cases) == len(ROWS) + len(SEVERAL)
    check_refusals(Path(__file__).with_suffix(".txt"), cases)
