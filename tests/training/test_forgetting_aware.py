"""MISA's parts against the published run: slots, batch mask, forgetting-aware steps, projector."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.errors import InputError
from cl_prompts.losses.classification import batch_classes, masked_cross_entropy
from cl_prompts.losses.mvp import key_distance
from cl_prompts.prompts.encoders import ProjectorEncoder
from cl_prompts.prompts.parameterisations import Reparameterised
from cl_prompts.prompts.pools import SharedTokens, TokenPool, class_position
from cl_prompts.prompts.selectors import NearestKeys, Selection
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.task_selectors import TaskSlots
from cl_prompts.training.forgetting_aware import ForgettingAware
from tests.golden_numbers import Golden, golden_vit, gradient, put

GOLDEN = Golden("misa")


class Published:
    """MISA's model: shared tokens in blocks 0 and 1, a pool of ten in blocks 2 to 4."""

    def __init__(self) -> None:
        self.vit = golden_vit()
        position = class_position(self.vit)
        self.shared = SharedTokens((0, 1), 2, 32, position=position)
        self.pool = TokenPool(10, (2, 3, 4), 3, 32, position=position)
        self.keys = NearestKeys(10, 32)
        self.head = nn.Linear(32, 9)
        self.entries: TokenPool | Reparameterised = self.pool

    def logits(self, images: Tensor, selection: Selection) -> Tensor:
        plan = self.shared.build(None)
        plan.add(self.entries.build(selection))
        return self.head(self.vit.class_features(self.vit.embed(images), plan))


def test_published_stream_training() -> None:
    model = Published()
    images = GOLDEN("images")
    labels = GOLDEN("labels")
    put(model.shared.values, GOLDEN("g_prompts"))
    put(model.pool.values, GOLDEN("e_prompts"))
    put(model.keys.key, GOLDEN("keys"))
    put(model.head.weight, GOLDEN("head_weight"))
    put(model.head.bias, GOLDEN("head_bias"))
    query = model.vit(images)
    GOLDEN.close(query, "query")

    slots = TaskSlots(model.keys, all_rows=True)
    start_task(slots, 1)
    selection = slots(query)
    # The published code matches and trains key 1 of the slot, but looks the prompt up within the
    # slot, where it is always entry 0.
    logits = model.logits(images, replace(selection, index=torch.zeros_like(selection.index)))
    GOLDEN.close(logits, "task1/logits")
    distance = key_distance(selection)
    GOLDEN.close(distance, "task1/mean_distance")
    loss = masked_cross_entropy(logits, labels, batch_classes(labels, 9)) + distance
    GOLDEN.close(loss, "task1/loss")
    loss.backward()
    for parameter, name in (
        (model.shared.values, "g"),
        (model.pool.values, "e"),
        (model.keys.key, "keys"),
        (model.head.weight, "head_weight"),
        (model.head.bias, "head_bias"),
    ):
        GOLDEN.close(gradient(parameter), f"task1/grad_{name}")

    selection = slots.eval()(query)
    GOLDEN.close(selection.distance, "eval/distance")
    assert torch.equal(selection.index[:, 0], GOLDEN("eval/index"))
    GOLDEN.close(model.logits(images, selection), "eval/logits")


def warm_up() -> tuple[Published, dict[str, nn.Parameter]]:
    """The model of the warm-up, and its parameters by their published names."""
    model = Published()
    projector = ProjectorEncoder(32)
    model.entries = Reparameterised(model.pool, projector)
    named = {
        "backbone.fc.weight": model.head.weight,
        "backbone.fc.bias": model.head.bias,
        "g_prompt.prompts": model.shared.values,
        "e_prompt.key": model.keys.key,
        "e_prompt.prompts": model.pool.values,
    }
    for part, name in (("down", "fc1"), ("norm", "ln1"), ("up", "fc2")):
        for parameter in ("weight", "bias"):
            named[f"proj_e_pt.{name}.{parameter}"] = getattr(getattr(projector, part), parameter)
    for name, values in named.items():
        put(values, GOLDEN(f"fam/start/{name}"))
    return model, named


def test_published_forgetting_aware_steps() -> None:
    model, named = warm_up()
    fam = ForgettingAware(torch.optim.Adam(named.values(), lr=1e-3), rho=0.1)

    def loss(prefix: str) -> Tensor:
        images = GOLDEN(f"{prefix}images")
        selection = model.keys(model.vit(images))
        entropy = masked_cross_entropy(
            model.logits(images, selection), GOLDEN(f"{prefix}labels"), GOLDEN("fam/open")
        )
        return entropy + key_distance(selection)

    for step in ("step1", "step2"):
        fam.zero_grad()
        other = loss("other_")
        GOLDEN.close(other, f"fam/{step}/other_loss", atol=1e-4)
        other.backward()
        norm = torch.cat([gradient(p).flatten() for p in named.values()]).norm()
        GOLDEN.close(norm, f"fam/{step}/other_grad_norm", atol=1e-4)
        before = {name: values.detach().clone() for name, values in named.items()}
        fam.ascend()
        for name, values in named.items():
            GOLDEN.close(values, f"fam/{step}/perturbed/{name}", atol=1e-3)
        main = loss("")
        GOLDEN.close(main, f"fam/{step}/loss_at_perturbed", atol=1e-4)
        main.backward()
        for name, values in named.items():
            GOLDEN.close(gradient(values), f"fam/{step}/grad/{name}", atol=1e-4)
        fam.step()
        for name, values in named.items():
            GOLDEN.close(values, f"fam/{step}/after/{name}", atol=1e-3)
            assert (values - before[name]).abs().max() < 1.1e-3  # Adam's step, not the ascent
    assert isinstance(model.entries, Reparameterised)
    GOLDEN.close(model.entries.values, "fam/exported_e_prompts", atol=1e-3)
    exported = model.entries.values.detach().clone()
    model.entries.bake()
    assert torch.equal(model.pool.values, exported)


def test_without_length_it_is_the_optimizer() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    twin = copy.deepcopy(layer)
    x = torch.randn(8, 4)
    y = torch.arange(8) % 3
    plain = torch.optim.Adam(layer.parameters(), lr=0.1)
    fam = ForgettingAware(torch.optim.Adam(twin.parameters(), lr=0.1), rho=0)
    for _ in range(3):
        plain.zero_grad()
        F.cross_entropy(layer(x), y).backward()
        plain.step()
        fam.zero_grad()
        F.cross_entropy(twin(-x), y).backward()
        fam.ascend()
        F.cross_entropy(twin(x), y).backward()
        fam.step()
    assert torch.equal(layer.weight, twin.weight)
    other = ForgettingAware(torch.optim.Adam(twin.parameters(), lr=0.1))
    other.load_state_dict(fam.state_dict())
    assert other.state_dict()["state"].keys() == fam.state_dict()["state"].keys()


def test_parameters_without_gradient_stay() -> None:
    moving = nn.Parameter(torch.ones(2))
    fixed = nn.Parameter(torch.ones(2))
    fam = ForgettingAware(torch.optim.SGD([moving, fixed], lr=0.1), rho=1.0)
    moving.sum().backward()
    fam.ascend()
    assert fixed.tolist() == [1, 1]
    assert (moving - 1).norm().item() == pytest.approx(1)
    with pytest.raises(InputError, match="ascends once"):
        fam.ascend()
    moving.square().sum().backward()
    fam.step()
    assert fixed.tolist() == [1, 1]


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="rho is -1: it cannot be negative"):
        ForgettingAware(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1), rho=-1)
