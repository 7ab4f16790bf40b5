"""The engine: batch independence, what is stored, what is saved, and its invariants for MVP's
parts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.strategies.mvp import mvp_model
from tests.conftest import tiny_vit

MODELS = {
    "mvp": lambda vit: mvp_model(vit, 6, pool_size=4, e_blocks=(1, 2)),
    "mvp_k2": lambda vit: mvp_model(vit, 6, pool_size=4, e_blocks=(1, 2), top_k=2),
    "linear_probe": lambda vit: PromptedViT(vit, 6),
    "fine_tuning": lambda vit: PromptedViT(vit.thawed(), 6),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def model(request: pytest.FixtureRequest) -> PromptedViT:
    torch.manual_seed(3)
    made = request.param(tiny_vit())
    made.see(torch.tensor([0, 2, 5]))
    return made


def test_logits_do_not_depend_on_batch_mates(model: PromptedViT) -> None:
    images = torch.rand(7, 3, 16, 16)
    together = model(images)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    order = torch.randperm(7)
    torch.testing.assert_close(model(images[order]), together[order], atol=1e-5, rtol=0)


def test_unseen_classes_score_minus_infinity(model: PromptedViT) -> None:
    logits = model(torch.rand(2, 3, 16, 16))
    assert torch.isinf(logits[:, [1, 3, 4]]).all()
    assert torch.isfinite(logits[:, [0, 2, 5]]).all()
    assert (logits.softmax(1)[:, [1, 3, 4]] == 0).all()


def test_a_stored_frozen_part_changes_nothing_and_saves_a_pass(model: PromptedViT) -> None:
    images = torch.rand(5, 3, 16, 16)
    counter = model.backbone.counter
    counter.reset()
    model.backbone.embed(images)
    embedding = counter.macs
    counter.reset()
    frozen = model.frozen_part(images)
    query = counter.macs
    counter.reset()
    want = model(images)
    full = counter.macs
    counter.reset()
    assert torch.equal(model.run(images, {} if frozen is None else {"frozen": frozen}).logits, want)
    if frozen is None:
        assert model.backbone.trainable
    elif model.reads_images:
        # What the query costs beyond the embedding and the projection of block 0, which both passes
        # share.
        shared = 5 * model.backbone.n_tokens * 3 * 16 * 16
        assert counter.macs == pytest.approx(full - (query - embedding - shared))
        assert query > 2 * embedding
    else:
        assert counter.macs == 0
        assert torch.equal(model.run(None, {"frozen": frozen}).logits, want)


def test_save_and_load_without_the_backbone(model: PromptedViT, tmp_path: Path) -> None:
    images = torch.rand(3, 3, 16, 16)
    want = model(images)
    model.save(tmp_path / "learned.safetensors")
    torch.manual_seed(4)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    model.seen[:] = False
    model.load(tmp_path / "learned.safetensors")
    assert torch.equal(model(images), want)
    names = set(model.learned_state())
    assert any(name.startswith("backbone.") for name in names) == model.backbone.trainable


def test_a_state_of_another_model_is_refused(vit: FrozenViT, tmp_path: Path) -> None:
    PromptedViT(vit, 6).save(tmp_path / "probe.safetensors")
    with pytest.raises(InputError, match="does not fit this model"):
        mvp_model(vit, 6, e_blocks=(1, 2)).load(tmp_path / "probe.safetensors")
    with pytest.raises(InputError, match="no saved model"):
        PromptedViT(vit, 6).load(tmp_path / "nothing.safetensors")


def test_mvp_declares_exactly_its_parameters() -> None:
    model = mvp_model(tiny_vit(), 6, pool_size=4, e_blocks=(1, 2))
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {
        "selector.key",
        "logit_mask.values",
        "pools.0.values",
        "pools.1.values",
        "head.weight",
        "head.bias",
    }
    with torch.no_grad():
        assert model.logit_mask is not None
        torch.testing.assert_close(
            2 * torch.sigmoid(model.logit_mask.values),
            torch.full((4, 6), 0.537883),
            atol=1e-6,
            rtol=0,
        )


def test_mvp_counts_as_published_for_vit_b() -> None:
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 768, "depth": 5, "num_heads": 12}
    model = mvp_model(tiny_vit(**shape), 100)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 554_060


def test_only_selected_rows_and_seen_columns_get_gradients() -> None:
    model = mvp_model(tiny_vit(), 6, pool_size=8, e_blocks=(1, 2))
    model.see(torch.tensor([1, 4]))
    out = model.run(torch.rand(5, 3, 16, 16))
    torch.nn.functional.cross_entropy(out.logits, torch.tensor([1, 4, 1, 4, 1])).backward()
    assert out.selection is not None
    assert model.logit_mask is not None
    chosen = set(out.selection.index.flatten().tolist())
    others = [p for p in range(8) if p not in chosen]
    assert others
    for gradient in (model.pools[1].values.grad, model.logit_mask.values.grad):
        assert gradient[others].abs().max() == 0
        assert gradient[sorted(chosen)].abs().max() > 0
    assert model.logit_mask.values.grad[:, [0, 2, 3, 5]].abs().max() == 0
    assert model.head.weight.grad[[0, 2, 3, 5]].abs().max() == 0
    assert model.selector is not None
    assert model.selector.key.grad is None  # the classification loss does not train keys


def test_without_prompts_mvp_is_the_plain_vit() -> None:
    vit = tiny_vit()
    model = mvp_model(vit, 6, g_blocks=(), e_blocks=())
    images = torch.rand(3, 3, 16, 16)
    torch.testing.assert_close(model.run(images).features, vit(images), atol=1e-6, rtol=0)


def test_count_scaling_prefers_rare_prompts_and_equal_counts_change_nothing() -> None:
    selector = NearestKeys(3, 4, count_scaled=True)
    query = torch.randn(20, 4)
    plain = selector(query).index
    selector.count[:] = 7
    assert torch.equal(selector(query).index, plain)
    selector.count[:] = torch.tensor([0.0, 1e6, 1e6])
    assert (selector(query).index == 0).all()
    selector.observe(selector(query))
    assert selector.count.tolist() == [20, 1e6, 1e6]


def test_ties_go_to_the_lowest_row() -> None:
    selector = NearestKeys(5, 4, k=2)
    assert selector(torch.zeros(3, 4)).index.tolist() == [[0, 1]] * 3  # all distances are exactly 1


def test_prompts_beyond_the_last_block_are_refused() -> None:
    with pytest.raises(InputError, match="block 9, but this ViT has blocks 0 to 3"):
        mvp_model(tiny_vit(), 6, e_blocks=(9,))
    with pytest.raises(InputError, match="top_k is 11"):
        mvp_model(tiny_vit(), 6, e_blocks=(1,), top_k=11)
    with pytest.raises(InputError, match="at least one class"):
        PromptedViT(tiny_vit(), 0)


def test_combinations_without_a_meaning_are_refused() -> None:
    with pytest.raises(InputError, match="needs a frozen backbone"):
        mvp_model(tiny_vit().thawed(), 6, e_blocks=(1, 2))
    with pytest.raises(InputError, match="no effect without a pool"):
        PromptedViT(tiny_vit(), 6, selector=NearestKeys(3, 16))
