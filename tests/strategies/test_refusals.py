"""Settings of methods that mean nothing, alone or together; many more are rows of bad inputs."""

from __future__ import annotations

from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.strategies import (
    Decomposed,
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
from tests.toys import make

AVERAGING = [PromptAveraging(checkpoints=3)]
CHECKPOINTS = "PromptAveraging averages entries of pools"
ENCODED = {"prompt_form": Encoded()}
BY_ENTRY = {"prompt_form": Decomposed(per="entry")}
NO_ENTRIES = "are not single entries of a pool"
ROUTED = {"plugins": [Router()]}
NO_CHOICE = "Router chooses among entries of which each task has one"
SYMMETRIC = "several labels an image have a logistic loss each"
ROWS: list[tuple[str, dict[str, Any], str]] = [
    ("clib", {"head": Head(input="whitened", replayed=False)}, "CLIB trains on replayed samples"),
    ("clib", {"lr_step": 1.0}, "step of the adaptive rate is 1"),
    ("clib", {"plugins": [HeadAlignment()]}, "CLIB trains on replayed ones alone"),
    ("coda_prompt", {"n_components": 30}, "no more than the ViT's width, 16, can be orthogonal"),
    (
        "coda_prompt",
        {"n_tasks": 10},
        "n_components is 9: it must be at least 10, one for",
    ),
    ("coda_prompt", {"plugins": AVERAGING}, CHECKPOINTS),
    ("coda_prompt", {"prompt_length": 3}, "is 3: half of a component's rows are keys"),
    ("coda_prompt", {"prompted_blocks": ()}, "prompted_blocks is empty"),
    ("coda_prompt", BY_ENTRY, "give per='shared'"),
    ("dual_prompt", {"e_blocks": (4,)}, "e_blocks holds block 4, but this ViT has blocks 0 to"),
    ("dual_prompt", {"g_blocks": (1, 1)}, "a block is there twice"),
    ("fine_tuning", {"plugins": [SelfRegulation()]}, "no prompts on a frozen ViT"),
    ("flyprompt", {"prompted_blocks": (7,)}, "prompted_blocks holds block 7"),
    ("hide_prompt", ENCODED, NO_ENTRIES),
    ("l2p", {"copy_keys": True}, "copy_keys copies keys from slot to slot"),
    ("l2p", ROUTED, NO_CHOICE),
    ("linear_probe", {"head": "cosine"}, r"head is 'cosine': give a Head\("),
    ("linear_probe", {"head": {"align": 1}}, "unknown setting of Head 'align'"),
    ("linear_probe", {"head": {"input": "white"}}, "unknown input 'white': did you mean"),
    ("linear_probe", {"plugins": [SelfRegulation()]}, "no prompts on a frozen ViT"),
    ("linear_probe", ROUTED, NO_CHOICE),
    ("misa", {"e_blocks": (9,)}, "e_blocks holds block 9"),
    ("multi_lane", {"plugins": [Distillation()]}, "MultiLane has none: leave it out"),
    ("multi_lane", {"plugins": [SelfRegulation()]}, "a trained head over all classes, and Multi"),
    ("multi_lane", ENCODED, "unknown setting of MultiLane 'prompt_form'"),
    ("mvp", {"class_mask": "current"}, "the loss of MVP is over all classes seen: leave out"),
    ("mvp", {"top_k": 11}, "top_k is 11"),
    ("mvp", ROUTED, f"{NO_CHOICE}, and MVP has"),
    ("ncm", {"head": Head(input="whitened")}, "unknown setting of NCM 'head'"),
    ("ncm", {"plugins": [SymmetricLoss()]}, "needs a trained head over all classes, and NCM has"),
    ("ncm", ROUTED, NO_CHOICE),
    ("one_prompt", {"prompt_form": ["mlp"]}, r"prompt_form is 'mlp': give Encoded\("),
    ("one_prompt", {"prompt_form": {"encodde": {}}}, "unknown form of prompts 'encodde': did you"),
    ("one_prompt", BY_ENTRY, "OnePrompt has none: give per='shared'"),
    ("rainbow", {"backbone_lr": 1e-3, "reuse_features": True}, "use it with backbone_lr=0"),
    ("smope", {"plugins": AVERAGING}, CHECKPOINTS),
    ("smope", {"top_k": 5}, "top_k is 5: it must be between 1 and 4"),
    ("smope", BY_ENTRY, "give per='shared'"),
    ("smope", ENCODED, NO_ENTRIES),
    ("vq_prompt", {"plugins": AVERAGING}, CHECKPOINTS),
    ("vq_prompt", ENCODED, NO_ENTRIES),
    ("additive_prompt", {"plugins": AVERAGING}, CHECKPOINTS),
]
#: where images have several labels
SEVERAL: list[tuple[str, dict[str, Any], str]] = [
    ("linear_probe", {"plugins": [SymmetricLoss()]}, SYMMETRIC),
    ("one_prompt", {"class_mask": "batch"}, "class_mask=batch is defined for one class per image"),
    ("one_prompt", {"plugins": [HeadAlignment()]}, "images of several are no such draws"),
    ("one_prompt", {"plugins": [SelfRegulation()]}, "SelfRegulation compares softmaxes"),
    ("one_prompt", {"plugins": [SlowHeads()]}, "SlowHeads decides by a softmax"),
]


@pytest.mark.parametrize(("kind", "changes", "says"), ROWS)
def test_settings_without_a_meaning_are_refused(
    kind: str, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        make(kind, **changes)


@pytest.mark.parametrize(("kind", "changes", "says"), SEVERAL)
def test_what_is_for_one_label_is_refused(kind: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make(kind, "mlcil", **changes)
