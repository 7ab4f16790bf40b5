"""Scenarios: splits of labels into tasks, data sets and Avalanche benchmarks.

Splits only compute indices. Modules that read images or need Avalanche are imported on first
access, so that ``import cl_prompts.scenarios`` is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_prompts.catalog import door
from cl_prompts.scenarios.class_incremental import class_incremental_split, mlcil_split
from cl_prompts.scenarios.domain_incremental import DomainSplit, domain_incremental_split
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit, MultiLabelTask
from cl_prompts.scenarios.registry import SCENARIOS, Scenario, find_scenario
from cl_prompts.scenarios.si_blurry import (
    disjoint_split,
    i_blurry_split,
    iid_split,
    si_blurry_split,
)
from cl_prompts.scenarios.si_blurry_multi_label import si_blurry_multi_label_split
from cl_prompts.scenarios.split import BaseSplit, Split

if TYPE_CHECKING:
    from cl_prompts.datasets.registry import DATASETS, DataSet, as_dataset, load_dataset
    from cl_prompts.scenarios.benchmarks import (
        benchmark_builder,
        benchmark_from_split,
        disjoint_benchmark,
        domain_incremental_benchmark,
        i_blurry_benchmark,
        iid_benchmark,
        mlcil_benchmark,
        si_blurry_benchmark,
        si_blurry_multi_label_benchmark,
    )

# Without class_incremental_benchmark, so that ``import *`` does not hide Avalanche's.
__all__ = [
    "DATASETS",
    "SCENARIOS",
    "BaseSplit",
    "DataSet",
    "DomainSplit",
    "MultiLabelSplit",
    "MultiLabelTask",
    "Scenario",
    "Split",
    "as_dataset",
    "benchmark_builder",
    "benchmark_from_split",
    "class_incremental_split",
    "disjoint_benchmark",
    "disjoint_split",
    "domain_incremental_benchmark",
    "domain_incremental_split",
    "find_scenario",
    "i_blurry_benchmark",
    "i_blurry_split",
    "iid_benchmark",
    "iid_split",
    "load_dataset",
    "mlcil_benchmark",
    "mlcil_split",
    "si_blurry_benchmark",
    "si_blurry_multi_label_benchmark",
    "si_blurry_multi_label_split",
    "si_blurry_split",
]

__getattr__, __dir__ = door(
    __name__,
    ".datasets.catalog.DATASETS .datasets.dataset.DataSet .datasets.dataset.as_dataset"
    " .datasets.registry.load_dataset benchmarks.benchmark_builder benchmarks.benchmark_from_split"
    " benchmarks.class_incremental_benchmark benchmarks.disjoint_benchmark"
    " benchmarks.domain_incremental_benchmark benchmarks.i_blurry_benchmark"
    " benchmarks.iid_benchmark benchmarks.mlcil_benchmark benchmarks.si_blurry_benchmark"
    " benchmarks.si_blurry_multi_label_benchmark",
    *__all__,
)
