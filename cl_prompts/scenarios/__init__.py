"""Scenarios: splits of labels into tasks, data sets and Avalanche benchmarks.

Everything is imported on first access: splits need no Avalanche, benchmarks do.
"""

from cl_prompts.catalog import door

__getattr__, __dir__ = door(
    __name__,
    ".datasets.catalog.DATASETS .datasets.dataset.DataSet .datasets.dataset.as_dataset"
    " .datasets.label_noise.LabelNoise"
    " .datasets.registry.load_dataset benchmarks.benchmark_builder benchmarks.benchmark_from_split"
    " benchmarks.class_incremental_benchmark benchmarks.disjoint_benchmark"
    " benchmarks.domain_incremental_benchmark benchmarks.i_blurry_benchmark"
    " benchmarks.mlcil_benchmark benchmarks.si_blurry_benchmark"
    " benchmarks.si_blurry_multi_label_benchmark class_incremental.class_incremental_split"
    " class_incremental.mlcil_split domain_incremental.DomainSplit"
    " domain_incremental.domain_incremental_split multi_label_split.MultiLabelSplit"
    " registry.SCENARIOS registry.Scenario registry.find_scenario"
    " si_blurry.disjoint_split si_blurry.i_blurry_split"
    " si_blurry.si_blurry_split si_blurry_multi_label.si_blurry_multi_label_split split.BaseSplit"
    " split.Split",
)
# Without class_incremental_benchmark, so that ``import *`` does not hide Avalanche's.
__all__ = [name for name in __dir__() if name != "class_incremental_benchmark"]
