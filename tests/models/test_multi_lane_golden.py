"""MULTI-LANE against the published implementation's numbers (tests/golden/multi_lane_tiny.npz).

Left out: the ablations with task keys (``eval_querykey_t2``), token merging (``eval_tome6_t2``) and
without drop-and-replace (``eval_no_dandr_t2``), which do not exist here.
"""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models import multi_lane_ops as lanes
from cl_prompts.models.multi_lane import MultiLaneViT
from tests import GOLDEN_FILES
from tests.models import literal_lanes as literal

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(GOLDEN_FILES / "multi_lane_tiny.npz").items()
}
IMAGES = GOLDEN["in/image"]
TARGETS = GOLDEN["in/target_multi"]
TASK_OF = GOLDEN["meta/class_to_task"]
IMPLS = ("fused", "literal")


def classes_of(task: int) -> list[int]:
    return (task == TASK_OF).nonzero().flatten().tolist()


def own_layout(prompts: Tensor) -> Tensor:
    """Published (2, tasks, P, heads, head dim) -> (tasks, 2, heads, P, head dim)."""
    return prompts.permute(1, 0, 3, 2, 4)


def golden_model(tasks: int, impl: str = "fused", **options: Any) -> MultiLaneViT:
    """The golden file's model with its first lanes open, built as a run builds it."""
    vit = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=3, num_heads=2, num_classes=0
    )
    frozen = {k[2:]: v for k, v in GOLDEN.items() if k.startswith("w/")}
    mine = {
        k: v
        for k, v in frozen.items()
        if "prompts" not in k and k.split(".")[0] not in ("selectors", "head")
    }
    mine.pop("task_identifier.keys")
    vit.load_state_dict(mine)
    backbone = FrozenViT(vit, normalisation=((0.0,) * 3, (1.0,) * 3))
    options |= {"n_selectors": 3, "prompt_length": 2, "prompted_blocks": (0, 1)}
    model = literal.multi_lane(backbone, 8, impl, **options)
    for task in range(tasks):
        model.open_lane(classes_of(task))
    prompts = torch.stack([own_layout(frozen[f"blocks.{i}.attn.prompts"]) for i in (0, 1)])
    with torch.no_grad():
        for task, lane in enumerate(model.lanes):
            lane.selectors.copy_(frozen["selectors"][task])
            lane.prompts.copy_(prompts[:, task])
            lane.heads[0].weight.copy_(frozen["head.weight"][classes_of(task)])
            lane.heads[0].bias.copy_(frozen["head.bias"][classes_of(task)])
    return model


def close(mine: Tensor, golden: Tensor, atol: float = 1e-5, rtol: float = 0.0) -> None:
    torch.testing.assert_close(mine, golden.to(mine.dtype).view_as(mine), atol=atol, rtol=rtol)


def same_gradients(model: MultiLaneViT, case: str, task: int) -> None:
    """Of the lane that trains; the finished ones must have none."""

    def golden(name: str) -> Tensor:
        return GOLDEN[f"{case}/grad_{name}"]

    lane = model.lanes[-1]
    close(lane.selectors.grad, golden("selectors")[task], 1e-6, 1e-4)
    for i in (0, 1):
        if f"{case}/grad_prompts_layer{i}" in GOLDEN:
            prompts = own_layout(golden(f"prompts_layer{i}"))[task].contiguous()
            close(lane.prompts.grad[i], prompts, 1e-6, 1e-4)
    if f"{case}/grad_head_weight" in GOLDEN:
        close(lane.heads[0].weight.grad, golden("head_weight")[classes_of(task)], 1e-6, 1e-4)
        close(lane.heads[0].bias.grad, golden("head_bias")[classes_of(task)], 1e-6, 1e-4)
    trained = {id(p) for p in lane.parameters()}
    assert all(p.grad is None for p in model.parameters() if id(p) not in trained)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("task", [0, 1, 2])
@torch.no_grad()
def test_evaluation(task: int, impl: str) -> None:
    case = f"eval_concat_t{task}"
    for multi_label, name in ((True, "logits"), (False, "logits_masked_neginf")):
        model = golden_model(task + 1, impl, multi_label=multi_label).eval()
        close(model.run(IMAGES).logits, GOLDEN[f"{case}/{name}"])
        close(model.lane_features(IMAGES), GOLDEN[f"{case}/lane_cls"])
        close(model.backbone(IMAGES), GOLDEN[f"{case}/frozen_cls"])


def test_states_of_every_block() -> None:
    model = golden_model(3).eval()
    selectors, prompts = literal.raw_tables(model, model.lanes)
    blocks = model.backbone.vit.blocks
    rows = lanes.joined_start(model.backbone, selectors.transpose(0, 1), 4)
    joined = model.prompts_of(model.lanes)
    tokens = literal.start(model.backbone, selectors, 4)
    with torch.no_grad():
        for i, state in enumerate(lanes.frozen_states(model.backbone, IMAGES)):
            want = {
                k: GOLDEN[f"eval_concat_t2/layer{i}/{k}"]
                for k in ("frozen_in", "lane_in", "lane_msa_input", "lane_out")
            }
            close(state.hidden, blocks[i].norm1(want["frozen_in"]))
            close(tokens, want["lane_in"].transpose(0, 1).contiguous())
            entering, normed = literal.attention_input(blocks[i], tokens, state)
            close(entering, want["lane_msa_input"].transpose(0, 1).contiguous())
            tokens = literal.block_output(blocks[i], tokens, entering, normed, prompts.get(i))
            close(tokens, want["lane_out"].transpose(0, 1).contiguous())
            close(rows[4:], want["lane_in"][:, 0, 1:].transpose(0, 1).contiguous())
            rows = lanes.joined_block(blocks[i], rows, state, joined.get(i), evolve=True)
            close(rows[:4], want["lane_out"][:, :, 0].transpose(0, 1).contiguous())


def test_without_unit_norm_before_the_head() -> None:
    for impl in IMPLS:
        model = golden_model(3, impl, pre_head_norm=False).eval()
        close(model.run(IMAGES).logits, GOLDEN["eval_no_prehead_norm_t2/logits"])
        close(model.lane_features(IMAGES), GOLDEN["eval_no_prehead_norm_t2/lane_cls"])


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("task", [0, 1, 2])
def test_multi_label_training(task: int, impl: str) -> None:
    case = f"train_multi_t{task}"
    model = golden_model(task + 1, impl).train()
    logits = model.run(IMAGES).logits
    columns = model.columns()
    close(logits[:, columns], GOLDEN[f"{case}/logits_raw"][:, columns])
    assert not logits[:, ~columns].any()
    loss = multi_label_loss(logits, TARGETS, columns, norm="all")
    assert loss.item() == pytest.approx(GOLDEN[f"{case}/loss_bce"].item(), abs=1e-6)
    loss.backward()
    same_gradients(model, case, task)


@pytest.mark.parametrize("impl", IMPLS)
def test_single_label_training(impl: str) -> None:
    model = golden_model(2, impl, multi_label=False).train()
    logits = model.run(IMAGES).logits
    labels = GOLDEN["in/target_single_task1"]
    close(logits, GOLDEN["train_single_t1/logits_masked"])
    loss = F.cross_entropy(logits, labels)
    assert loss.item() == pytest.approx(GOLDEN["train_single_t1/loss_ce"].item(), abs=1e-6)
    columns = model.columns()
    assert loss.item() == pytest.approx(
        F.cross_entropy(logits[:, columns], labels - 4).item(), abs=1e-6
    )
    loss.backward()
    same_gradients(model, "train_single_t1", 1)


@pytest.mark.parametrize("impl", IMPLS)
def test_five_adam_steps(impl: str) -> None:
    model = golden_model(2, impl).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.015)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = multi_label_loss(model.run(IMAGES).logits, TARGETS, model.columns(), norm="all")
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert losses == pytest.approx(GOLDEN["adam5_t1/losses"].tolist(), abs=1e-5)
    for task, lane in enumerate(model.lanes):
        close(lane.selectors.detach(), GOLDEN["adam5_t1/selectors"][task], 1e-4)
        for i in (0, 1):
            prompts = own_layout(GOLDEN[f"adam5_t1/prompts_layer{i}"])[task].contiguous()
            close(lane.prompts[i].detach(), prompts, 1e-4)
        close(lane.heads[0].weight.detach(), GOLDEN["adam5_t1/head_weight"][classes_of(task)], 1e-4)
        close(lane.heads[0].bias.detach(), GOLDEN["adam5_t1/head_bias"][classes_of(task)], 1e-4)


def test_the_next_lane_copies_the_last() -> None:
    model = golden_model(1)
    model.open_lane(classes_of(1))
    for task, lane in enumerate(model.lanes):
        assert torch.equal(lane.selectors, GOLDEN["next_task_0to1/selectors"][task])
        assert torch.equal(
            lane.prompts[0], own_layout(GOLDEN["next_task_0to1/prompts_layer0"])[task]
        )
    assert torch.equal(model.lanes[0].heads[0].weight, GOLDEN["next_task_0to1/head_weight"][:4])
