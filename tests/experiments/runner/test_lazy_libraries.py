"""Libraries of parts that runs do not use: loaded when these are used, and real ones then."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.runner.lazy_libraries import LazyName, stand_ins

LIBRARY = "library_of_a_test"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A library of a module and a package."""
    (tmp_path / LIBRARY).mkdir()
    (tmp_path / LIBRARY / "__init__.py").write_text("__version__ = '2.1'\n")
    (tmp_path / LIBRARY / "shapes.py").write_text(
        "class Square:\n    def __init__(self, side):\n        self.area = side * side\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield LIBRARY
    for name in [name for name in sys.modules if name.startswith(LIBRARY)]:
        del sys.modules[name]


def _user(source: str) -> dict[str, Any]:
    """The names of a module that imports beside stand-ins."""
    scope: dict[str, Any] = {}
    with stand_ins([LIBRARY]):
        exec(source, scope)
    return scope


def test_a_name_becomes_the_real_one_at_its_first_use(library: str) -> None:
    user = _user(f"import {library}.shapes as s\nfrom {library}.shapes import Square\n")
    assert not any(name.startswith(library) for name in sys.modules)
    assert isinstance(user["Square"], LazyName)
    assert not isinstance(3, user["Square"])  # without loading anything
    assert library not in sys.modules
    assert user["Square"](3).area == 9
    assert isinstance(user["s"].Square(2), user["Square"])
    assert user["Square"].__name__ == "Square"

    class Tile(user["Square"]):  # type: ignore[misc]
        """Derived from it."""

    assert Tile(4).area == 16
    shapes = __import__(f"{library}.shapes").shapes
    assert isinstance(Tile(1), shapes.Square)
    assert Tile.__mro__[1] is shapes.Square


def test_a_use_while_the_user_is_imported_brings_the_real_library(library: str) -> None:
    user = _user(
        f"import {library}\nfrom {library}.shapes import Square\n"
        f"version = {library}.__version__\nfrom {library} import shapes\narea = Square(5).area\n"
    )
    assert (user["version"], user["area"]) == ("2.1", 25)
    assert user["shapes"] is sys.modules[f"{library}.shapes"]


def test_what_is_not_there_or_is_loaded_gets_no_stand_in(library: str) -> None:
    __import__(library)
    before = sys.modules[library]
    assert _user(f"import {library} as found")["found"] is before
    with stand_ins(["no_such_library"]), pytest.raises(ModuleNotFoundError):
        __import__("no_such_library")


_AVALANCHE = """
import io, sys, tempfile, warnings
warnings.simplefilter("ignore")
from cl_prompts.experiments.runner.lazy_libraries import spare_libraries
spare_libraries()
import cl_prompts.experiments.runner.execution
SPARED = {"gdown", "matplotlib", "scipy", "sklearn", "sympy", "torchmetrics", "wandb"}
assert not SPARED & set(sys.modules), SPARED & set(sys.modules)

import torch
from avalanche.benchmarks import nc_benchmark
from avalanche.evaluation.metrics import (
    accuracy_metrics, confusion_matrix_metrics, forgetting_metrics, loss_metrics,
    topk_acc_metrics,
)
from avalanche.evaluation.metrics.topk_acc import TopkAccuracy
from avalanche.logging import TensorboardLogger, TextLogger
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin, LwFPlugin, ReplayPlugin
from torch.utils.data import TensorDataset

top = TopkAccuracy(2)
top.update(torch.tensor([[0.1, 0.2, 0.7], [0.8, 0.15, 0.05]]), torch.tensor([1, 2]), 0)
assert top.result() == {0: 0.5}
torch.manual_seed(0)
y = torch.arange(40) % 4
data = TensorDataset(torch.randn(40, 4) + 4 * torch.eye(4)[y], y)
data.targets = y.tolist()
stream = nc_benchmark(data, data, n_experiences=2, task_labels=False, seed=0)
net = torch.nn.Linear(4, 4)
evaluator = EvaluationPlugin(
    accuracy_metrics(stream=True), loss_metrics(stream=True), forgetting_metrics(stream=True),
    topk_acc_metrics(top_k=2, stream=True),
    confusion_matrix_metrics(num_classes=4, save_image=True, stream=True),
    loggers=[TensorboardLogger(tempfile.mkdtemp()), TextLogger(io.StringIO())],
)
naive = Naive(
    model=net, optimizer=torch.optim.SGD(net.parameters(), 0.1), train_mb_size=8,
    criterion=torch.nn.CrossEntropyLoss(), evaluator=evaluator,
    plugins=[EWCPlugin(1.0), ReplayPlugin(10), LwFPlugin(1.0, 2.0)],
)
for experience in stream.train_stream:
    naive.train(experience)
# A thousand modules of the compiler are not loaded for the steps of an optimizer.
assert "torch._dynamo.eval_frame" not in sys.modules
found = naive.eval(stream.test_stream)
values = {key.partition("/")[0]: value for key, value in found.items()}
from avalanche.evaluation.metric_results import Figure
from avalanche.evaluation.metric_utils import default_cm_image_creator
import matplotlib.figure
picture = default_cm_image_creator(torch.eye(3))
assert isinstance(picture, matplotlib.figure.Figure) and isinstance(picture, Figure)
print(sorted(values))

import torch._dynamo
torch._dynamo.config.recompile_limit = 7
graphs = []
def backend(graph, inputs):
    graphs.append(graph)
    return graph.forward
wanted = net(torch.ones(1, 4))
assert torch.equal(torch.compile(net, backend=backend)(torch.ones(1, 4)), wanted)
assert len(graphs) == 1
assert sys.modules["torch._dynamo"].config.recompile_limit == 7
assert torch._dynamo is sys.modules["torch._dynamo"] and "sympy" in sys.modules
"""


def test_avalanche_and_its_plugins_metrics_and_benchmarks_work_with_stand_ins() -> None:
    told = subprocess.run([sys.executable, "-c", _AVALANCHE], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-2000:]
    assert "Top1_Acc_Stream" in told.stdout
