"""FlyPrompt against the published run, as a run of ours uses it, and its clock."""

from typing import Any

import pytest
import torch

from cl_prompts.models.heads import FINITE_MASK
from cl_prompts.scenarios import Split, benchmark_from_split
from cl_prompts.strategies import FlyPrompt, Router, SlowHeads
from tests.golden_numbers import Golden, add_position, golden_strategy, put
from tests.toy_data import Blobs, Labelled
from tests.toy_vits import lively_vit
from tests.toys import fit, watch

GOLDEN = Golden("flyprompt")
BATCHES = sum(key.endswith("/images") for key in GOLDEN.keys("batch"))


def published() -> Any:
    size = len(GOLDEN("batch0/labels"))
    strategy = golden_strategy(
        FlyPrompt,
        9,
        n_experts=3,
        period=2 * size,
        boundaries=False,
        prompt_length=3,
        plugins=[
            Router(width=40, ridge=GOLDEN.number("ridge")),
            SlowHeads(decays=GOLDEN("ema_ratio").tolist()),
        ],
        train_mb_size=size,
        online_iter=1,
    )
    model = strategy.model
    add_position(model)
    model.selector.statistics.expansion.matrix = GOLDEN("projection")
    for expert in range(3):
        put(model.pools[0].values[expert], GOLDEN("prompts0")[:, expert])
    put(model.head.weight, GOLDEN("head_weight0"))
    put(model.head.bias, GOLDEN("head_bias0"))
    model.slow.restart(model.head)
    return strategy


@pytest.mark.filterwarnings("ignore:class_mask=batch")
def test_a_run_is_the_published_one() -> None:
    """Finished experts take the published values before the third one starts as their mean, since
    momentum moves them on in the published run."""
    strategy = published()
    model = strategy.model
    batches: list[int] = []

    def compare(*_: Any) -> None:
        key = f"batch{len(batches)}"
        batches.append(int(GOLDEN(f"{key}/expert")))
        expert = batches[-1]
        assert model.selector.current == expert
        seen = model.seen
        logits = strategy.mb_output[:, seen]
        torch.testing.assert_close(logits, GOLDEN(f"{key}/logits")[:, seen], atol=1e-4, rtol=0)
        assert (strategy.mb_output[:, ~seen] == FINITE_MASK).all()
        GOLDEN.close(strategy.loss, f"{key}/loss", atol=1e-4)
        wanted = GOLDEN(f"{key}/prompts_after")[:, expert]
        torch.testing.assert_close(model.pools[0].values[expert], wanted, atol=1e-3, rtol=0)
        for name in ("weight", "bias"):
            own = model.head.get_parameter(name)
            GOLDEN.close(own, f"{key}/head_{name}_after", atol=1e-3)
            for j in range(2):
                slow = model.slow.get_buffer(f"slow_{name}")[expert, j]
                GOLDEN.close(slow, f"{key}/ema{j}_{name}", atol=1e-3)
        if key == "batch3":
            for finished in range(2):
                put(model.pools[0].values[finished], GOLDEN(f"{key}/prompts_after")[:, finished])

    def compare_start(head: Any) -> None:
        start = f"expert{model.selector.current}_start"
        for expert in range(model.selector.current + 1):
            mine = model.pools[0].values[expert]
            wanted = GOLDEN(f"{start}/prompts")[:, expert]
            torch.testing.assert_close(mine, wanted, atol=1e-3, rtol=0)
        GOLDEN.close(head.weight, f"{start}/ema0_weight", atol=1e-3)
        starts.append(start)

    starts: list[str] = []
    watch(model.slow, "restart", compare_start)
    watch(strategy, "after_step", compare)
    images, labels = (
        torch.cat([GOLDEN(f"batch{i}/{name}") for i in range(BATCHES)])
        for name in ("images", "labels")
    )
    # The published batches, one after the other; one image of each class follows.
    targets = torch.cat([labels, torch.arange(9)]).numpy()
    data = Labelled(torch.cat([images, images[:9]]), targets)
    split = Split.of("given", targets, [range(len(labels))], boundaries=True)
    (experience,) = benchmark_from_split(data, data, split).train_stream
    strategy.train(experience, eval_streams=[], shuffle=False)
    assert batches == [0, 0, 1, 1, 2, 2]
    assert starts == ["expert1_start", "expert2_start"]
    GOLDEN.close(model.selector.statistics.gram, "gram", atol=1e-4, rtol=1e-6)
    GOLDEN.close(model.selector.statistics.cross, "cross", atol=1e-4)
    check_published_test(model)


def check_published_test(model: Any) -> None:
    last = f"batch{BATCHES - 1}"
    for expert in range(3):
        put(model.pools[0].values[expert], GOLDEN(f"{last}/prompts_after")[:, expert])
        end = f"batch{2 * expert + 1}"
        for j in range(2):
            put(model.slow.get_buffer("slow_weight")[expert, j], GOLDEN(f"{end}/ema{j}_weight"))
            put(model.slow.get_buffer("slow_bias")[expert, j], GOLDEN(f"{end}/ema{j}_bias"))
    put(model.head.weight, GOLDEN(f"{last}/head_weight_after"))
    put(model.head.bias, GOLDEN(f"{last}/head_bias_after"))
    model.seen.copy_(GOLDEN("seen"))
    output = model.eval().run(GOLDEN("test/images"))
    GOLDEN.close(output.cacheable["frozen"], "test/frozen_features")
    scores = model.selector.scores(GOLDEN("test/frozen_features"))
    GOLDEN.close(scores, "test/router_scores", atol=1e-4)
    GOLDEN.close(model.selector.weight.T, "router_weight", atol=1e-4)
    assert torch.equal(output.selection.index[:, 0], GOLDEN("test/expert"))
    GOLDEN.close(output.logits.exp(), "test/ensemble_softmax_max_prob", atol=1e-4)


def test_experts_start_by_the_published_clock() -> None:
    total, experts, size = (
        int(GOLDEN(f"clock/{name}")) for name in ("total_samples", "steps", "batch")
    )
    data = Blobs(total, size=8)
    strategy = FlyPrompt(
        backbone=lively_vit(img_size=8, depth=1),
        n_classes=6,
        n_experts=experts,
        period=total // experts,
        prompted_blocks=(0,),
        prompt_length=1,
        plugins=[Router(width=4)],
        train_mb_size=size,
        online_iter=1,
        boundaries=False,
        evaluator=None,
        device="cpu",
    )
    starts: list[int] = []
    # Slow heads begin again with each expert.
    watch(strategy.model.slow, "restart", lambda _: starts.append(strategy.samples_seen))
    split = Split.of("given", data.targets, [range(total)], boundaries=True)
    fit(strategy, benchmark_from_split(data, data, split).train_stream)
    published_starts = GOLDEN("clock/switch_after_samples").tolist()
    assert starts[: experts - 1] == published_starts
    assert strategy.model.selector.current == experts - 1  # and there it stays
