"""Inspection of a prompted model: usage of each prompt, and similarity of keys."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.models.base import ContinualModel


def innermost_selector(model: ContinualModel) -> nn.Module | None:
    """The selector that holds keys and counts, below all selectors around it; None for a model
    without one."""
    selector = getattr(model, "selector", None)
    while isinstance(inner := getattr(selector, "inner", None), nn.Module):
        selector = inner
    return selector


def prompt_usage(model: ContinualModel) -> Tensor | None:
    """(prompts,) uses of each prompt in training so far, a copy; None for a model without
    selection.

    A use is a selection; where prompts are mixed (CODA-Prompt), a weight of absolute value 1,
    averaged over blocks.
    """
    count = getattr(innermost_selector(model), "count", None)
    return None if count is None else cast(Tensor, count).detach().clone()


def key_similarity(model: ContinualModel) -> Tensor | None:
    """(prompts, prompts) cosine between keys; the mean over blocks where keys differ by block; None
    without keys."""
    key = getattr(innermost_selector(model), "key", None)
    if key is None:
        return None
    rows = F.normalize((key() if isinstance(key, nn.Module) else key).detach().float(), dim=-1)
    cosine = rows @ rows.transpose(-1, -2)
    return cosine.mean(dim=0) if cosine.dim() == 3 else cosine
