"""Lists of names, and of settings with their descriptions."""

import json
from pathlib import Path

import pytest

from cl_prompts.datasets.registry import DATASETS
from cl_prompts.errors import InputError
from cl_prompts.experiments.cli.entry import parsed
from cl_prompts.experiments.cli.listing import listed, listed_models, lists, shown_text
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


def test_models_are_listed_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make one with cl-prompts train FOLDER"):
        listed_models(tmp_path)
    event = {"images": 9, "date": "2026-12-07 12:00:00 +0000"}
    card = {"method": "ncm", "classes": ["a", "b"], "accuracy": {"value": 0.5}, "history": [event]}
    for name, own in {"first": card, "second": card | {"accuracy": None}, "broken": {}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text(json.dumps(own))
    rows = [line.split() for line in listed_models(tmp_path).splitlines()]
    assert rows[0] == ["model", "method", "classes", "images", "accuracy", "date"]
    assert sorted(rows[1:]) == [
        [f"{tmp_path}/first", "ncm", "2", "9", "50.0", "%", "2026-12-07", "12:00"],
        [f"{tmp_path}/second", "ncm", "2", "9", "-", "2026-12-07", "12:00"],
    ]


def test_a_wrong_command_names_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown command 'trian': did you mean 'train'"):
        parsed(["trian", "photos"])
