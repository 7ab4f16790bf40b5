"""APER: one task of training, then class means of two subspaces."""

import torch
from torch.utils.data import DataLoader

from tests.toy_data import N_CLASSES, experiences
from tests.toys import fit, make


def test_adapters_and_head_learn_in_the_first_task_alone() -> None:
    strategy = make("aper", "class_incremental", train_epochs=2)
    stream = experiences("class_incremental")
    trained = [strategy.model.adapters, strategy.model.head]
    start = [p.clone() for part in trained for p in part.parameters()]
    fit(strategy, stream[:1])
    first = [p.clone() for part in trained for p in part.parameters()]
    assert sum(not torch.equal(a, b) for a, b in zip(start, first, strict=True)) > 2
    epochs = strategy.samples_seen / len(stream[0].dataset)
    fit(strategy, stream[1:])
    assert all(map(torch.equal, first, [p for part in trained for p in part.parameters()]))
    assert epochs == 2
    assert strategy.samples_seen == 2 * len(stream[0].dataset) + sum(
        len(part.dataset) for part in stream[1:]
    )


def test_a_class_is_the_mean_of_all_its_images() -> None:
    strategy = make("aper", "class_incremental")
    stream = experiences("class_incremental")
    model = fit(strategy, stream).model.eval()
    for part in stream:
        images, labels, *_ = next(iter(DataLoader(part.dataset, batch_size=100)))
        with torch.no_grad():
            features = model.encode(images, {}).features.flatten(1)
        for c in labels.unique().tolist():
            mean = features[labels == c].mean(dim=0)
            torch.testing.assert_close(model.means.mean[c], mean, atol=1e-5, rtol=1e-4)
    assert float(model.means.count.sum()) == 72
    assert len(model.means.count) == N_CLASSES
