"""Sample of training features that tests a closed-form classifier, as an Avalanche plugin."""

import torch
from torch import Tensor

from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.closed_form.held_out_scores import held_out_scores
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.metrics.confidence import temperature_of
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.stream import own_sampler

#: samples kept
SAMPLED = 200


class FeatureSample(StrategyPlugin):
    """Uniform sample of training features, which calibrates a closed-form classifier.

    No sample is scored by a solution that contains it, see
    :func:`~cl_prompts.closed_form.held_out_scores.held_out_scores`. This takes no forward passes.

    The sample (200 features and labels) is part of checkpoints, and of the ledger of a model.

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

    _several = False

    def attach(self, strategy: OnlineStrategy) -> None:
        """Make room for features of the strategy's backbone."""
        model = strategy.model
        self._several = model.multi_label
        columns = 2 + (model.n_classes if model.multi_label else 1)
        dim = model.backbone.feature_dim
        sample = HeldOutSample(SAMPLED, dim, columns, seed=strategy.seed).float()
        if not model.multi_label:
            sample.class_axes = {}  # one column holds the label, whatever the number of classes
        self.sample = sample.to(strategy.device)
        """Features, and targets (n, 2 + ...): task and row in it of the sample, then its label;
        with several labels (n, 2 + classes): 1, 0, or -1 if unknown."""
        self.state.add("sample")

    def end_of_stream_batch(self, strategy: OnlineStrategy, samples: int) -> None:
        """Offer the features of a stream batch to the sample."""
        batch, n = strategy.batch, samples
        rows = torch.full((n,), -1)  # unknown in the loader of a plugin
        sampler = own_sampler(strategy.dataloader)
        if sampler is not None:
            start = strategy.samples_seen - samples - sampler.origin
            rows = sampler.order[start : start + n]
        labels = batch.labels[:n]
        if labels.dim() == 1:
            labels = labels[:, None]
        else:
            labels = labels.long().masked_fill(~batch.annotated.expand_as(labels), -1)
        task = torch.full((n, 1), strategy.clock.train_exp_counter, device=labels.device)
        places = rows[:, None].to(labels.device)
        self.sample.add(strategy.output.features[:n], torch.cat([task, places, labels], dim=1))

    @property
    def samples(self) -> tuple[Tensor, Tensor, Tensor]:
        """Features (n, dim), places (n, 2), and targets as
        :func:`~cl_prompts.closed_form.held_out_scores.held_out_scores` takes them, on the CPU."""
        features, found = self.sample.samples
        found = found.long().cpu()
        return features, found[:, :2], found[:, 2:] if self._several else found[:, 2]

    def temperature(self, head: PrototypeClassifier) -> float | None:
        """Fit the temperature, see :func:`~cl_prompts.metrics.confidence.temperature_of`.

        Args:
            head: the classifier trained so far, of one label per image; it does not change.

        Returns:
            None also for a classifier whose state is not a sum over samples.
        """
        features, _, labels = self.samples
        found = held_out_scores(head, features, labels)
        if found is None:
            return None
        # A class whose samples are all in one part has no score there.
        scored = found[1].gather(1, labels[:, None])[:, 0].isfinite()
        return temperature_of(found[1][scored], labels[scored])
