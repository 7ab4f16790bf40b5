"""MVP against the published implementation's numbers (tests/golden/mvp_losses.json)."""

import json
from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.losses import mvp as losses
from cl_prompts.models.base import Output
from cl_prompts.strategies import MVP
from tests import GOLDEN_FILES
from tests.golden_numbers import PLAIN, put
from tests.strategies.shared import stream_batch

GOLDEN = json.loads((GOLDEN_FILES / "mvp_losses.json").read_text())
LOSS_CASES = [c for c in GOLDEN["cases"] if c["kind"] == "loss"]
MODEL = next(c for c in GOLDEN["cases"] if c["kind"] == "model")


def tensor(values: object) -> Tensor:
    """Nested lists, in which non-finite numbers are strings, to fp32."""

    def number(x: object) -> object:
        return [number(y) for y in x] if isinstance(x, list) else float(x)

    return torch.tensor(number(values), dtype=torch.float32)


def close(found: Tensor, want: object) -> None:
    torch.testing.assert_close(found, tensor(want).view_as(found), atol=1e-5, rtol=0)


def loss_parts(
    case: dict, use_mask: bool
) -> tuple[Output, torch.nn.Linear, Tensor, Tensor, dict[str, Tensor]]:
    inputs = {
        k: tensor(case["inputs"][k]).requires_grad_()
        for k in ("feature", "mask_param", "head_weight", "head_bias")
    }
    labels = torch.tensor(case["inputs"]["labels"])
    seen = torch.arange(case["num_classes"]) < case["num_exposed"]
    head = torch.nn.Linear(case["dim"], case["num_classes"])
    put(head.weight, inputs["head_weight"])
    put(head.bias, inputs["head_bias"])
    mask = 2 * torch.sigmoid(inputs["mask_param"]) if use_mask else None
    raw = head(inputs["feature"])
    logits = (raw if mask is None else raw * mask).masked_fill(~seen, -torch.inf)
    return Output(logits, inputs["feature"], None, mask), head, labels, seen, inputs


@pytest.mark.parametrize("case", LOSS_CASES, ids=lambda c: c["name"])
def test_losses_and_gradients_of_all_options(case: dict) -> None:
    assert len(case["combos"]) == 8
    for want in case["combos"]:
        output, head, labels, seen, inputs = loss_parts(case, want["use_mask"])
        loss = losses.mvp_classification_loss(
            output,
            labels,
            head,
            seen,
            use_afs=want["use_afs"],
            use_gsf=want["use_gsf"],
            gsf_reduction="batch_mean",
            alpha=case["alpha"],
            gamma=case["gamma"],
            margin=case["margin"],
        )
        loss.backward()
        assert loss.item() == pytest.approx(want["loss"], abs=1e-6)
        close(inputs["feature"].grad, want["grad_feature"])
        close(head.weight.grad, want["grad_head_weight"])
        close(head.bias.grad, want["grad_head_bias"])
        if want["use_mask"]:
            close(inputs["mask_param"].grad, want["grad_mask_param"])


def golden_strategy(use_last_layer: bool, **settings: Any) -> MVP:
    mvp = MODEL["mvp"]
    named = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "mlp_ratio")
    shape = {name: MODEL["vit"][name] for name in named}
    backbone = FrozenViT(VisionTransformer(num_classes=0, **shape), normalisation=PLAIN)
    strategy = MVP(
        backbone=backbone,
        n_classes=mvp["num_classes"],
        device="cpu",
        evaluator=None,
        pool_size=mvp["task_num"],
        g_blocks=mvp["pos_g_prompt"],
        g_length=mvp["len_g_prompt"],
        e_blocks=mvp["pos_e_prompt"],
        e_length=mvp["len_e_prompt"],
        use_last_block=use_last_layer,
        **settings,
    )
    model = strategy.model
    state = {k: tensor(v) for k, v in MODEL["state"].items()}
    backbone.vit.load_state_dict(
        {k[9:]: v for k, v in state.items() if k.startswith("backbone.") and ".head." not in k}
    )
    learned = {
        "selector.key": state["key"],
        "selector.count": tensor(MODEL["inputs"]["count"]),
        "logit_mask.values": state["mask"],
        "pools.0.values": state["g_prompts"].view_as(model.pools[0].values),
        "pools.1.values": state["e_prompts"].view_as(model.pools[1].values),
        "head.weight": state["backbone.head.weight"],
        "head.bias": state["backbone.head.bias"],
        "seen": torch.arange(mvp["num_classes"]) < MODEL["num_exposed"],
    }
    model.load_learned_state(learned)
    return strategy


NAMES = {
    "key": "selector.key",
    "mask": "logit_mask.values",
    "g_prompts": "pools.0.values",
    "e_prompts": "pools.1.values",
    "backbone.head.weight": "head.weight",
    "backbone.head.bias": "head.bias",
}


@pytest.mark.parametrize(
    "run",
    MODEL["runs"],
    ids=lambda r: f"contrastive={r['use_contrastiv']},last={r['use_last_layer']}",
)
def test_whole_model(run: dict) -> None:
    strategy = golden_strategy(
        run["use_last_layer"],
        use_contrastive=run["use_contrastiv"],
        contrastive_pairs="all",
        gsf_reduction="batch_mean",
        lr=5e-3,
    )
    model = strategy.model
    images = tensor(MODEL["inputs"]["images"])
    labels = torch.tensor(MODEL["inputs"]["labels"])
    out = model.run(images)
    close(model.encode(images, {}).parts["frozen"], run["query"])
    close(out.selection.distance, run["distance"])
    assert out.selection.index.flatten().tolist() == run["selected_prompt"]
    close(out.features, run["feature"])
    close(out.mask, run["instance_mask"])
    close(out.logits, run["eval_logits"])
    close(out.logits, run["train_logits"])

    key_loss = strategy.prompt_loss(out)
    assert key_loss.item() == pytest.approx(run["similarity_loss"], abs=1e-6)
    loss = strategy.training_loss(out, stream_batch(strategy, images, labels))
    assert loss.item() == pytest.approx(run["total_loss"], abs=2e-6)
    loss.backward()
    parameters = dict(model.named_parameters())
    for theirs, ours in NAMES.items():
        close(parameters[ours].grad, run["grads"][theirs])
    strategy.optimizer.step()
    for theirs, want in run["after_one_adam_step"].items():
        # Adam divides by the gradient's magnitude: where that is below 1e-6 a step amplifies
        # rounding.
        clear = (tensor(run["grads"][theirs]).abs() > 1e-6).view_as(parameters[NAMES[theirs]])
        close(parameters[NAMES[theirs]][clear], tensor(want).view_as(clear)[clear].tolist())
    assert clear.any()
    model.selector.observe(out.selection)
    close(model.selector.count, run["count_after"])
