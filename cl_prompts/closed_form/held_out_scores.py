"""Held-out scores of learned samples."""

from copy import deepcopy

import torch
from torch import Tensor

from cl_prompts.closed_form.discriminant import ClassSketches
from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.sums import combine, zero
from cl_prompts.errors import InputError

_PARTS = 5
#: parts whose state is not a sum: it stays that of all samples
_UNCHANGED = (HeldOutSample, ClassSketches)


@torch.no_grad()
def held_out_scores(
    head: PrototypeClassifier, features: Tensor, targets: Tensor, *, seed: int | None = None
) -> tuple[Tensor, Tensor] | None:
    """Score learned samples, each by the sums without it, or else without a fifth of the samples.

    Leave-one-out scores take one factorisation. A classifier without them is solved five times,
    with temporarily twice its memory; a ridge that was chosen on held-out samples stays, and so do
    sketches of covariances. No forward passes.

    Args:
        head: the classifier, which does not change.
        features: (n, dim) of samples that it has learned.
        targets: on the CPU, (n,) labels; with several labels (n, classes) 1, 0, or -1 where a
            class is not annotated.
        seed: of the division into parts; None divides in order.

    Returns:
        rows (n,) of the samples and their logits (n, classes), both on the CPU, -inf for the class
            of a sample that is alone in it; None for a classifier whose state is not a sum over
            samples.
    """
    order = torch.arange(len(targets))
    if head.leaves_one_out:
        logits = head.leave_one_out(features, targets).float().cpu()
        alone = logits.isnan().any(dim=1).nonzero()[:, 0]
        if targets.ndim == 1:
            logits[alone] = 0
            logits[alone, targets[alone]] = -torch.inf
        return order, logits
    if seed is not None:
        order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    found = [torch.zeros(0, head.n_classes)]
    for rows in order.chunk(_PARTS):
        x, y = features[rows.to(features.device)], targets[rows]
        rest, part = deepcopy(head), deepcopy(head)
        zero(part)
        learn(part, x, y)
        try:
            combine(rest, part, -1, unchanged=_UNCHANGED)
        except InputError:
            return None
        found.append(rest.logits(x).cpu())
    return order, torch.cat(found)


def learn(head: PrototypeClassifier, features: Tensor, targets: Tensor) -> None:
    """Add samples (n, dim) to a classifier; targets as in :func:`held_out_scores`."""
    if targets.ndim == 1:
        head.update(features, targets)
    else:
        known = targets.to(features.device)
        head.update(features, (known > 0).float(), known >= 0)
