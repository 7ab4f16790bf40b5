"""Recipes and overrides: every key comes from a signature, every mistake gets a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipe_files import load_recipe, recipe_names, recipe_text
from cl_prompts.experiments.settings import Settings, plan
from cl_prompts.experiments.signatures import strategy_parameters
from cl_prompts.strategies import STRATEGIES


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_opens_with_its_command_and_resolves(name: str) -> None:
    text = recipe_text(name)
    assert text.startswith(f"# cl-prompts run {name}")
    runs = plan(name)
    assert runs
    assert all(Settings.from_yaml(run.to_yaml()) == run for run in runs)
    assert recipe_names()[name]


def test_the_embedded_default_exists_for_each_strategy() -> None:
    for strategy in STRATEGIES:
        assert list(load_recipe(f"digits_{strategy}")["strategies"]) == [strategy]


def test_a_strategy_that_a_recipe_does_not_name_has_its_own_recipe_s_settings() -> None:
    runs = plan("digits", [f"strategy={','.join(STRATEGIES)}", "seed=1", "er.buffer_size=7"])
    for run in runs:
        (own,) = plan(f"digits_{run.strategy}", ["seed=1"])
        changed = {"buffer_size": 7} if run.strategy == "er" else {}
        assert run.options == own.options | changed, run.strategy
    for own in ("digits_rainbow", "digits_er"):  # what it extends counts
        assert plan(own, ["strategy=ewcpp"])[0].options["period"] == 300
        assert plan(own, ["strategy=mvp"])[0].options["e_blocks"] == [2, 3, 4]
    assert plan("cifar100", ["strategy=l2p"])[0].options["pull_weight"] == 0.5
    assert plan("digit_scenes", ["strategy=l2p"])[0].options["pull_weight"] != 0.5


def test_a_plan_is_every_strategy_with_every_seed() -> None:
    runs = plan("digits", ["strategy=mvp,joint", "seed=4,5"])
    assert [(r.strategy, r.seed, r.stream_seed) for r in runs] == [
        ("mvp", 4, 4),
        ("mvp", 5, 5),
        ("joint", 4, 4),
        ("joint", 5, 5),
    ]
    assert [r.stream_seed for r in plan("digits", ["stream_seed=7", "strategy=mvp"])] == [7, 7, 7]


def test_overrides_go_where_their_key_belongs() -> None:
    scenario = ["n_tasks=3", "classes=[1, 2]", "every=7", "weights=random"]
    (run,) = plan(
        "digits", ["strategy=mvp", "seed=1", *scenario, "pool_size=5", "lr=1e-2", "mvp.alpha=1"]
    )
    assert run.scenario["n_tasks"] == 3
    assert run.dataset["classes"] == [1, 2]
    assert (run.options["pool_size"], run.options["lr"], run.options["alpha"]) == (5, 0.01, 1.0)
    assert run.evaluation["every"] == 7
    assert run.backbone["weights"] == "random"
    runs = plan("digits", ["fine_tuning.lr=0.5", "lr=0.1", "seed=1"])
    assert {r.strategy: r.options["lr"] for r in runs} == {
        "mvp": 0.1,
        "linear_probe": 0.1,
        "fine_tuning": 0.5,
    }
    shared = [
        "strategy=rainbow,ewcpp",
        "seed=1",
        "rainbow.buffer_size=9",
        "buffer_size=8",
        "period=7",
    ]  # a recipe has its own
    assert [
        (r.options["buffer_size"], r.options["period"]) for r in plan("digits_all", shared)
    ] == [(9, 7), (8, 7)]
    (both,) = plan("digits_er", ["training.buffer_size=8", "er.lr=1.0", "seed=1"])
    assert (both.options["buffer_size"], both.options["lr"]) == (8, 1.0)
    assert [
        r.options["lr"] for r in plan("digits_er", ["er.lr=1.0", "training.lr=0.5", "seed=1"])
    ] == [1.0]


def test_lists_need_no_brackets() -> None:
    for text in ("[1,2]", "1,2"):
        (run,) = plan("digits", ["strategy=mvp", "seed=1", f"classes={text}", f"e_blocks={text}"])
        assert (run.dataset["classes"], run.options["e_blocks"]) == ([1, 2], [1, 2])


def test_defaults_are_those_of_the_signature() -> None:
    (run,) = plan("digits_mvp", ["seed=1"])
    accepted = strategy_parameters("mvp")
    assert set(run.options) == set(accepted)
    assert run.options["gamma"] == accepted["gamma"][1] == 2.0
    assert run.options["e_length"] == 20
    assert not {"model", "backbone", "optimizer", "plugins", "evaluator", "self"} & set(accepted)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["n_task=3"], "unknown key 'n_task': did you mean 'n_tasks'?"),
        (["mvp.pool_sise=3"], "unknown key of mvp 'pool_sise': did you mean 'pool_size'?"),
        (["scenarios.n_tasks=3"], "unknown section 'scenarios': did you mean 'scenario'?"),
        (["strategy=mvpp"], "unknown strategy 'mvpp': did you mean 'mvp'?"),
        (["dataset=digit"], "unknown data set 'digit': did you mean 'digits'?"),
        (["scenario=siblurry"], "unknown scenario 'siblurry': did you mean 'si_blurry'?"),
        (["n_tasks=three"], "scenario: n_tasks is 'three', but input should be a valid integer"),
        (["n_tasks=2.5"], "n_tasks is 2.5"),
        (["use_mask=1"], "use_mask is 1, but input should be a valid boolean"),
        (["leftover=lose"], "leftover is 'lose'"),
        (["seed=x"], "seed is 'x': it must be a whole number"),
        (["seed=-1"], "seed is -1"),
        (["n_tasks"], "'n_tasks' is not of the form key=value"),
        (["strategy="], "strategy is None: it should be a name, or several as a,b"),
        (["strategy={mvp: 1}"], "strategy is {'mvp': 1}: it should be a name"),
        (["scenario=[a]"], "scenario is ['a']: it should be a name"),
        (["dataset={a: b}"], "dataset is {'a': 'b'}: it should be a name"),
        (
            ["l2p.pool_size=3"],
            "l2p.pool_size is of a strategy that does not run: add strategy=l2p, or leave it out",
        ),
        (["classes=5.5"], "classes is 5.5, but input should be a valid integer or a list"),
        (
            ["strategy=linear_probe", "pool_size=3"],
            "unknown key 'pool_size' of linear_probe: it belongs to mvp, l2p",
        ),
        (
            ["scenario=si_blurry", "protocol=B0-C2"],
            "unknown key 'protocol' of scenario 'si_blurry': it belongs to mlcil",
        ),
        (["batch_size=3", "num_workers=-1"], "num_workers is -1"),
    ],
)
def test_mistakes_get_one_sentence(overrides: list[str], says: str) -> None:
    with pytest.raises(InputError) as caught:
        plan("digits", overrides)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_recipes(tmp_path: Path) -> None:
    cases = {
        "not valid YAML": "dataset: [",
        "holds no sections": "just text",
        "unknown section of recipe": "datasets: {name: digits}",
        "names no strategy": "dataset: {name: digits}",
        "section 'scenario' of recipe .* is 3: it should map settings to values": (
            "extends: digits\nscenario: 3"
        ),
        "strategy mvp of recipe .* is 3": "extends: digits\nstrategies: {mvp: 3}",
        "section 'strategies' of recipe .* is 5": "extends: digits\nstrategies: 5",
        "unknown recipe 'nowhere'": "extends: nowhere",
        "section 'scenario' has no name": (
            "dataset: {name: digits}\nstrategies: {mvp: }\nbackbone: {name: glyph_vit_tiny}"
        ),
    }
    for says, text in cases.items():
        file = tmp_path / "mine.yaml"
        file.write_text(text)
        with pytest.raises(InputError, match=says):
            plan(str(file))
    file.write_text(f"extends: {file}")
    with pytest.raises(InputError, match=r"mine\.yaml extends itself"):
        plan(str(file))
    with pytest.raises(InputError, match="did you mean 'digits_mvp'"):
        plan("digits_mpv")
    with pytest.raises(InputError, match="does not exist"):
        plan(str(tmp_path / "none.yaml"))


def test_an_own_recipe_extends_one_of_the_package(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "extends: digits\nscenario: {n_tasks: 2}\nstrategies: {linear_probe: {lr: 1e-3}}\nseeds:"
        " [9]\n"
    )
    (run,) = plan(str(file))
    assert (run.recipe, run.strategy, run.seed) == ("mine", "linear_probe", 9)
    assert (run.scenario["n_tasks"], run.scenario["disjoint_percent"], run.options["lr"]) == (
        2,
        50,
        1e-3,
    )
    file.write_text(
        "extends: digits\nscenario: disjoint\ntraining:\nstrategies: [er, mvp]\nseeds: [9, 9]\n"
    )
    runs = plan(str(file))
    assert [(r.strategy, r.seed) for r in runs] == [("er", 9), ("mvp", 9)]
    assert runs[0].scenario == {"name": "disjoint", "n_tasks": 5, "leftover": "keep"}
    file.write_text("extends: digits\n")
    assert [r.options["buffer_size"] for r in plan(str(file), ["strategy=er", "seed=1"])] == [100]


@given(st.floats(min_value=1e-9, max_value=1e9, allow_nan=False))
def test_numbers_in_any_notation_stay_numbers(value: float) -> None:
    (run,) = plan("digits_linear_probe", ["seed=1", f"lr={value!r}"])
    assert run.options["lr"] == value


def test_settings_may_stand_behind_options(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from cl_prompts.experiments.cli import main

    assert main(["run", "digits", "--out", str(tmp_path), "n_tasks=0", "seed=1"]) == 2
    assert "n_tasks" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", "digits", "--uot", str(tmp_path)])
    assert "unrecognized arguments: --uot" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
