"""Lists of names, and of settings with their descriptions."""

from cl_prompts.datasets.registry import DATASETS
from cl_prompts.experiments.cli.listing import listed, lists, shown_text
from cl_prompts.experiments.recipes.parameters import parameters
from cl_prompts.experiments.recipes.recipe_files import recipe_names
from cl_prompts.scenarios.registry import SCENARIOS
from cl_prompts.strategies import PLUGINS, STRATEGIES


def names_in(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines() if line.startswith("  ")]


def test_one_list_is_chosen_by_its_name() -> None:
    assert names_in(listed("strategies")) == names_in(listed("strategy")) == [*STRATEGIES, "..."]
    assert names_in(listed()) == [name for entries in lists().values() for name in entries]
    everything = {*recipe_names(), *STRATEGIES, *PLUGINS, *SCENARIOS, *DATASETS, "glyph_vit_tiny"}
    assert {*names_in(listed())} >= everything


def test_every_setting_of_a_strategy_is_shown_with_default_and_sentence() -> None:
    for name in STRATEGIES:
        lines = shown_text(["strategy", name]).splitlines()
        for key in parameters("strategy", name):
            (place,) = (i for i, line in enumerate(lines) if line.startswith(f"  {key}="))
            assert lines[place + 1].startswith("      "), f"{name}.{key} has no sentence"


def test_settings_are_written_as_recipes_write_them() -> None:
    text = shown_text(["strategy", "mvp"])
    assert "  pool_size=10\n      Number of E-prompts, keys and logit masks" in text
    assert "  e_blocks=[2, 3, 4]\n" in text
    assert '  gsf_reduction=sample  (sample, batch_mean)\n      GSF weights per "sample"' in text
    own, shared = text.split("shared settings")
    assert "  pool_size=" in own
    assert "  lr=" in shared
