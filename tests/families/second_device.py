"""Every strategy on a second device: the numbers of the CPU, and little traffic on the way.

The device is pretended on the CPU, so that any machine can test what a GPU would refuse: tensors
left on the host, and steps that make it wait. Torch has to know it before its first backward pass,
so ``test_second_device.py`` runs these tests in a process of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.run_folder import checkpoint
from cl_prompts.experiments.run_folder.checkpoint import Checkpoint, packed
from cl_prompts.experiments.runner import measuring
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.strategies import AnytimeEvaluation
from tests.experiments.commands import rows, run, summary
from tests.experiments.sketches import sketched
from tests.few_images import few_images
from tests.pretend import counted, pretend_device, register
from tests.toy_data import Blobs, Scenes, experiences
from tests.toy_vits import lively_vit
from tests.toys import TABLE, cls_of, does_something_at_ends, make, weights

register()

TRAIN = 24
TEST = 6
BATCH = 4

#: every strategy, with announced tasks where these are something to it
CASES = [
    (kind, "class_incremental" if does_something_at_ends(kind) else "si_blurry") for kind in TABLE
]
#: unannounced besides, and several labels: one of each way to learn from them
CASES += [(kind, "si_blurry") for kind in ("flyprompt", "rainbow")]
CASES += [(kind, "mlcil") for kind in ("multi_lane", "derpp", "multi_label_ridge")]
CASES += [("multi_lane", "si_blurry_multi_label"), ("l3a", "si_blurry_multi_label")]

REPLAYING = ("er", "er_ace", "derpp", "ewcpp", "rainbow", "clib")
#: copies to the device in an update on a stream batch of its own: images, labels and task labels;
#: moreover, of replayed samples, these three and their annotated classes; with DER++ and CLIB what
#: is stored beside them, with Rainbow Memory the rows of what was kept; now and then a new lane;
#: with AIR, FeCAM and LayUP the order of classes, and labels again
SENT = dict.fromkeys(REPLAYING, 7) | {"derpp": 10, "clib": 10, "ranpac": 5, "multi_lane": 6}
SENT |= {"air": 5, "fecam": 5, "layup": 5}
SENT |= {"rainbow": 13}
SENT_BY_DEFAULT = 3
#: waits of the host until the next stream batch; by default none. CLIB observes losses, and
#: the mixture asks whether a class has come in two groups, until one has
WAITS = {"clib": 1, "mixture_prompt": 1}


@dataclass
class Run:
    """A toy run on either device.

    Attributes:
        state: of the model at its end, on the CPU.
        evaluations: samples seen, accuracy and further scores after every task.
        traffic: after each stream batch its experience, epoch and task, and until then the updates,
            the copies to the device and the waits.
    """

    state: dict[str, Tensor]
    evaluations: list[Any]
    traffic: list[tuple[Any, int, int, int]] = field(default_factory=list)


def train(
    kind: str,
    scenario: str,
    device: str,
    *,
    resume: bool,
    stream: list[Any] | None = None,
    **changes: Any,
) -> Run:
    """A run over the last two tasks of a stream, by default the scenario's of plain images; with
    ``resume`` it is saved and taken up by another strategy between them."""
    multi_label = scenario.startswith("ml") or scenario.endswith("multi_label")
    test: Any = (Scenes if multi_label else Blobs)(TEST, seed=2)
    stream = (stream or experiences(scenario, train=TRAIN, test=TEST))[1:]
    found = Run({}, [])

    fitting = {k: v for k, v in TABLE[kind].two_blocks.items() if k != "lane_samples"}

    def begin() -> tuple[Any, Any]:
        anytime = AnytimeEvaluation(test, n_classes=6, every=None)
        options = {"train_mb_size": BATCH, "device": device, "plugins": [anytime]}
        options |= {} if cls_of(kind).whole_stream else {"online_iter": 1}
        options |= changes
        return make(kind, scenario, backbone=lively_vit(depth=2), **options, **fitting), anytime

    strategy, anytime = begin()
    parts: list[Any] = [stream] if strategy.whole_stream else stream
    with counted() as traffic:
        for k, part in enumerate(parts):
            if resume and 0 < k == len(parts) - 1:
                states = as_read({"s": strategy.state_dict(), "a": anytime.state_dict()})
                strategy, anytime = begin()
                strategy.load_state_dict(states["s"], stream[:k])
                anytime.load_state_dict(states["a"])

            ends = ends_of_tasks(strategy)

            def between_batches(strategy: Any = strategy, k: int = k, ends: Any = ends) -> None:
                where = (k, strategy.clock.train_exp_epochs, len(ends))
                counts = (strategy.updates, traffic.sent.total(), traffic.waits.total())
                found.traffic.append((where, *counts))

            strategy.between_batches = between_batches
            strategy.train(part, eval_streams=[])
    found.state = {name: value.cpu() for name, value in weights(strategy).items()}
    found.evaluations = [(p.samples_seen, p.accuracy, p.scores) for p in anytime.curve.task_ends]
    return found


def ends_of_tasks(strategy: Any) -> list[int]:
    """Updates after which a task or a period is finished, as training goes on: work of its own,
    for which a device may be waited for."""
    found: list[int] = []
    finish = strategy.finish_task

    def finish_task() -> None:
        found.append(strategy.updates)
        finish()

    strategy.finish_task = finish_task
    return found


def as_read(state: dict[str, Any]) -> Any:
    """What a checkpoint file gives back."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint"
        file.write_bytes(b"".join(packed(Checkpoint(state, {}, {}))))
        return checkpoint.read(file).state


@cache
def there(kind: str, scenario: str) -> Run:
    """The run on the pretend device, stopped and resumed."""
    with pretend_device() as name:
        return train(kind, scenario, name, resume=True)


@pytest.fixture(autouse=True)
def _plain_attention() -> Iterator[None]:
    """The CPU's fused kernel rounds otherwise than plain attention, the pretend device's."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


@pytest.mark.parametrize(("kind", "scenario"), CASES)
def test_training_resuming_and_evaluating_there_give_the_cpus_numbers(
    kind: str, scenario: str
) -> None:
    here = train(kind, scenario, "cpu", resume=False)
    found = there(kind, scenario)
    assert found.state.keys() == here.state.keys()
    for name, value in here.state.items():
        torch.testing.assert_close(found.state[name], value, rtol=1e-5, atol=1e-5, msg=name)
    assert len(found.evaluations) == len(here.evaluations) >= 1
    for mine, theirs in zip(here.evaluations, found.evaluations, strict=True):
        assert mine[0] == theirs[0]
        assert mine[1] == pytest.approx(theirs[1], abs=1e-5, nan_ok=True)
        assert mine[2] == pytest.approx(theirs[2], abs=1e-5, nan_ok=True)


@pytest.mark.parametrize(("kind", "scenario"), CASES)
def test_a_step_sends_what_it_needs_and_does_not_wait(kind: str, scenario: str) -> None:
    marks = there(kind, scenario).traffic
    inside = [(a, b) for a, b in pairwise(marks) if a[0] == b[0]]
    assert inside
    for before, after in inside:
        updates, sent, waits = (after[i] - before[i] for i in (1, 2, 3))
        assert sent <= SENT.get(kind, SENT_BY_DEFAULT) * updates
        assert waits <= WAITS.get(kind, 0)


@pytest.mark.parametrize("kind", ["linear_probe", "er", "mvp"])
def test_kept_feature_cache_makes_nothing_wait(kind: str) -> None:
    with pretend_device() as name:
        found = train(kind, "si_blurry", name, resume=False, views=1, train_epochs=2)
    inside = [(a, b) for a, b in pairwise(found.traffic) if a[0] == b[0]]
    assert {where[1] for (where, *_), _ in inside} == {0, 1}
    assert all(after[3] == before[3] for before, after in inside)


def test_what_would_fail_on_a_gpu_fails_there() -> None:
    with pretend_device() as name, counted() as traffic:
        weight = torch.ones(2, 2, device=name, requires_grad=True)
        (torch.ones(3, 2).to(name) @ weight).sum().backward()
        assert weight.grad is not None
        assert weight.grad.device.type == name
        assert (traffic.sent.total(), traffic.waits.total()) == (1, 0)
        assert float(weight.detach().sum()) == 4
        assert weight.detach()[weight.detach() > 0].shape == (4,)
        assert traffic.waits.total() == 2
        with pytest.raises(RuntimeError, match="tensors on pretend and on cpu are mixed"):
            weight.detach() + torch.ones(2, 2)


def test_loader_processes_are_measured_there(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Any] = []
    monkeypatch.setattr(measuring, "loader_processes", lambda *given: measured.append(given) or 2)
    with pretend_device() as name, few_images(train=24, test=4):
        (settings,) = plan("digits", ["strategy=ncm", "seed=1", f"device={name}"])
        parts = Builder().build(settings)
    ((view, step, batch, _),) = measured
    assert view > 0 < step
    assert batch == parts.strategy.train_mb_size
    assert parts.settings.num_workers == parts.anytime.evaluator.num_workers == 2
    assert parts.notes[0].startswith("num_workers=2: a process makes a view in ")


def test_a_recipe_runs_there_through_the_command_line(tmp_path: Path) -> None:
    settings = ["strategy=mvp", "seed=1", "classes=2", "n_tasks=2", "every=20", "online_iter=1"]
    settings.append("num_workers=0")
    folders = []
    for device in ("cpu", "pretend"):
        pretended = pretend_device() if device == "pretend" else nullcontext()
        with pretended, few_images(train=24, test=4), sketched():
            code, made = run(tmp_path / device, "digits", *settings, f"device={device}")
        assert code == 0
        folders += made
    here, found = map(rows, folders)
    assert len(here) == len(found) > 5
    for mine, theirs in zip(here[1:], found[1:], strict=True):
        assert mine[:-1] == theirs[:-1]
        assert float(mine[-1]) == pytest.approx(float(theirs[-1]), abs=1e-5)
    assert summary(folders[1])["status"] == "finished"
