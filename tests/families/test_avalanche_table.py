"""The table of docs/guides/avalanche.md: what of Avalanche runs on our streams and strategies."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from avalanche import training
from avalanche.models import SCRModel
from avalanche.training import plugins
from torch import nn

import cl_prompts
from tests.strategies.shared import ordinary
from tests.toy_data import benchmark
from tests.toys import fit, make, weights

PAGE = Path(cl_prompts.__file__).parents[1] / "docs" / "guides" / "avalanche.md"
MEMORY: dict[str, Any] = {"mem_size": 6, "batch_size_mem": 2}


def features() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))


def icarl() -> Any:
    sizes: dict[str, Any] = {"train_mb_size": 8, "eval_mb_size": 8, "memory_size": 6}
    network, head = features(), nn.Linear(4, 6)
    optimizer = torch.optim.SGD([*network.parameters(), *head.parameters()], 0.01)
    parts: dict[str, Any] = {"feature_extractor": network, "classifier": head, "evaluator": None}
    options: dict[str, Any] = {"buffer_transform": None, "fixed_memory": True}
    return training.ICaRL(optimizer=optimizer, **parts, **options, **sizes)


def scr() -> Any:
    model = SCRModel(features(), nn.Linear(4, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    options: dict[str, Any] = {"augmentations": nn.Identity(), "train_mb_size": 8, **MEMORY}
    return training.SCR(model=model, optimizer=optimizer, evaluator=None, **options)


def cwr_star() -> Any:
    strategy = make("linear_probe")
    strategy.plugins.append(plugins.CWRStarPlugin(strategy.model, "head", False))
    return strategy


#: strategy of Avalanche -> its settings, or how it is built
STRATEGIES: dict[str, dict[str, Any] | Callable[[], Any]] = {
    "Naive": {},
    "Cumulative": {},
    "JointTraining": {},
    "Replay": {"mem_size": 6},
    "EWC": {"ewc_lambda": 1.0},
    "LwF": {"alpha": 1, "temperature": 2},
    "GEM": {"patterns_per_exp": 4},
    "AGEM": {"patterns_per_exp": 4, "sample_size": 4},
    "SynapticIntelligence": {"si_lambda": 1.0},
    "MAS": {},
    "GDumb": {"mem_size": 6},
    "CoPE": {"mem_size": 6, "n_classes": 6, "p_size": 6},
    "LFL": {"lambda_e": 1.0},
    "BiC": {"mem_size": 6, "stage_2_epochs": 1},
    "MIR": {"mem_size": 6, "subsample": 4, "batch_size_mem": 2},
    "DER": MEMORY,
    "ER_ACE": MEMORY,
    "MER": {**MEMORY, "n_inner_steps": 1},
    "CWRStar": {"cwr_layer_name": "classifier"},
    "ICaRL": icarl,
    "SCR": scr,
}
#: strategy of Avalanche -> its plugin, if it needs no loop of Avalanche's, or ours with it
PLUGINS: dict[str, Callable[[], Any]] = {
    "Replay": lambda: plugins.ReplayPlugin(6),
    "EWC": lambda: plugins.EWCPlugin(1000.0),
    "LwF": plugins.LwFPlugin,
    "GEM": lambda: plugins.GEMPlugin(4, 0.5),
    "AGEM": lambda: plugins.AGEMPlugin(4, 4),
    "SynapticIntelligence": lambda: plugins.SynapticIntelligencePlugin(1000.0),
    "MAS": lambda: plugins.MASPlugin(1000.0),
    "LFL": lambda: plugins.LFLPlugin(1.0),
    "BiC": lambda: plugins.BiCPlugin(mem_size=6, stage_2_epochs=1),
    "CWRStar": cwr_star,
}
PAGE_ROWS = {
    cells[1].strip().strip("`"): [cell.strip() for cell in cells[2:-1]]
    for cells in (line.split("|") for line in PAGE.read_text().splitlines())
    if len(cells) == 6 and cells[1].strip().strip("`") in STRATEGIES
}


def on_our_streams(name: str) -> str:
    """Whether the strategy learns two tasks of a blurry and an announced stream, and is tested."""
    for scenario in ("si_blurry", "class_incremental"):
        stream, given = benchmark(scenario, train=36, test=6), STRATEGIES[name]
        strategy = given() if callable(given) else ordinary(getattr(training, name), [], **given)
        try:
            strategy.train(list(stream.train_stream[:2]), eval_streams=[], shuffle=False)
            strategy.eval(stream.test_stream)
        except Exception:
            return "no"
    return "yes"


def on_our_strategies(name: str) -> str:
    """Whether a linear probe learns with the plugin, and otherwise than without it."""
    if name not in PLUGINS:
        return "–"
    stream = list(benchmark("class_incremental", train=36, test=6).train_stream[:2])
    alone = weights(fit(make("linear_probe"), stream))
    try:
        plugin = PLUGINS[name]()
        strategy = plugin if name == "CWRStar" else make("linear_probe", plugins=[plugin])
        found = weights(fit(strategy, stream))
    except Exception:
        return "no"
    return "no" if all(torch.equal(value, alone[key]) for key, value in found.items()) else "yes"


def test_the_page_has_every_row() -> None:
    assert list(PAGE_ROWS) == list(STRATEGIES)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_table_is_true(name: str) -> None:
    if name == "GEM" and find_spec("quadprog"):
        pytest.skip("its solver is installed")
    stream, plugin, why = PAGE_ROWS[name]
    assert (stream, plugin) == (on_our_streams(name), on_our_strategies(name))
    assert why or "no" not in (stream, plugin)
