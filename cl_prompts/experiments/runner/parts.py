"""Parts of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cl_prompts.datasets.registry import DataSet
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.plugins.anytime import AnytimeEvaluation


@dataclass
class Parts:
    """Parts of a run, built from its settings; in these nothing is left to be chosen."""

    settings: RunConfig
    data: DataSet
    split: Any
    benchmark: Any
    strategy: OnlineStrategy
    anytime: AnytimeEvaluation
