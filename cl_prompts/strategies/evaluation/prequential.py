"""Prequential accuracy: images of the stream are predicted before they are trained on."""

from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.sums import sums_of
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.state import Registered, State
from cl_prompts.strategies.base.stream import Batch, StreamBatch
from cl_prompts.strategies.evaluation.evaluator import evaluating, macs_of

#: images of the accuracy over the last ones
RECENT = 500


class Prequential:
    """Share of the stream images that a model predicts before it is trained on them.

    It predicts images without augmentation. Images of a class that is not learned yet count as
    wrong. With a ``Budget``, also images of skipped batches are predicted, by the state before the
    running update. Only the first epoch counts, and only images of one label.

    A closed form predicts from the features of training, without a further forward pass, and never
    solves a system for it: it has the solution of the last evaluation, or with a budget that of the
    last update.

    Neighbours in a stream often have equal labels, hence the comparison with ``last_label``.
    Ghunaim et al. (CVPR 2023) report the accuracy alone, as online accuracy.

    Args:
        wanted: whether to predict; None: only with a closed form.

    Attributes:
        images: images predicted in forward passes of their own.
        macs: multiply-accumulates of these passes.

    Example:
        >>> Prequential().results  # nothing is predicted yet
        {}
    """

    def __init__(self, wanted: bool | None = None) -> None:
        self.wanted = wanted
        self.images, self.macs = 0, 0.0
        self._n = self._repeated = 0
        self._last = -1  # label of the last image
        self._right = torch.zeros((), dtype=torch.int64)
        self._recent = torch.zeros(0, dtype=torch.bool)
        self._solved: PrototypeClassifier | None = None
        self._waits = False  # for the features of a batch in training
        counts = ["images", "macs", "_n", "_repeated", "_last", "_right", "_recent"]
        self._state = Registered(self, counts)

    @property
    def results(self) -> dict[str, float]:
        """Accuracies ``prequential``, over all images, and ``prequential_500``, over the last 500;
        ``last_label``, that of the label of the image before. Empty without a prediction."""
        if not self._n:
            return {}
        return {
            "prequential": int(self._right) / self._n,
            "prequential_500": float(self._recent.double().mean()),
            "last_label": self._repeated / self._n,
        }

    def _predicts(self, strategy: SupervisedTemplate) -> bool:
        model = strategy.model
        if not isinstance(model, ContinualModel) or model.multi_label or strategy.whole_stream:
            return False
        return isinstance(model, PrototypeViT) if self.wanted is None else self.wanted

    def arrive(self, strategy: SupervisedTemplate, stream: StreamBatch, *, skipped: bool) -> None:
        """Predict a batch, before its classes are observed; a closed form does so later."""
        if strategy.clock.train_exp_epochs or not self._predicts(strategy):
            return
        model, budget = strategy.model, strategy.budget
        self._waits = isinstance(model, PrototypeViT) and not skipped
        if not self._waits:
            served = None if budget is None else budget.served
            logits = self._logits(strategy, stream, served or model)
            self._count(stream.first, stream.size, logits)
        elif budget is not None or not any(getattr(p, "derived", ()) for p in model.head.modules()):
            self._keep(model)

    def trained(self, strategy: SupervisedTemplate, samples: int) -> None:
        """Predict the batch that was trained, from its features, with the kept closed form."""
        if self._waits:
            self._waits = False
            features = strategy.output.features[:samples]
            none = features.new_full((len(features), 1), -torch.inf)
            logits = none if self._solved is None else self._solved(features)
            self._count(strategy.batch, samples, logits)

    def evaluated(self, strategy: SupervisedTemplate) -> None:
        """Keep the closed form that was just solved for an evaluation."""
        closed_form = self._predicts(strategy) and isinstance(strategy.model, PrototypeViT)
        if closed_form and strategy.budget is None:
            self._keep(strategy.model)

    def _keep(self, model: PrototypeViT) -> None:
        self._solved = None
        if bool(model.head.seen.any()):
            model.solve()
            self._solved = deepcopy(model.head, _sums(model.head))

    def _logits(
        self, strategy: SupervisedTemplate, stream: StreamBatch, model: ContinualModel
    ) -> Tensor:
        """Run a forward pass on the images of a batch without augmentation."""
        images, loader = stream.first.images[: stream.size], strategy.dataloader
        if len(stream.rows):
            # Without the key of a view, images have no augmentation.
            items = [loader.dataset[row, ()] for row in stream.rows.tolist()]
            images = loader.collate_fn(items)[0].to(images.device)
        before = macs_of(model)
        with torch.no_grad(), evaluating(model):
            logits = model.run(images).logits
        self.images += len(images)
        self.macs += macs_of(model) - before
        return logits

    def _count(self, batch: Batch, n: int, logits: Tensor) -> None:
        best = logits.max(dim=1)
        # All are -inf before a class is learned.
        right = (best.indices == batch.labels[:n]) & (best.values > -torch.inf)
        self._right = self._right.to(right.device) + right.sum()
        self._recent = torch.cat([self._recent.to(right.device), right])[-RECENT:]
        labels = batch.labels_on_host(n)
        self._repeated += int((F.pad(labels, (1, 0), value=self._last)[:-1] == labels).sum())
        self._last = int(labels[-1])
        self._n += n

    def state_dict(self) -> State:
        """Counts, and the kept closed form without its sums."""
        solved = None
        if self._solved is not None:
            sums = _sums(self._solved)
            buffers = self._solved.named_buffers()
            solved = {name: part.clone() for name, part in buffers if id(part) not in sums}
        return {
            **self._state.state_dict(),
            "solved": solved,
        }

    def load_state_dict(self, state: State, model: Any) -> None:
        """Inverse of :meth:`state_dict`, for a model in the same state."""
        self._state.load_state_dict(state)
        self._waits, self._solved = False, None
        if state["solved"] is not None:
            self._solved = deepcopy(model.head, _sums(model.head))
            for name, value in state["solved"].items():
                path, _, leaf = name.rpartition(".")
                setattr(self._solved.get_submodule(path), leaf, value.to(model.seen.device))
            # The model may have more classes by now.
            self._solved.grown()


def _sums(head: PrototypeClassifier) -> dict[int, Tensor]:
    """Sums and random projections of a closed form by id, which its solution does not need."""
    found: dict[int, Tensor] = {}
    for part in head.modules():
        names = {*sums_of(part), *getattr(part, "drawn", ())} - {"count", "mean"}
        own = [getattr(part, name, None) for name in names]
        found |= {id(value): value for value in own if value is not None}
    return found
