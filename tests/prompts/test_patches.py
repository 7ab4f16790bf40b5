"""Which patches stay, what a pass over them computes, and what it costs."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones import FrozenViT, PromptPlan
from cl_prompts.prompts import ClassTokenQuery, PatchSelection
from cl_prompts.strategies import Budget, Distillation
from tests.refusals import check_refusals
from tests.toy_data import Blobs, experiences
from tests.toy_families import family_vit
from tests.toy_vits import DEPTH, empty_vit_b, lively_vit
from tests.toys import cls_of, fit, make, same, weights

IMAGES = Blobs(64, seed=5).images


def vit(**changes: Any) -> FrozenViT:
    return lively_vit(patch_size=4, **changes)


def test_scores_are_the_class_tokens_attention_times_the_norm_of_values() -> None:
    backbone = vit(reg_tokens=2, qk_norm=True)
    tokens = backbone.embed(IMAGES[:3])
    got: list[Tensor] = []
    query = ClassTokenQuery()(backbone, tokens, scores=got)
    torch.testing.assert_close(query, ClassTokenQuery()(backbone, tokens))
    with torch.no_grad():
        block = backbone.vit.blocks[-1]
        normed = block.norm1(backbone.blocks(tokens, stop=DEPTH - 1))
        heads = block.attn.num_heads
        q, k, v = block.attn.qkv(normed).reshape(3, 19, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k = block.attn.q_norm(q), block.attn.k_norm(k)
        share = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(dim=-1)[:, :, 0].mean(dim=1)
        length = v.transpose(1, 2).flatten(2).norm(dim=-1)
    torch.testing.assert_close(got[0], share * length)


def test_without_noise_the_best_patches_stay_in_their_order() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 5.0], [1.0, 9.0, 8.0, 7.0]])
    kept = PatchSelection(0.5).kept(scores, prefix=2, noisy=False)
    assert kept.tolist() == [[0, 1, 2, 5], [0, 1, 3, 4]]


@pytest.mark.parametrize(("third", "temperature"), [(3.0, 0.5), (3.0, 2.0), (0.0, 1.0)])
def test_noise_draws_without_replacement_from_the_softmax(third: float, temperature: float) -> None:
    scores = torch.tensor([0.0, third / 3, third])
    z = (scores - scores.mean()) / scores.std(correction=0).clamp(min=1e-6)
    p = (z / temperature).softmax(dim=0)
    # The patch that is left out of three is the last of three draws.
    last = [
        p[a] * p[b] / (1 - p[a]) + p[b] * p[a] / (1 - p[b]) for a, b in ((1, 2), (0, 2), (0, 1))
    ]
    n = 40_000
    kept = PatchSelection(2 / 3, temperature).kept(scores.expand(n, -1), 0, noisy=True)
    left_out = 3 - kept.sum(dim=1)  # 0 + 1 + 2 without the others
    found = torch.bincount(left_out, minlength=3) / n
    torch.testing.assert_close(found, torch.stack(last), atol=0.01, rtol=0)


def test_a_seed_and_an_update_fix_the_patches() -> None:
    equal, first = torch.zeros(8_000, 16), PatchSelection(0.5, seed=3, update=7)
    kept = first.kept(equal, 1, noisy=True)
    assert torch.equal(kept, replace(first).kept(equal, 1, noisy=True))
    for other in (replace(first, seed=4), replace(first, update=8)):
        assert not torch.equal(kept, other.kept(equal, 1, noisy=True))


@pytest.mark.parametrize(("share", "n", "k"), [(0.5, 197, 99), (0.07, 100, 7), (0.3, 49, 15)])
def test_the_number_of_patches_is_rounded_up(share: float, n: int, k: int) -> None:
    assert PatchSelection(share).count(n) == k


VITS = {
    "plain": vit,
    "registers": partial(vit, reg_tokens=3),
    "rotary": partial(family_vit, "eva02_clip"),
    "rotary, mixed": partial(family_vit, "rope_mixed"),
}


@pytest.mark.parametrize("kind", VITS)
def test_a_pass_over_kept_tokens_is_that_over_a_sequence_of_them(kind: str) -> None:
    """The reference masks the attention of all tokens instead of leaving some out."""
    backbone = VITS[kind]()
    prefix = backbone.architecture.prefix
    tokens = backbone.embed(IMAGES[:4])
    scores = torch.rand(4, 16, generator=torch.Generator().manual_seed(0))
    kept = PatchSelection(0.5).kept(scores, prefix, noisy=False)
    found = backbone.class_features(tokens, PromptPlan(kept=kept))
    entered = backbone.enter(tokens)
    shared = backbone.class_features(tokens, PromptPlan(kept=kept), entry=entered)
    hidden = torch.ones(4, 1, 1, tokens.shape[1], dtype=torch.bool)
    hidden[torch.arange(4)[:, None], 0, 0, kept] = False
    plain = torch.nn.functional.scaled_dot_product_attention

    def masked(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return plain(query, keys, values, attn_mask=~hidden.expand(-1, -1, query.shape[2], -1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", masked)
        expected = backbone.class_features(tokens)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(shared, expected, atol=2e-5, rtol=1e-4)


def test_prompts_of_dept_join_the_tokens_before_some_are_left_out() -> None:
    backbone = vit()
    tokens = backbone.embed(IMAGES[:2])
    offset = torch.randn(1, 17, 16)
    kept = torch.tensor([[0, *range(1, 9)], [0, *range(9, 17)]])
    found = backbone.class_features(tokens, PromptPlan(kept=kept, offset=offset))
    moved = tokens + offset
    own = torch.stack([moved[0, kept[0]], moved[1, kept[1]]])
    torch.testing.assert_close(found, backbone.class_features(own))


@pytest.mark.parametrize("kind", ["mvp", "coda_prompt"])
def test_all_tokens_are_the_method_without_the_option(kind: str) -> None:
    def trained(**options: Any) -> dict[str, Tensor]:
        return weights(fit(make(kind, backbone=vit(), **options), experiences()))

    plain = trained()
    assert same(plain, trained(tokens=1, token_temperature=3.0, dense_epochs=0))
    assert not same(plain, trained(tokens=0.5))


@pytest.mark.parametrize("tests", ["all", "same"])
def test_one_image_alone_scores_as_in_a_batch_of_64(tests: str) -> None:
    strategy = make("l2p", backbone=vit(), tokens=0.5, tokens_test=tests)
    model = fit(strategy, experiences()).model.eval()
    with torch.no_grad():
        together = model(IMAGES)
        alone = torch.cat([model(image[None]) for image in IMAGES[:8]])
        dense = replace(model.encode(IMAGES, {}), kept=None)
        differs = not torch.allclose(model.decode(dense).logits, together, atol=1e-4)
    torch.testing.assert_close(alone, together[:8], atol=1e-5, rtol=1e-5)
    assert differs == (tests == "same")


def traced(strategy: Any) -> list[tuple[bool, set[str]]]:
    """Of each update of a stream: whether it was dense, and the parameters that it moved."""
    seen: list[tuple[bool, set[str]]] = []
    original, step = strategy.training_output, strategy.optimizer_step
    dense = [False]

    def output(batch: Any) -> Any:
        dense[0] = not strategy.model.selects_patches
        return original(batch)

    def optimizer_step() -> None:
        before = {name: p.detach().clone() for name, p in strategy.model.named_parameters()}
        step()
        after = strategy.model.named_parameters()
        seen.append((dense[0], {n for n, p in after if not torch.equal(p, before[n])}))

    strategy.training_output, strategy.optimizer_step = output, optimizer_step
    return seen


def moved_by(seen: list[tuple[bool, set[str]]], *, dense: bool) -> set[str]:
    return set().union(*(moved for was_dense, moved in seen if was_dense == dense))


@pytest.mark.parametrize("kind", ["mvp", "coda_prompt", "single_prompt", "hide_prompt"])
def test_the_last_update_on_a_batch_trains_the_head_alone_on_all_patches(kind: str) -> None:
    options = {"mu": 0.1} if kind == "coda_prompt" else {}
    strategy = make(kind, backbone=vit(), tokens=0.5, online_iter=3, plugins=[], **options)
    trainable = [name for name, p in strategy.model.named_parameters() if p.requires_grad]
    seen = traced(strategy)
    fit(strategy, experiences())
    assert [dense for dense, _ in seen] == [False, False, True] * (len(seen) // 3)
    assert moved_by(seen, dense=True) == {n for n in trainable if n.startswith("head.")}
    assert moved_by(seen, dense=False) == set(trainable)
    assert [name for name, p in strategy.model.named_parameters() if p.requires_grad] == trainable


def test_announced_tasks_have_two_phases_of_epochs() -> None:
    options = {"train_epochs": 5, "online_iter": 2, "backbone": vit()}
    strategy = make("cps_prompt", "class_incremental", **options)
    seen = traced(strategy)
    fit(strategy, experiences("class_incremental")[:1])
    a_epoch = len(seen) // 5
    # A fifth of 5 epochs, and no update of the others.
    assert [dense for dense, _ in seen] == [False] * 4 * a_epoch + [True] * a_epoch


#: method, options, passes of its budget -> whether each update on a batch is dense, and its F
BATCHES: list[tuple[str, dict[str, Any], float, list[bool], float]] = [
    ("mvp", {"tokens": 0.5, "online_iter": 1}, 0, [False], 0),
    ("cps_prompt", {}, 0, [False, True], 0),
    ("single_prompt", {"tokens": 1.0, "online_iter": 1}, 4.6, [True] * 2, 1.71),
    ("single_prompt", {"tokens": 0.5, "online_iter": 1}, 4.6, [False] * 4 + [True], 0.86),
]


@pytest.mark.parametrize(("kind", "options", "passes", "batch", "update"), BATCHES)
def test_the_head_has_the_last_of_several_updates_and_a_budget_buys_more(
    kind: str, options: dict[str, Any], passes: float, batch: list[bool], update: float
) -> None:
    plugins = [Budget(passes=passes)] if passes else []
    strategy = make(kind, backbone=vit(), plugins=plugins, **options)
    seen = traced(strategy)
    fit(strategy, experiences())
    assert [dense for dense, _ in seen] == batch * 5
    # What the update that trains the head costs does not change the number of updates.
    assert strategy.loop.cost.update == pytest.approx(update, abs=0.01)


@pytest.mark.parametrize("kind", ["mvp", "flyprompt"])
def test_an_early_query_ends_after_its_block_and_leaves_the_choice_to_chance(kind: str) -> None:
    strategy = make(kind, backbone=vit(), tokens=0.5, query_block=2)
    model = strategy.model
    assert not model.scores_patches
    counter = model.backbone.counter
    fit(strategy, experiences())
    model.eval()
    counter.reset()
    model(IMAGES[:2])
    assert counter.blocks == 2 * (2 + DEPTH)
    tokens = model.backbone.embed(IMAGES[:2])
    with torch.no_grad():
        early = model.backbone.norm(model.backbone.blocks(tokens, stop=2))[:, 0]
    query = replace(model.query, norm=True)
    torch.testing.assert_close(query(model.backbone, tokens), early)


def test_cached_scores_choose_the_same_patches() -> None:
    model = make("mvp", backbone=vit(), tokens=0.5).model
    model.observe_classes(torch.arange(6))
    first = model.encode(IMAGES, {})
    assert first.parts["scores"].shape == (64, 16)
    again = model.encode(IMAGES, first.parts)
    assert torch.equal(first.kept, again.kept)
    assert torch.equal(model.decode(first).logits, model.decode(again).logits)


@pytest.fixture(scope="module")
def vit_b() -> FrozenViT:
    return empty_vit_b()


#: method and options -> F of a sparse update and of one that trains the head, on ViT-B/16, and the
#: products of 768 values with its head, its keys and its prompts, which are not counted
COSTS: list[tuple[str, dict[str, Any], float, float, int]] = [
    ("mvp", {"tokens": 0.5}, 1.759, 1.758, 110),
    ("mvp", {"tokens": 0.5, "query_block": 3}, 1.097, 1.096, 110),
    ("l2p", {"tokens": 0.5}, 2.089, 1.966, 110),
    ("coda_prompt", {"tokens": 0.5}, 1.832, 1.836, 5100),
    ("single_prompt", {"tokens": 0.5}, 0.919, 0.933, 100),
]


@pytest.mark.parametrize(("kind", "options", "sparse", "head", "rows"), COSTS)
def test_costs_equal_what_a_counter_of_products_sees(
    kind: str, options: dict[str, Any], sparse: float, head: float, rows: int, vit_b: FrozenViT
) -> None:
    meta = torch.device("meta")
    strategy = cls_of(kind)(backbone=vit_b, n_classes=100, device=meta, evaluator=None, **options)
    model, counter, unit = strategy.model.to("meta").train(), vit_b.counter, vit_b.forward_macs
    for context, cost in ((nullcontext(), sparse), (model.head_phase(), head)):
        counter.reset()
        with context, sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
            out = model.run(torch.rand(1, 3, 224, 224, device="meta"))
            assert counter.macs == flops.get_total_flops() / 2 - 768 * rows
            model.head(out.features).sum().backward()
        assert flops.get_total_flops() / 2 / unit == pytest.approx(cost, abs=1e-3)


def saved_bytes(model: Any) -> int:
    """Bytes that an update holds for its backward pass, each tensor once."""
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = model.run(IMAGES)
        (out.features.sum() + out.logits[:, model.seen].sum()).backward()
    frozen = {p.untyped_storage().data_ptr() for p in model.backbone.parameters()}
    return sum(size for place, size in held.items() if place not in frozen)


@pytest.mark.parametrize("kind", ["mvp", "coda_prompt", "single_prompt"])
def test_activations_of_an_update_fall_with_the_share_of_tokens(kind: str) -> None:
    found = {}
    for tokens in (1.0, 0.75, 0.5):
        model = make(kind, backbone=vit(img_size=16), tokens=tokens).model.train()
        model.observe_classes(torch.arange(6))
        found[tokens] = saved_bytes(model)
    assert found[0.75] < 0.85 * found[1.0]
    assert found[0.5] < 0.65 * found[1.0]
    model.observe_classes(torch.arange(6))
    with model.head_phase():
        assert saved_bytes(model) < 0.05 * found[1.0]


REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("mvp", "si_blurry", {"tokens": 0.0}),
    ("mvp", "si_blurry", {"tokens": 1.5}),
    ("mvp", "si_blurry", {"tokens": 0.4}),
    ("mvp", "si_blurry", {"tokens": 0.5, "features": "avg"}),
    ("mvp", "si_blurry", {"tokens": 0.5, "query_block": 9}),
    ("mvp", "si_blurry", {"tokens": 0.5, "query_block": 2, "tokens_test": "same"}),
    ("mvp", "si_blurry", {"tokens": 0.5, "plugins": [Distillation()]}),
    ("mvp", "si_blurry", {"tokens": 0.5, "dense_epochs": 1}),
    ("mvp", "si_blurry", {"tokens_test": "same"}),
    ("single_prompt", "si_blurry", {"query_block": 2}),
    ("single_prompt", "si_blurry", {"tokens": 0.5, "tokens_test": "same"}),
    ("coda_prompt", "mlcil", {"tokens": 0.5}),
    ("multi_lane", "mlcil", {"tokens": 0.5}),
]


def test_refusals() -> None:
    cases = {}
    for kind, scenario, changes in REFUSED:
        written = {k: v if k != "plugins" else "distillation" for k, v in changes.items()}
        settings = ", ".join(f"{name}={value}" for name, value in written.items())
        cases[f"{kind} {settings}"] = partial(make, kind, scenario, backbone=vit(), **changes)
    cases["a ViT that pools"] = partial(make, "mvp", backbone=family_vit("siglip"), tokens=0.5)
    unannounced = make("mvp", backbone=vit(), tokens=0.5, train_epochs=3, dense_epochs=1)
    cases["dense epochs of a stream without tasks"] = partial(fit, unannounced, experiences())
    check_refusals(Path(__file__).with_suffix(".txt"), cases)
