"""EASE: a subspace for every task, prototypes in all of them."""

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from tests.strategies.shared import noted, stream_batch
from tests.toy_data import experiences
from tests.toys import fit, make, weights


def test_prototypes_are_means_in_every_subspace_up_to_the_class_own() -> None:
    strategy = make("ease", "class_incremental")
    stream = experiences("class_incremental")
    model = fit(strategy, stream).model.eval()
    for task, part in enumerate(stream):
        images, labels, *_ = next(iter(DataLoader(part.dataset, batch_size=100)))
        with torch.no_grad():
            features = model.encode(images, {}).features
        for c in labels.unique().tolist():
            assert int(model.prototypes.task_of[c]) == task
            want = features[labels == c].mean(dim=0)[: task + 1]
            found = model.prototypes.prototypes[c, : task + 1]
            torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-4)
    assert bool((model.prototypes.prototypes.norm(dim=-1) > 0).all())  # completed


def test_finished_adapters_never_change_and_heads_and_their_scale_begin_afresh() -> None:
    strategy = make("ease", "class_incremental")
    first, second, _ = experiences("class_incremental")
    fit(strategy, [first])
    before = [p.clone() for p in strategy.model.adapters.sets[0].parameters()]
    head = strategy.model.head.weight.detach().clone()
    with torch.no_grad():
        strategy.model.head.sigma.fill_(3)
    starts = noted(strategy, "training_epoch", lambda **_: weights(strategy), [second])
    assert all(map(torch.equal, before, strategy.model.adapters.sets[0].parameters()))
    start, sigma = starts[0]["head.weight"], starts[0]["head.sigma"]
    assert not torch.equal(start, head)
    assert float(start.abs().max()) <= strategy.model.backbone.dim**-0.5
    assert float(sigma) == 1


def test_loss_is_over_the_new_classes_and_their_samples() -> None:
    strategy = make("ease", "class_incremental")
    first, *_ = experiences("class_incremental")
    fit(strategy, [first])
    old = sorted(first.classes_in_this_experience)
    new = [c for c in range(6) if c not in old]
    strategy.tasks_started += 1
    strategy.start_task(torch.ones(6, dtype=torch.bool))
    model = strategy.model.train()
    model.observe_classes(torch.tensor(new))
    labels = torch.tensor([old[0], new[0], new[1], new[0]])
    strategy.annotated = torch.ones(6, dtype=torch.bool)
    batch = stream_batch(strategy, torch.rand(4, 3, 16, 16), labels)
    output = strategy.training_output(batch)
    columns = torch.tensor([new.index(int(c)) for c in labels[1:]])
    want = F.cross_entropy(output.logits[1:, new], columns)
    torch.testing.assert_close(strategy.training_loss(output, batch), want)
    only_old = batch.part(slice(0, 1))
    loss = strategy.training_loss(strategy.training_output(only_old), only_old)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
