"""Multi-label metrics in Avalanche's evaluator, with an ordinary strategy."""

import pytest
import torch
from avalanche.training import Naive
from avalanche.training.plugins import EvaluationPlugin
from torch import nn

from cl_prompts.metrics.multi_label import images_with, multi_label_results
from cl_prompts.strategies.base.experience import classes_of
from cl_prompts.strategies.base.multi_label_metrics import MultiLabelMetrics
from tests.toy_data import N_CLASSES, benchmark


@pytest.mark.parametrize(("task", "seen"), [(0, None), (1, None), (2, [1, 3])])
def test_scores_are_over_the_classes_that_the_model_or_the_stream_has_seen(
    task: int, seen: list[int] | None
) -> None:
    torch.manual_seed(0)
    stream = benchmark("mlcil")
    test = stream.test_stream[task]
    known = torch.zeros(N_CLASSES, dtype=torch.bool)
    known[seen or sorted(test.classes_seen_so_far)] = True
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, N_CLASSES))
    if seen:
        model.register_buffer("seen", known)
    with pytest.warns(UserWarning, match="No loggers"):
        evaluator = EvaluationPlugin(MultiLabelMetrics(threshold=0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = nn.BCEWithLogitsLoss()
    naive = Naive(model=model, optimizer=optimizer, criterion=loss, evaluator=evaluator)
    naive.train(stream.train_stream[task])
    found = naive.eval([test])
    images, targets = map(torch.stack, zip(*((x, y) for x, y, *_ in test.dataset), strict=True))
    with torch.no_grad():
        logits = model(images)
    known &= classes_of(test, N_CLASSES)
    rows = images_with(targets, known)
    want = multi_label_results(logits, targets, known, rows=rows, thresholds=(0.5,))
    scores = {"MeanAP": want.mean_ap, "CF1": want.scores["cf1"], "OF1": want.scores["of1"]}
    for name, value in scores.items():
        (got,) = (v for key, v in found.items() if key.startswith(f"{name}_Exp/eval_phase"))
        assert got == pytest.approx(value)
