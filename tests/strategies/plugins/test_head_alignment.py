"""When heads are aligned, with what, and that nothing else moves."""

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.strategies import HeadAlignment
from cl_prompts.training.gaussian_alignment import GaussianHeadAlignment
from tests.toy_data import experiences
from tests.toys import fit, make, same, weights

#: one of each way to select prompts and to build them
KINDS = ("l2p", "dual_prompt", "coda_prompt", "single_prompt", "flyprompt", "hide_prompt")


def aligned(kind: str, scenario: str = "si_blurry", **changes: Any) -> tuple[Any, HeadAlignment]:
    names = set(changes) & set(HeadAlignment.settings())
    settings = {name: changes.pop(name) for name in names}
    plugin = HeadAlignment(**{"epochs": 2, "samples": 8, "lr": 0.01, **settings})
    return make(kind, scenario, plugins=[plugin], **changes), plugin


@pytest.mark.parametrize("kind", ["mvp", *KINDS])
def test_task_ends_know_the_features_of_evaluation_and_from_the_second_on_move_the_head_alone(
    kind: str,
) -> None:
    strategy, plugin = aligned(kind, "class_incremental", statistics="variance", online_iter=1)
    stream = experiences("class_incremental")
    moved = []
    end = plugin.end_of_task

    def noting(strategy: Any) -> None:
        before = weights(strategy)
        end(strategy)
        after = weights(strategy)
        moved.append({name for name in before if not torch.equal(before[name], after[name])})

    plugin.end_of_task = noting
    fit(strategy, stream[:1])
    alignment = plugin.current(announced=True)[0]
    data = stream[0].dataset
    assert alignment.observed.tolist() == [True, True, False, False, False, False]
    images, labels = (torch.stack([torch.as_tensor(x[i]) for x in data]) for i in (0, 1))
    model = strategy.model.eval()
    if model.selector is not None:
        model.selector.train()
    with torch.no_grad():
        raw = model.run(images).raw
    for c in (0, 1):
        torch.testing.assert_close(alignment.mean[c, 0], raw[labels == c].mean(dim=0))
        assert alignment.count[c, 0] == (labels == c).sum()
    fit(strategy, stream[1:2])
    # The classifier of queries is one of the two heads of HiDe-Prompt.
    heads = [{n for n in names if n.startswith(("head.", "selector.cl"))} for names in moved]
    assert moved == heads
    first, second = moved
    assert not first
    assert "head.weight" in second


@pytest.mark.parametrize("statistics", ["centroids", "covariance", "variance"])
def test_without_boundaries_the_head_is_aligned_every_period(
    statistics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, plugin = aligned("one_prompt", period=24, statistics=statistics, buffer_size=12)
    at: list[int] = []
    align = GaussianHeadAlignment.align

    def noting(alignment: Any, head: Any) -> None:
        at.append(strategy.samples_seen)
        align(alignment, head)

    monkeypatch.setattr(GaussianHeadAlignment, "align", noting)
    fit(strategy, experiences())
    assert len(at) == 72 // 24
    (of_kinds,) = plugin.alignments
    assert len(of_kinds) == (2 if statistics == "centroids" else 1)
    (streaming,) = plugin.current(announced=False)
    assert streaming.statistics == ("variance" if statistics == "centroids" else statistics)
    assert int(streaming.count.sum()) == 72 * strategy.online_iter  # without replayed samples


#: SLCA's, and SLCA++'s
SLCA: dict[str, Any] = {
    "statistics": "covariance",
    "unbiased": True,
    "mean_scale": "task",
    "logit_norm": 0.1,
    "restore": True,
}
PLUS = {**SLCA, "mean_scale": None, "feature_scale": 0.5}


@pytest.mark.parametrize("settings", [SLCA, PLUS])
def test_a_restored_head_serves_evaluation_alone(settings: dict[str, Any]) -> None:
    stream = experiences("class_incremental")
    plain = fit(aligned("one_prompt", "class_incremental", epochs=0)[0], stream)
    strategy, plugin = aligned("one_prompt", "class_incremental", **settings)
    started: list[dict[str, torch.Tensor]] = []
    start = plugin.start_of_task

    def noting(strategy: Any) -> None:
        start(strategy)
        started.append(weights(strategy))

    plugin.start_of_task = noting
    fit(strategy, stream[:2])
    alignment = plugin.current(announced=True)[0]
    assert alignment.first.tolist() == [0, 0, 1, 1, -1, -1]
    before = {name: value.clone() for name, value in plugin.trained[0].state_dict().items()}
    assert not torch.equal(before["weight"], strategy.model.head.weight)
    # A resumed run puts the same head back.
    again, _ = aligned("one_prompt", "class_incremental", **settings)
    again.load_state_dict(strategy.state_dict())
    for one in (strategy, again):
        fit(one, stream[2:])
    assert torch.equal(started[2]["head.weight"], before["weight"])
    assert torch.equal(started[2]["head.bias"], before["bias"])
    assert same(weights(strategy), weights(again))
    # Training knows nothing of alignments.
    kept = plugin.trained[0].state_dict()
    assert torch.equal(kept["weight"], plain.model.head.weight)


def test_rows_of_earlier_tasks_are_lengthened_by_their_age() -> None:
    rows = []
    for scale in (0.0, 0.5):
        strategy, plugin = aligned("linear_probe", "class_incremental", **PLUS)
        for (alignment,) in plugin.alignments:
            alignment.scaled = lambda features, *_: features  # not the draws
            alignment.feature_scale = scale
        fit(strategy, experiences("class_incremental"))
        rows.append(strategy.model.head.weight.detach())
    ages = torch.tensor([2, 2, 1, 1, 0, 0])[:, None]
    torch.testing.assert_close(rows[1], rows[0] * (1 + 0.5 * ages))


def test_a_stream_without_boundaries_puts_nothing_back() -> None:
    strategy, _ = aligned("one_prompt", period=24, **SLCA)
    with pytest.raises(InputError, match="does not announce: leave restore out"):
        fit(strategy, experiences())
    without, plugin = aligned("one_prompt", period=24, **{**SLCA, "restore": False})
    fit(without, experiences())
    alignment = plugin.current(announced=False)[0]
    assert int(alignment.task) == 3
    assert set(alignment.first.tolist()) <= {0, 1, 2}
