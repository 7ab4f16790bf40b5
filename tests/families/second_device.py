"""Every strategy has the same results on a second device as on the CPU.

The device is pretended on the CPU, so that any machine can test what a GPU would refuse: tensors
left on the host. Torch has to know it before its first backward pass, so ``test_second_device.py``
runs these tests in a process of its own.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from cl_prompts.experiments.run_folder.folder import load_state, save_state
from cl_prompts.strategies import AnytimeEvaluation
from tests.experiments.trained.models import blank, images, names
from tests.pretend import pretend_device, register
from tests.toy_data import Blobs, Scenes, experiences
from tests.toys import TABLE, cls_of, does_something_at_ends, make, vit_of, weights

register()

TRAIN = 12
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


@dataclass
class Run:
    """A toy run on either device.

    Attributes:
        state: of the model at its end, on the CPU.
        evaluations: samples seen, accuracy and further scores after every task.
    """

    state: dict[str, Tensor]
    evaluations: list[Any]


def train(kind: str, scenario: str, device: str, *, resume: bool) -> Run:
    """A run over the last two tasks of a stream; with ``resume`` it is saved between them, and
    another strategy continues."""
    multi_label = scenario.startswith("ml") or scenario.endswith("multi_label")
    test: Any = (Scenes if multi_label else Blobs)(TEST, seed=2)
    stream = experiences(scenario, train=TRAIN, test=TEST)[1:]
    fitting = {k: v for k, v in TABLE[kind].two_blocks.items() if k != "lane_samples"}

    def begin() -> tuple[Any, Any]:
        anytime = AnytimeEvaluation(test, n_classes=6, every=None)
        options = {"train_mb_size": BATCH, "device": device, "plugins": [anytime], **fitting}
        options |= {} if cls_of(kind).whole_stream else {"online_iter": 1}
        return make(kind, scenario, backbone=vit_of(kind, 2), **options), anytime

    strategy, anytime = begin()
    parts: list[Any] = [stream] if strategy.whole_stream else stream
    for k, part in enumerate(parts):
        if resume and 0 < k == len(parts) - 1:
            states = as_read({"s": strategy.state_dict(), "a": anytime.state_dict()})
            strategy, anytime = begin()
            strategy.load_state_dict(states["s"], stream[:k])
            anytime.load_state_dict(states["a"])
        strategy.train(part, eval_streams=[])
    state = {name: value.cpu() for name, value in weights(strategy).items()}
    return Run(state, [(p.samples_seen, p.accuracy, p.scores) for p in anytime.curve.task_ends])


def as_read(state: dict[str, Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        save_state(Path(folder), state)
        return load_state(Path(folder))


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
    with pretend_device() as name:
        found = train(kind, scenario, name, resume=True)
    assert found.state.keys() == here.state.keys()
    for name, value in here.state.items():
        torch.testing.assert_close(found.state[name], value, rtol=1e-5, atol=1e-5, msg=name)
    assert len(found.evaluations) == len(here.evaluations) >= 1
    for mine, theirs in zip(here.evaluations, found.evaluations, strict=True):
        assert mine[0] == theirs[0]
        assert mine[1] == pytest.approx(theirs[1], abs=1e-5, nan_ok=True)
        assert mine[2] == pytest.approx(theirs[2], abs=1e-5, nan_ok=True)


def test_a_model_learns_and_forgets_there() -> None:
    with pretend_device() as name:
        model = blank("ncm", device=name).learn(images(40), names(40))
        assert len(model.card.calibration.confidence) == 40
        model.forget(images(40)[:5])
        assert model.sums("count").network.head.count.sum().item() == 35
        assert len(model.predict(images(3)).labels) == 3


def test_what_would_fail_on_a_gpu_fails_there() -> None:
    with pretend_device() as name:
        weight = torch.ones(2, 2, device=name, requires_grad=True)
        (torch.ones(3, 2).to(name) @ weight).sum().backward()
        assert weight.grad.device.type == name
        with pytest.raises(RuntimeError, match="tensors on pretend and on cpu are mixed"):
            weight.detach() + torch.ones(2, 2)
        there = torch.arange(2).to(name)
        with pytest.raises(RuntimeError, match="are mixed in aten::index"):
            torch.ones(2)[there]
        with pytest.raises(RuntimeError, match="are mixed in aten::index_put"):
            weight.detach()[there] = torch.ones(2, 2)
