"""FlyPrompt's parts against the published run, and what they promise."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.losses.classification import batch_classes, masked_cross_entropy
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.models.slow_heads import Ensemble, SlowHeads, ensemble_logits
from cl_prompts.prompts.pools import TokenPool, class_position
from cl_prompts.prompts.selectors import Selection
from tests.golden_numbers import Golden, golden_vit, put

GOLDEN = Golden("flyprompt")


def choose(expert: int | Tensor, n: int) -> Selection:
    index = torch.as_tensor(expert).expand(n)[:, None]
    return Selection(index, torch.zeros(n, 3), torch.ones(3))


class Published:
    """The published run, in which all experts are one parameter."""

    def __init__(self) -> None:
        self.vit: FrozenViT = golden_vit()
        self.pool = TokenPool(3, range(5), 3, 32, position=class_position(self.vit))
        put(self.pool.values, GOLDEN("prompts0").transpose(0, 1))
        self.head = nn.Linear(32, 9)
        put(self.head.weight, GOLDEN("head_weight0"))
        put(self.head.bias, GOLDEN("head_bias0"))
        self.slow = SlowHeads(self.head, 3, GOLDEN("ema_ratio").tolist())
        self.router = AnalyticRouter(3, 32, width=40, ridge=GOLDEN.number("ridge"))
        assert self.router.statistics.expansion is not None
        self.router.statistics.expansion.matrix = GOLDEN("projection")
        self.optimizer = torch.optim.Adam(
            [*self.head.parameters(), *self.pool.parameters()], lr=5e-3
        )

    def features(self, images: Tensor, expert: int | Tensor) -> Tensor:
        plan = self.pool.build(choose(expert, len(images)))
        return self.vit.class_features(self.vit.embed(images), plan)

    def start(self, expert: int) -> None:
        with torch.no_grad():
            self.pool.values[expert] = self.pool.values[:expert].mean(dim=0)
        for part in (self.slow, self.router):
            part.start_task(expert)
        self.slow.restart(self.head)

    def step(self, batch: int, expert: int) -> None:
        images = GOLDEN(f"batch{batch}/images")
        labels = GOLDEN(f"batch{batch}/labels")
        logits = self.head(self.features(images, expert))
        GOLDEN.close(logits, f"batch{batch}/logits", atol=1e-4)
        loss = masked_cross_entropy(logits, labels, batch_classes(labels, 9))
        GOLDEN.close(loss, f"batch{batch}/loss", atol=1e-4)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.slow.update(self.head)
        self.router.update(self.vit(images))


def test_published_run() -> None:
    run = Published()
    slow_weight, slow_bias = (run.slow.get_buffer(f"slow_{n}") for n in ("weight", "bias"))
    for batch in range(6):
        expert = int(GOLDEN(f"batch{batch}/expert"))
        if expert and batch % 2 == 0:
            run.start(expert)
            key = f"expert{expert}_start"
            GOLDEN.close(run.pool.values.transpose(0, 1), f"{key}/prompts", atol=1e-3)
            GOLDEN.close(slow_weight[expert, 0], f"{key}/ema0_weight", atol=1e-3)
        run.step(batch, expert)
        GOLDEN.close(run.pool.values.transpose(0, 1), f"batch{batch}/prompts_after", atol=1e-3)
        GOLDEN.close(run.head.weight, f"batch{batch}/head_weight_after", atol=1e-3)
        GOLDEN.close(run.head.bias, f"batch{batch}/head_bias_after", atol=1e-3)
        for j in range(2):
            GOLDEN.close(slow_weight[expert, j], f"batch{batch}/ema{j}_weight", atol=1e-3)
            GOLDEN.close(slow_bias[expert, j], f"batch{batch}/ema{j}_bias", atol=1e-3)
    # The published sums are float32, and reach thousands.
    GOLDEN.close(run.router.statistics.gram, "gram", atol=1e-4, rtol=1e-6)
    GOLDEN.close(run.router.statistics.cross, "cross", atol=1e-4)
    images = GOLDEN("test/images")
    query = run.vit(images)
    GOLDEN.close(query, "test/frozen_features")
    scores = run.router.scores(query)
    assert run.router.weight is not None
    GOLDEN.close(run.router.weight.T, "router_weight", atol=1e-4)
    GOLDEN.close(scores, "test/router_scores", atol=1e-4)
    expert = run.router.eval()(query).index[:, 0]
    assert torch.equal(expert, GOLDEN("test/expert"))
    features = run.features(images, expert)
    logits = torch.cat([run.head(features)[None], run.slow(run.head, features, expert)])
    for j in range(3):
        GOLDEN.close(logits[j], f"test/head{j}_logits", atol=1e-4)
    for kind in get_args(Ensemble):
        got = ensemble_logits(logits, GOLDEN("seen"), kind)
        if kind.startswith("softmax"):  # published as probabilities
            got = got.exp()
        finite = GOLDEN(f"test/ensemble_{kind}").isfinite()
        assert torch.equal(got.isfinite(), finite)
        torch.testing.assert_close(
            got[finite], GOLDEN(f"test/ensemble_{kind}")[finite], atol=1e-4, rtol=0
        )
