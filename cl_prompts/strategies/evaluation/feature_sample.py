"""Sample of training features that tests a closed-form classifier, as an Avalanche plugin."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from avalanche.core import BaseSGDPlugin
from torch import Tensor

from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.sums import combine, zero
from cl_prompts.errors import InputError
from cl_prompts.metrics.confidence import temperature_of
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.settings import State

#: samples kept
SAMPLED = 200
_PARTS = 5


class FeatureSample(BaseSGDPlugin):
    """Uniform sample of training features, which calibrates a classifier of one label per image.

    The sample is scored in five parts. The classifier's sums minus those of a part give the
    solution that scores this part, so no sample is scored by a solution that contains it. This
    takes five solutions, no forward passes, and temporarily twice the memory of the classifier.

    The sample (200 features and labels) is part of checkpoints, not of the model.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.scenarios import load_dataset, si_blurry_benchmark
        >>> from cl_prompts.strategies import NCM
        >>> data = load_dataset("digits", image_size=32, classes=4)
        >>> benchmark = si_blurry_benchmark(data.train, data.test, n_tasks=2, seed=1)
        >>> sample = FeatureSample()
        >>> ncm = NCM(backbone=create_backbone(), n_classes=4, evaluator=None, plugins=[sample])
        >>> metrics = ncm.train(benchmark.train_stream)
        >>> round(sample.temperature(ncm.model.head), 2)  # cosines vary little
        0.06
    """

    sample: HeldOutSample
    """Features, and labels (n, 1)."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Make room for features of the strategy's backbone."""
        model = strategy.model
        dim = model.backbone.feature_dim
        sample = HeldOutSample(SAMPLED, dim, 1, seed=strategy.seed, dtype=torch.float32)
        self.sample = sample.to(strategy.device)

    def end_of_stream_batch(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Offer the features of a stream batch to the sample."""
        batch = strategy.batch
        n = batch.n_stream
        self.sample.add(strategy.output.features[:n], batch.labels[:n, None])

    @torch.no_grad()
    def adopt(
        self, strategy: OnlineStrategy, images: Sequence[Tensor], labels: Tensor, *, offered: int
    ) -> None:
        """Take a uniform sample of what a combined model has learned elsewhere.

        Args:
            strategy: of the model.
            images, labels: the sample, each (3, size, size) in [0, 1], and (n,).
            offered: number of samples that it was drawn from.
        """
        self.sample.clear()
        model = strategy.model.eval()
        for start in range(0, len(images), strategy.train_mb_size):
            rows = slice(start, start + strategy.train_mb_size)
            features = model.features(torch.stack([*images[rows]]).to(strategy.device))
            self.sample.add(features, labels[rows, None].to(features.device))
        self.sample.reservoir.offered = offered

    @torch.no_grad()
    def temperature(self, head: PrototypeClassifier) -> float | None:
        """Fit the temperature, see :func:`~cl_prompts.metrics.confidence.temperature_of`.

        Args:
            head: the classifier trained so far, of one label per image; it does not change.

        Returns:
            None also for a classifier whose state is not a sum over samples.
        """
        features, targets = self.sample.samples
        labels = targets[:, 0].long()
        found = [torch.zeros(0, head.n_classes, device=features.device)]
        for rows in torch.arange(len(labels), device=features.device).chunk(_PARTS):
            rest, part = deepcopy(head), deepcopy(head)
            zero(part)
            part.update(features[rows], labels[rows])
            try:
                # A ridge that was chosen on held-out samples stays.
                combine(rest, part, -1, unchanged=(HeldOutSample,))
            except InputError:
                return None
            found.append(rest.logits(features[rows]))
        logits = torch.cat(found).cpu()
        labels = labels.cpu()
        # A class whose samples are all in one part has no score there.
        scored = logits.gather(1, labels[:, None])[:, 0].isfinite()
        return temperature_of(logits[scored], labels[scored])

    def state_dict(self) -> State:
        """Return the sample."""
        return dict(self.sample.state_dict())

    def load_state_dict(self, state: State) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.sample.load_state_dict(state)
