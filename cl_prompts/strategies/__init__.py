"""Avalanche strategies, one per method, and anytime evaluation.

Importing this package is cheap; Avalanche is loaded when a strategy is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_prompts.strategies.base.online import OnlineStrategy
    from cl_prompts.strategies.clib import CLIB
    from cl_prompts.strategies.coda_prompt import CODAPrompt
    from cl_prompts.strategies.derpp import DERPlusPlus
    from cl_prompts.strategies.dual_prompt import DualPrompt
    from cl_prompts.strategies.er import ExperienceReplay
    from cl_prompts.strategies.ewcpp import EWCPlusPlus
    from cl_prompts.strategies.fine_tuning import FineTuning, Joint
    from cl_prompts.strategies.l2p import L2P
    from cl_prompts.strategies.linear_probe import LinearProbe
    from cl_prompts.strategies.lwf import LwF
    from cl_prompts.strategies.multi_lane import MultiLane
    from cl_prompts.strategies.mvp import MVP
    from cl_prompts.strategies.ncm import NCM
    from cl_prompts.strategies.one_prompt import OnePrompt
    from cl_prompts.strategies.plugins.anytime import AnytimeEvaluation
    from cl_prompts.strategies.plugins.multi_label_metrics import MultiLabelMetrics, refuse_accuracy
    from cl_prompts.strategies.rainbow import RainbowMemory
    from cl_prompts.strategies.ranpac import RanPACProbe
    from cl_prompts.strategies.s_prompt import SPrompt
    from cl_prompts.strategies.slda import SLDA

#: name in recipes -> (module here, class, what it is): the one line that a new strategy needs
STRATEGIES = {
    "mvp": ("mvp", "MVP", "mask and visual prompt tuning (ICCV 2023); MVP-R with buffer_size"),
    "multi_lane": (
        "multi_lane",
        "MultiLane",
        "summarised patch tokens, one pathway per task (CoLLAs 2024)",
    ),
    "l2p": ("l2p", "L2P", "learning to prompt: prompts at the input, chosen by keys (CVPR 2022)"),
    "dual_prompt": (
        "dual_prompt",
        "DualPrompt",
        "general and expert prefixes, one expert per task (ECCV 2022)",
    ),
    "coda_prompt": (
        "coda_prompt",
        "CODAPrompt",
        "prompts mixed from components that grow by task (CVPR 2023)",
    ),
    "s_prompt": (
        "s_prompt",
        "SPrompt",
        "S-Prompt++: an independent prefix per task, chosen by key",
    ),
    "one_prompt": (
        "one_prompt",
        "OnePrompt",
        "one shared prefix, no pool and no query: the reference for pools",
    ),
    "linear_probe": ("linear_probe", "LinearProbe", "only a linear head on the frozen class token"),
    "fine_tuning": (
        "fine_tuning",
        "FineTuning",
        "all weights, AdamW, small learning rate on the backbone",
    ),
    "er": ("er", "ExperienceReplay", "experience replay: stream and a reservoir together"),
    "derpp": ("derpp", "DERPlusPlus", "DER++: replay with the logits of then (NeurIPS 2020)"),
    "ewcpp": (
        "ewcpp",
        "EWCPlusPlus",
        "EWC++: replay and a price on moving what mattered (ECCV 2018)",
    ),
    "lwf": (
        "lwf",
        "LwF",
        "learning without forgetting: an earlier model as teacher, no memory (ECCV 2016)",
    ),
    "rainbow": (
        "rainbow",
        "RainbowMemory",
        "Rainbow Memory: class-balanced memory and rehearsals on it (CVPR 2021)",
    ),
    "clib": ("clib", "CLIB", "trains on a memory of the most useful samples alone (ICLR 2022)"),
    "joint": ("fine_tuning", "Joint", "upper bound: all data at once, i.i.d., several epochs"),
    "ncm": ("ncm", "NCM", "nearest class mean of frozen features, no gradient"),
    "slda": (
        "slda",
        "SLDA",
        "running means, one shared covariance, no gradient (CVPR-W 2020)",
    ),
    "ranpac": (
        "ranpac",
        "RanPACProbe",
        "ridge regression on random projections, no gradient (NeurIPS 2023)",
    ),
}

_PLACES = {cls: module for module, cls, _ in STRATEGIES.values()}
_PLACES |= {"OnlineStrategy": "base.online", "AnytimeEvaluation": "plugins.anytime"}
_PLACES |= dict.fromkeys(("MultiLabelMetrics", "refuse_accuracy"), "plugins.multi_label_metrics")

__all__ = [
    "CLIB",
    "L2P",
    "MVP",
    "NCM",
    "SLDA",
    "STRATEGIES",
    "AnytimeEvaluation",
    "CODAPrompt",
    "DERPlusPlus",
    "DualPrompt",
    "EWCPlusPlus",
    "ExperienceReplay",
    "FineTuning",
    "Joint",
    "LinearProbe",
    "LwF",
    "MultiLabelMetrics",
    "MultiLane",
    "OnePrompt",
    "OnlineStrategy",
    "RainbowMemory",
    "RanPACProbe",
    "SPrompt",
    "refuse_accuracy",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def strategy_class(name: str) -> type[OnlineStrategy]:
    """The class behind a key of ``STRATEGIES``."""
    found: type[OnlineStrategy] = __getattr__(STRATEGIES[name][1])
    return found
