"""What all replay and regularisation baselines have in common, on blurry, class-incremental and
multi-label streams."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.experiments.signatures import filled_parameters, strategy_parameters
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.scenarios import (
    class_incremental_benchmark,
    mlcil_benchmark,
    si_blurry_benchmark,
    si_blurry_multi_label_benchmark,
)
from cl_prompts.strategies import (
    CLIB,
    DERPlusPlus,
    EWCPlusPlus,
    ExperienceReplay,
    LwF,
    RainbowMemory,
    strategy_class,
)
from cl_prompts.strategies.base.online import OnlineStrategy
from tests.conftest import Blobs, tiny_vit

SMALL: dict[str, Any] = {"buffer_size": 20, "buffer_batch_size": 8}
KINDS: dict[str, tuple[type[OnlineStrategy], dict[str, Any]]] = {
    "er": (ExperienceReplay, SMALL),
    "er_tuned": (ExperienceReplay, {**SMALL, "backbone_lr": 1e-3}),
    "derpp": (DERPlusPlus, SMALL),
    "ewcpp": (EWCPlusPlus, {**SMALL, "period": 40}),
    "lwf": (LwF, {"period": 40}),
    "lwf_batch": (LwF, {"teacher": "batch"}),
    "lwf_tuned": (LwF, {"period": 40, "backbone_lr": 1e-3}),
    "rainbow": (RainbowMemory, {**SMALL, "period": 40, "rehearsal_epochs": 3}),
    "rainbow_tuned": (
        RainbowMemory,
        {**SMALL, "period": 40, "rehearsal_epochs": 2, "backbone_lr": 1e-3},
    ),
    "rainbow_chosen": (
        RainbowMemory,
        {
            **SMALL,
            "period": 50,
            "rehearsal_epochs": 2,
            "selection": "uncertainty",
            "views": 2,
            "reuse_features": True,
        },
    ),
    "clib": (CLIB, SMALL),
    "clib_tuned": (CLIB, {**SMALL, "backbone_lr": 1e-3, "importance_every": 4}),
}
MULTI_LABEL = ("er", "derpp", "ewcpp", "lwf", "lwf_batch", "lwf_tuned")


class Scenes(Blobs):
    """Images that are sums of the colour patterns of several classes."""

    def __init__(self, n: int, n_classes: int, *, seed: int = 0) -> None:
        super().__init__(n, n_classes, seed=seed)
        labels = np.eye(n_classes, dtype=np.uint8)
        second = np.random.default_rng(seed + 7).integers(0, n_classes, n)
        self.targets = labels[self.targets] | labels[second]
        patterns = torch.from_numpy(
            np.random.default_rng(99).random((n_classes, 3, 16, 16))
        ).float()
        self.images = (
            torch.einsum("nc,cdhw->ndhw", torch.from_numpy(self.targets).float(), patterns) / 2
        ).contiguous()

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return self.images[index], torch.from_numpy(self.targets[index].astype(np.float32))


def lively_vit() -> FrozenViT:
    """The tiny ViT with larger weights: its class token tells Blobs apart, so that a head alone can
    learn them."""
    vit = tiny_vit()
    with torch.no_grad():
        for parameter in vit.parameters():
            if parameter.dim() > 1:
                parameter *= 10
    return vit


def make(kind: str, *, backbone: FrozenViT | None = None, **changes: Any) -> Any:
    torch.manual_seed(0)
    cls, options = KINDS[kind]
    settings: dict[str, Any] = {
        "train_mb_size": 16,
        "eval_mb_size": 32,
        "device": "cpu",
        "evaluator": None,
        "lr": 0.02,
    }
    settings |= {**options, **changes}
    return cls(backbone=backbone or lively_vit(), n_classes=6, **settings)


def blurry() -> list[Any]:
    return list(
        si_blurry_benchmark(
            Blobs(120, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3, seed=3
        ).train_stream
    )


def incremental() -> list[Any]:
    return list(
        class_incremental_benchmark(
            Blobs(120, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3
        ).train_stream
    )


def train(strategy: Any, experiences: list[Any]) -> Any:
    for experience in experiences:
        strategy.train(experience, eval_streams=[])
    return strategy


def weights(strategy: Any) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in strategy.model.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[k], second[k]) for k in first)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("stream", [blurry, incremental])
def test_resumes_exactly_after_an_experience_and_one_seed_fixes_a_run(
    kind: str, stream: Any
) -> None:
    changes: dict[str, Any] = {"train_epochs": 2} if stream is incremental else {}
    whole = train(make(kind, **changes), stream())
    first, second = make(kind, **changes), make(kind, **changes)
    torch.rand(17)  # global noise
    experiences = stream()
    train(first, experiences[:2])
    file = io.BytesIO()
    torch.save(first.state_dict(), file)  # as a run folder's checkpoint
    file.seek(0)
    state = torch.load(file, weights_only=True)
    train(first, experiences[2:])  # what follows does not reach back into the state
    second.load_state_dict(state, experiences[:2])
    train(second, experiences[2:])
    assert same(weights(whole), weights(first))
    assert same(weights(whole), weights(second))
    assert torch.equal(whole.buffer.slots, second.buffer.slots)
    assert whole.samples_seen == second.samples_seen == 120 * whole.train_epochs
    assert whole.updates == second.updates


@pytest.mark.parametrize("stream", [blurry, incremental])
def test_learns_and_leaves_the_backbone_alone(kind: str, stream: Any) -> None:
    backbone = lively_vit()
    original = copy.deepcopy(backbone.state_dict())
    strategy = train(make(kind, backbone=backbone), stream())
    assert same(original, backbone.state_dict())
    test = Blobs(48, 6, seed=2)
    with torch.no_grad():
        right = strategy.model(test.images).argmax(dim=1) == torch.from_numpy(test.targets)
    assert right.float().mean() > (0.4 if kind.startswith("lwf") else 0.5)  # 1 / 6 by chance
    assert strategy.model.backbone.trainable == kind.endswith("tuned")


def test_memory_is_flat_and_class_counts_are_the_policy_s(kind: str) -> None:
    strategy = train(make(kind), blurry())
    if kind.startswith("lwf"):
        assert len(strategy.buffer) == 0
        assert strategy.replay._sources == []
        return
    assert strategy.buffer.slots.shape == (20, 2)
    assert len(strategy.buffer) == 20
    if kind.startswith(("rainbow", "clib")):
        counts = strategy.buffer.class_counts()
        assert len(counts) == 6
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("kind", MULTI_LABEL)
@pytest.mark.parametrize("scenario", ["mlcil", "blurry"])
def test_multi_label_streams_train_and_resume(kind: str, scenario: str) -> None:
    data = Scenes(120, 6, seed=1), Scenes(48, 6, seed=2)

    def stream() -> list[Any]:
        if scenario == "mlcil":
            return list(mlcil_benchmark(*data, protocol="B0-C2").train_stream)
        return list(si_blurry_multi_label_benchmark(*data, n_tasks=3, seed=4).train_stream)

    whole = train(make(kind, multi_label=True), stream())
    first, second, experiences = (
        make(kind, multi_label=True),
        make(kind, multi_label=True),
        stream(),
    )
    second.load_state_dict(train(first, experiences[:2]).state_dict(), experiences[:2])
    assert same(weights(whole), weights(train(second, experiences[2:])))
    with torch.no_grad():
        logits = whole.model(data[1].images)
    truth = torch.from_numpy(data[1].targets) > 0
    assert logits[truth].mean() > logits[~truth].mean()


@pytest.mark.parametrize("kind", MULTI_LABEL[:3])
def test_replayed_samples_keep_the_columns_of_their_task(kind: str) -> None:
    data = Scenes(120, 6, seed=1), Scenes(48, 6, seed=2)
    strategy = make(kind, multi_label=True)
    seen = []

    def note() -> None:
        if len(strategy.replayed):
            n = len(strategy.mb_y) - len(strategy.replayed)
            sources = strategy.buffer.slots[strategy.replayed, 0]
            seen.append(
                (strategy.columns[n:].clone(), sources.clone(), strategy.columns[:n].clone())
            )

    strategy.after_step = note
    experiences = list(mlcil_benchmark(*data, protocol="B0-C2").train_stream)
    train(strategy, experiences[:2])
    assert {int(s) for _, sources, _ in seen for s in sources} == {0, 1}
    for columns, sources, own in seen:
        for row, source in zip(columns, sources.tolist(), strict=True):
            assert (
                set(row.nonzero().flatten().tolist())
                == experiences[source].classes_in_this_experience
            )
        assert bool((own == own[0]).all())


@pytest.mark.parametrize(
    ("name", "several"),
    [
        ("er", True),
        ("derpp", True),
        ("ewcpp", True),
        ("lwf", True),
        ("rainbow", False),
        ("clib", False),
    ],
)
def test_recipes_find_each_method_and_know_which_have_a_multi_label_form(
    name: str, several: bool
) -> None:
    assert ("multi_label" in filled_parameters(name)) == several
    parameters = strategy_parameters(name)
    assert parameters["backbone_lr"][1] == parameters["weight_decay"][1] == 0
    assert parameters["buffer_size"][1] == (0 if name == "lwf" else 2000)
    assert strategy_class(name).__doc__


@pytest.mark.parametrize(
    ("kind", "changes", "says"),
    [
        (
            "derpp",
            {"buffer_size": 0},
            "buffer_size of DERPlusPlus is 0: it learns from its memory and needs at least 1",
        ),
        ("clib", {"buffer_size": 0}, "buffer_size of CLIB is 0"),
        ("rainbow", {"buffer_size": -1}, "buffer_size of RainbowMemory is -1"),
        ("er", {"buffer_size": -1}, "memory size is -1"),
        ("er", {"backbone_lr": -1.0}, "backbone_lr is -1.0"),
        ("er", {"backbone_lr": float("nan")}, "backbone_lr is nan"),
        ("derpp", {"beta": -1.0}, "beta is -1.0: neither can be negative"),
        ("ewcpp", {"reg_coef": -1.0}, "reg_coef of EWC"),
        ("lwf", {"temperature": 0.0}, "temperature is 0.0"),
        ("lwf", {"teacher": "epoch"}, "teacher 'epoch' is not known: it is 'task' or 'batch'"),
        ("rainbow", {"rehearsal_epochs": -1}, "rehearsal_epochs is -1"),
        ("rainbow", {"selection": "uncertain"}, "did you mean 'uncertainty'"),
        ("rainbow_tuned", {"reuse_features": True}, "use it with backbone_lr=0"),
        ("clib", {"importance_every": 0}, "importance_every is 0"),
        ("clib", {"lr_step": 1.0}, "step of the adaptive rate is 1.0"),
        ("lwf", {"period": -5}, "period is -5"),
    ],
)
def test_bad_settings_are_refused(kind: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make(kind, **changes)


@pytest.mark.parametrize("cls", [RainbowMemory, CLIB])
def test_exclusive_classes_only(cls: Any) -> None:
    with pytest.raises(TypeError, match="multi_label"):
        cls(backbone=tiny_vit(), n_classes=6, multi_label=True, evaluator=None, device="cpu")
    model = PromptedViT(tiny_vit(), 6, multi_label=True)
    with pytest.raises(InputError, match=f"{cls.__name__} is defined for one class per image"):
        cls(model=model, evaluator=None, device="cpu")
