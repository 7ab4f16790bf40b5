"""The command line builds exactly the pairs that docs/reference/matrix.md lists."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.scenarios.registry import SCENARIOS
from cl_prompts.strategies import STRATEGIES
from tests.few_images import few_images
from tests.toy_data import ANNOUNCED

#: column of the page -> what the command line is given
FORMS = {
    **{name: [f"scenario={name}", "n_tasks=2"] for name in SCENARIOS},
    "mlcil": ["scenario=mlcil", "protocol=B0-C5"],
    "domain_incremental": ["scenario=domain_incremental", "dataset=digit_domains"],
    "domain_incremental announced=false": [
        "scenario=domain_incremental",
        "dataset=digit_domains",
        "announced=false",
    ],
}
PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "matrix.md").read_text()


def several_labels(form: str) -> bool:
    return SCENARIOS[form.split()[0]].multi_label


def documented() -> dict[tuple[str, str], str]:
    """(strategy, scenario) -> "runs" or "refused", as the page has it."""
    several = {form for form in FORMS if several_labels(form)}
    text, table = PAGE.partition("These also run with several:")[2].split("\n\n")[:2]
    names = dict.fromkeys(re.findall(r"`(\w+)`", text), "runs")
    names |= {row.split()[1]: "refused" for row in table.splitlines()[2:]}
    return {
        (name, form): what if form in several else "runs"
        for name, what in names.items()
        for form in FORMS
    }


CELLS = documented()
SENTENCE = next(
    line.strip() for line in PAGE.splitlines() if line.startswith("    strategy 'STRATEGY'")
)


def test_the_page_has_every_strategy_and_every_scenario_and_a_reason_for_each_refusal() -> None:
    assert set(CELLS) == {(strategy, form) for strategy in STRATEGIES for form in FORMS}
    assert set(CELLS.values()) == {"runs", "refused"}
    for line in PAGE.partition("\n## ")[0].splitlines():
        if line.startswith("| ") and "---" not in line:
            assert len(line.split("|")[-2].strip()) > 12, line


@pytest.fixture(scope="module")
def resources() -> Iterator[Resources]:
    with few_images():
        yield Resources()


def settings_of(strategy: str, scenario: str) -> RunConfig:
    """Result of the command line, with each strategy's settings of the recipe for digits."""
    recipe = "digit_scenes" if several_labels(scenario) else "digits_all"
    (settings,) = plan(recipe, [f"strategy={strategy}", *FORMS[scenario], "seed=1"])
    return settings


def columns() -> Iterator[tuple[str, str]]:
    """Each strategy on a stream that announces its tasks, on another one in turn, and on one of
    several labels: the page tells apart no more."""
    kinds = [[], [], []]  # type: list[list[str]]
    for form in FORMS:
        kinds[2 if several_labels(form) else form not in ANNOUNCED].append(form)
    for turn, strategy in enumerate(STRATEGIES):
        yield from ((strategy, forms[turn % len(forms)]) for forms in kinds)


@pytest.mark.parametrize(("strategy", "scenario"), columns())
def test_a_cell_builds_or_is_refused_as_the_page_says(
    strategy: str, scenario: str, resources: Resources
) -> None:
    settings = settings_of(strategy, scenario)
    if CELLS[strategy, scenario] == "runs":
        run = build_run(settings, resources)
        assert run.split.n_tasks == (4 if scenario.startswith("domain") else 2)
        assert run.split.boundaries == (scenario in ANNOUNCED)
        assert run.strategy.model.multi_label == several_labels(scenario)
        return
    able = [name for name in STRATEGIES if CELLS[name, scenario] == "runs"]
    named = {"STRATEGY": strategy, "DATA": settings.dataset["name"], "STRATEGIES": ", ".join(able)}
    with pytest.raises(InputError) as caught:
        build_run(settings, resources)
    assert str(caught.value) == re.sub(
        "|".join(sorted(named, key=len, reverse=True)), lambda m: named[m[0]], SENTENCE
    )
