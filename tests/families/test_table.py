"""The table of toys has a row for every strategy and a stream for every scenario."""

from cl_prompts.scenarios.registry import SCENARIOS
from cl_prompts.strategies import STRATEGIES
from tests.toy_data import BENCHMARKS
from tests.toys import TABLE, VARIANTS


def test_every_strategy_has_a_row() -> None:
    missing = sorted(set(STRATEGIES) - set(TABLE))
    assert not missing, f"tests/toys.py: TABLE needs a row for {', '.join(missing)}"
    foreign = sorted(set(TABLE) - set(STRATEGIES))
    assert not foreign, f"tests/toys.py: TABLE has rows of no strategy: {', '.join(foreign)}"
    assert {row.strategy for row in VARIANTS.values()} <= set(STRATEGIES)
    assert not set(VARIANTS) & set(TABLE)


def test_every_scenario_has_a_toy_stream() -> None:
    missing = sorted(set(SCENARIOS) - set(BENCHMARKS))
    assert not missing, f"tests/toy_data.py: BENCHMARKS needs a stream of {', '.join(missing)}"
