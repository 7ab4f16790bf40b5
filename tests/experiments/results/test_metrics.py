"""Columns of tables: values found in summaries, and their texts."""

import math

from cl_prompts.experiments.results.metrics import BY_NAME, METRICS, Metric, score
from cl_prompts.metrics.continual import multi_label_run_results, results
from cl_prompts.metrics.curve import Curve


def test_values_are_looked_up_or_undefined() -> None:
    summary = {"results": {"a_last": 0.5, "bwt": None, "fwt": math.nan, "own": math.inf}}
    assert Metric("A_last", ("results", "a_last")).value(summary) == 0.5
    for key in ("bwt", "fwt", "own", "missing"):
        assert score(key, key).value(summary) is None
    assert Metric("seconds", ("no", "such")).value(summary) is None


def test_columns_show_the_numbers_that_the_metrics_have() -> None:
    single, multi = ({c.key for c in (*METRICS[k], *BY_NAME[k])} for k in (False, True))
    further = {"prequential", "prequential_500", "last_label", "memorised", "recovered"}
    assert single == {*results(Curve(), []), *further}
    assert set(multi_label_run_results(Curve(), [])) <= multi
