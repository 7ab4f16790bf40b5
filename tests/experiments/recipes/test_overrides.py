"""Overrides of the command line are set in the right section, or refused."""

from pathlib import Path

import pytest

from cl_prompts.experiments.recipes.run_config import plan

OWN = "tests.experiments.own_parts"


def test_overrides_go_where_their_key_belongs() -> None:
    places = ["n_tasks=3", "classes=[1, 2]", "every=7", "weights=random"]
    options = ["pool_size=5", "lr=1e-2", "mvp.alpha=1"]
    (run,) = plan("digits", ["strategy=mvp", "seed=1", *places, *options])
    assert run.scenario["n_tasks"] == 3
    assert run.dataset["classes"] == [1, 2]
    assert run.evaluation["every"] == 7
    assert run.backbone["weights"] == "random"
    assert (run.options["pool_size"], run.options["lr"], run.options["alpha"]) == (5, 0.01, 1.0)
    (run,) = plan("digits", ["strategy=ncm", "seed=1", "dataset.name=cifar10"])
    assert run.dataset["name"] == "cifar10"


def test_settings_of_one_strategy_replace_shared_ones() -> None:
    runs = plan("digits", ["strategy=mvp,linear_probe,er", "er.lr=0.5", "lr=0.1", "seed=1"])
    rates = {run.strategy: run.options["lr"] for run in runs}
    assert rates == {"mvp": 0.1, "linear_probe": 0.1, "er": 0.5}
    shared = ["rainbow.buffer_size=9", "buffer_size=8", "period=7"]
    runs = plan("digits_all", ["strategy=rainbow,ewcpp", "seed=1", *shared])
    found = [(run.options["buffer_size"], run.options["period"]) for run in runs]
    assert found == [(9, 7), (8, 7)]
    (run,) = plan("digits", ["strategy=er", "training.buffer_size=8", "er.lr=1.0", "seed=1"])
    assert (run.options["buffer_size"], run.options["lr"]) == (8, 1.0)
    (run,) = plan("digits", ["strategy=er", "er.lr=1.0", "training.lr=0.5", "seed=1"])
    assert run.options["lr"] == 1.0


def test_shared_settings_skip_strategies_without_them() -> None:
    runs = plan("digits", ["strategy=one_prompt,ncm,mvp", "seed=1", "head.input=whitened"])
    found = {run.strategy: run.options.get("head", {}).get("input") for run in runs}
    assert found == {"one_prompt": "whitened", "ncm": None, "mvp": "whitened"}
    texts = ["strategy=one_prompt,ncm,mvp,multi_lane", "seed=1", "head_alignment.epochs=2"]
    runs = plan("digits", texts)
    found = {run.strategy: set(run.options["plugins"]) for run in runs}
    both = {"head_alignment"}
    assert found == {"one_prompt": both, "ncm": set(), "mvp": both, "multi_lane": set()}
    (alone,) = plan("digits", ["strategy=ncm", "seed=1", "head_alignment.epochs=2"])
    assert set(alone.options["plugins"]) == both  # and refused when it is built


def test_a_users_strategy_is_set_by_label_or_name() -> None:
    name = f"{OWN}:Doubled"
    for key in ("factor", "Doubled.factor", f"{name}.factor"):
        (run,) = plan("digits", ["seed=1", f"strategy={name}", f"{key}=4.5"])
        assert (run.strategy, run.options["factor"]) == (name, 4.5)
    runs = plan("digits", ["seed=1", f"strategy=er,{name}", "lr=0.25"])
    assert [run.options["lr"] for run in runs] == [0.25, 0.25]


def test_nested_settings_are_set_by_their_dotted_path() -> None:
    (run,) = plan(
        "digits",
        [
            "strategy=mvp",
            "seed=1",
            "mvp.head.input=whitened",
            "head.tau=null",
            "prompt_form=decomposed",
            "mvp.prompt_form.decomposed.rank=5",
            "plugins=slow_heads",
            "mvp.self_regulation.kind=coprompt",
        ],
    )
    assert (run.options["head"]["input"], run.options["head"]["tau"]) == ("whitened", None)
    assert run.options["prompt_form"]["decomposed"]["rank"] == 5
    assert list(run.options["plugins"]) == ["slow_heads", "self_regulation"]
    assert run.options["plugins"]["self_regulation"]["kind"] == "coprompt"
    assert run.options["plugins"]["slow_heads"]["decays"] == [0.9, 0.99]


@pytest.mark.parametrize(
    "texts",
    [
        ["mvp.head.input=raw", "head.input=whitened"],
        ["head.input=whitened", "mvp.head.input=raw"],
        ["mvp.self_regulation.kind=coprompt", "mvp.plugins=slow_heads", "mvp.head.input=raw"],
    ],
)
def test_the_order_of_overrides_does_not_matter(texts: list[str]) -> None:
    (run,) = plan("digits", ["strategy=mvp", "seed=1", *texts])
    assert run.options["head"]["input"] == "raw"
    if len(texts) == 3:
        assert set(run.options["plugins"]) == {"slow_heads", "self_regulation"}


def test_a_name_without_settings_keeps_earlier_ones(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "extends: digits\n"
        "strategies:\n"
        "  mvp: {plugins: {slow_heads: {decays: [0.5]}}}\n"
        "  mvp@both: {plugins: [slow_heads, self_regulation]}\n"
    )
    (run,) = plan(str(recipe), ["strategy=mvp@both", "seed=1"])
    assert run.options["plugins"]["slow_heads"]["decays"] == [0.5]
    assert "self_regulation" in run.options["plugins"]
