"""Evaluation by the number of samples seen, as an Avalanche plugin."""

import warnings
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from avalanche.core import BaseSGDPlugin
from avalanche.evaluation.metric_results import MetricValue
from avalanche.training import JointTraining
from avalanche.training.templates import SupervisedTemplate

from cl_prompts.checks import one_of, whole_number
from cl_prompts.losses.classification import batch_classes
from cl_prompts.metrics.continual import a_auc, multi_label_run_results, results, without_course
from cl_prompts.metrics.curve import Curve, Evaluation
from cl_prompts.models.base import ContinualModel
from cl_prompts.state import Registered, State
from cl_prompts.strategies.base.experience import TaskPosition
from cl_prompts.strategies.base.multi_label_metrics import refuse_accuracy
from cl_prompts.strategies.base.stream import StreamBatch
from cl_prompts.strategies.evaluation.evaluator import CachedEvaluator
from cl_prompts.strategies.evaluation.prequential import Prequential
from cl_prompts.strategies.evaluation.tested import TestedDomains, TestSet, dataset_of
from cl_prompts.strategies.plugins.keep_order import KeepOrder

Listener = Callable[[str, Evaluation], None]


def following(samples: int, threshold: int, every: int, points: str, ahead: int = 0) -> int:
    """Return the next threshold after a batch; another one than ``threshold`` if it was reached.

    Default: the first batch boundary at or past each multiple of ``every``. Published: strictly
    past it; no threshold is skipped, so they may lag behind.
    """
    if points == "default":
        return (samples // every + 1) * every if samples >= threshold else threshold
    return threshold + every if samples + ahead > threshold else threshold


def _warn_of_sorted_memory(strategy: SupervisedTemplate) -> None:
    def by_class(data: Any) -> bool:
        labels = [label for label, _ in groupby(map(int, data.targets))]
        return len(labels) == len(set(labels)) > 1

    if by_class(strategy.adapted_dataset) and not by_class(strategy.experience.dataset):
        advice = "set experience.ordered = False, then train with shuffle=True"
        name = type(strategy).__name__
        warnings.warn(f"{name} trains on a memory sorted by class: {advice}", stacklevel=2)


class AnytimeEvaluation(BaseSGDPlugin):
    """Evaluation on the classes seen so far, at sample counts and task ends.

    Works with the strategies of this package and with Avalanche's own (Naive, Replay, ...), for
    which classes are read from labels and samples are counted from the experience. Logits of unseen
    classes are masked. Evaluations change neither the strategy's mini-batch nor a random generator,
    so their frequency does not change training. The strategy's evaluator and its loggers receive
    ``AnytimeAccuracy`` and ``A_AUC`` over samples seen. On a multi-label test set all accuracies
    are average precisions, named ``AnytimeMAP`` and so on.

    Methods such as GDumb train on a memory sorted by class instead of the stream. Shuffle it: set
    ``experience.ordered = False`` and train with ``shuffle=True``; otherwise a warning says so.

    Args:
        test: a test stream, an experience or a data set with ``.targets`` and fixed images.
        n_classes: classes of the data set; by default the largest test label + 1, or the columns of
            multi-hot targets.
        every: samples between two anytime points; None evaluates after tasks only.
        points: ``"default"``: the first batch boundary with samples seen >= k * every, and the end
            of the stream; ``"published"``: strictly past k * every, one step of k per evaluation,
            no end point (Si-Blurry's code); ``"look_ahead"``: one batch earlier, where the
            next batch of that size would pass it (SinglePrompt's and FlyGCL's code).
        batch_size: test images per batch.
        num_workers: loader processes for test images.
        prequential: predict each stream image before it is trained on, see
            :class:`~cl_prompts.strategies.evaluation.prequential.Prequential`; None: only where
            this needs no forward pass, with a closed form.
        home_classes: single label: the home classes of each task, each class in one task, which
            define forward transfer (FWT); None without homes.
        listeners: called with ("anytime" or "task_end", evaluation).

    Attributes:
        curve: all evaluations so far.
        new_classes: for each finished task, the classes that first appeared in it.
        domains: tested domains of a domain-incremental stream. A test image is included once its
            class and its domain were seen in training. Domains without training images are always
            included. Each (domain, class) pair is a class, and a task's images are those of its
            domain.

    Raises:
        InputError: a number out of range, or an unknown word.

    Example:
        >>> from torch.utils.data import TensorDataset
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.scenarios import si_blurry_benchmark
        >>> from cl_prompts.strategies import NCM
        >>> data = TensorDataset(torch.rand(40, 3, 32, 32), torch.arange(40) % 4)
        >>> data.targets = data.tensors[1].tolist()
        >>> benchmark = si_blurry_benchmark(data, data, n_tasks=2, seed=1)
        >>> anytime = AnytimeEvaluation(data, every=10)
        >>> ncm = NCM(backbone=create_backbone(), n_classes=4, evaluator=None, plugins=[anytime])
        >>> for experience in benchmark.train_stream:
        ...     metrics = ncm.train(experience)
        >>> len(anytime.curve.task_ends)
        2
    """

    def __init__(
        self,
        test: TestSet,
        *,
        n_classes: int | None = None,
        every: int | None = 1000,
        points: str = "default",
        batch_size: int = 128,
        num_workers: int = 0,
        prequential: bool | None = None,
        home_classes: Sequence[Sequence[int]] | None = None,
        listeners: Sequence[Listener] = (),
    ) -> None:
        super().__init__()
        if every is not None:
            whole_number("the evaluation period", every)
        one_of("kind of anytime points", points, ("default", "published", "look_ahead"))
        self.evaluator = CachedEvaluator(
            dataset_of(test), batch_size=batch_size, num_workers=num_workers
        )
        targets = self.evaluator.targets
        self.n_classes = n_classes or (
            targets.shape[1] if targets.dim() == 2 else int(targets.max()) + 1
        )
        self.every = every
        self.points = points
        self.listeners = list(listeners)
        self.home_classes = home_classes
        self.curve = Curve()
        self.new_classes: list[list[int]] = []
        self.domains = TestedDomains(self.evaluator)
        self.prequential = Prequential(prequential)
        self.own_scores: list[str] = []
        self.samples_seen = 0
        self.next_threshold = every or 0
        self._seen = torch.zeros(self.n_classes, dtype=torch.bool)
        self._start = 0  # samples seen before this epoch
        self._iteration = 0  # of this epoch
        self._moved = False  # whether an update followed the last evaluation
        self._position = TaskPosition()
        self._strategy: SupervisedTemplate = None
        self._whole_stream = False
        self._unrecorded = False  # whether the end of a task is not evaluated yet
        plain = ("new_classes", "own_scores", "samples_seen", "next_threshold", "_seen")
        self._state = Registered(self, ["curve", *plain])

    @property
    def _end_counts(self) -> bool:
        """Whether the end of the stream is an anytime point."""
        return self.every is not None and self.points == "default"

    @property
    def a_auc(self) -> float:
        """A_AUC of the stream so far, as in ``results``; NaN without a point."""
        return a_auc(self.curve, end=self._end_counts)

    @property
    def results(self) -> dict[str, float | None]:
        """Metrics of the stream so far; final ones alone for a strategy of the whole stream."""
        end = self._end_counts
        if self.evaluator.multi_label:
            found = multi_label_run_results(self.curve, self.new_classes, end=end)
        else:
            curve, tasks = self.course
            found = results(curve, tasks, end=end, home_classes=self.home_classes)
        found |= self.prequential.results
        return without_course(found) if self._whole_stream else found

    @property
    def course(self) -> tuple[Curve, list[list[int]]]:
        """All evaluations so far, and the classes of each finished task.

        In a domain-incremental stream, each (domain, class) pair is a class.
        """
        if self.evaluator.shown is None:
            return self.curve, self.new_classes
        return self.curve.in_domains(), self.domains.cells(self.n_classes)

    def by_domain(self, evaluation: Evaluation) -> dict[str, float]:
        """Return the accuracy on each domain seen, by name; empty without domains."""
        values = evaluation.by_domain
        if values is None:
            return {}
        named = zip(self.evaluator.domain_names, values.tolist(), strict=True)
        return {name: value for name, value in named if value == value}

    def attach(self, strategy: SupervisedTemplate) -> None:
        """Attach to a strategy."""
        self._strategy = strategy
        joint = isinstance(strategy, JointTraining)
        self._whole_stream = joint or bool(getattr(strategy, "whole_stream", False))

    def before_training_exp(self, strategy: SupervisedTemplate, **kwargs: Any) -> None:
        """Use the device and the number of classes of the strategy."""
        self.attach(strategy)
        if not self._whole_stream:
            KeepOrder().before_training_exp(strategy, **kwargs)
        ours = isinstance(strategy.model, ContinualModel)
        if not (ours or self.evaluator.multi_label or kwargs.get("shuffle", True)):
            _warn_of_sorted_memory(strategy)
        if self.evaluator.multi_label and strategy.evaluator is not None:
            refuse_accuracy(strategy.evaluator)
        self.evaluator.device = strategy.device
        if ours and strategy.model.n_classes > self.n_classes:
            self.n_classes = strategy.model.n_classes
            self._widen()
        resumed = getattr(strategy, "loop", None) is not None and strategy.loop.place is not None
        self._position.enter(strategy.experience, again=resumed)
        self.domains.begin(strategy.experience)

    def _widen(self) -> None:
        self._seen = F.pad(self._seen, (0, self.n_classes - len(self._seen)))
        self.curve.widen(self.n_classes)

    def before_training_epoch(self, strategy: SupervisedTemplate, **kwargs: object) -> None:
        """Start a new epoch."""
        self._start = self.samples_seen
        self._iteration = 0

    def before_training_iteration(self, strategy: SupervisedTemplate, **kwargs: object) -> None:
        """Record the classes of the batch, for models that do not record them."""
        # Reading labels synchronises with a GPU.
        if not isinstance(strategy.model, ContinualModel):
            labels = strategy.mb_y.cpu()
            if not self.evaluator.multi_label and int(labels.max()) >= self.n_classes:
                self.n_classes = int(labels.max()) + 1
                self._widen()
            self._seen |= batch_classes(labels, self.n_classes)

    def after_training_iteration(self, strategy: SupervisedTemplate, **kwargs: object) -> None:
        """Evaluate if a threshold was reached."""
        self._iteration += 1
        self._moved = True
        self._count_up(strategy)

    def arrival_of_stream_batch(
        self, strategy: SupervisedTemplate, stream: StreamBatch, *, skipped: bool
    ) -> None:
        """Predict the batch."""
        self.prequential.arrive(strategy, stream, skipped=skipped)

    def end_of_stream_batch(self, strategy: SupervisedTemplate, samples: int) -> None:
        """Predict the batch, if that waits for its features."""
        self.prequential.trained(strategy, samples)

    def end_of_skipped_batch(self, strategy: SupervisedTemplate) -> None:
        """Evaluate if a batch that a budget skipped reached a threshold."""
        self._count_up(strategy)

    def _count_up(self, strategy: SupervisedTemplate) -> None:
        before = self.samples_seen
        self.samples_seen = self._count(strategy)
        # No progress: another update on the same batch.
        if self.every is None or self.samples_seen == before:
            return
        threshold = self.next_threshold
        ahead = self.samples_seen - before if self.points == "look_ahead" else 0
        self.next_threshold = following(
            self.samples_seen, threshold, self.every, self.points, ahead
        )
        if self.next_threshold != threshold:
            self._record("anytime", self._evaluate(strategy), strategy)

    def after_training_exp(self, strategy: SupervisedTemplate, **kwargs: object) -> None:
        """Evaluate after the task, unless the model was just evaluated.

        Mini-experiences within a task are not task ends. Avalanche's own strategies and plugins
        may act after this event, so they are evaluated at the next one.
        """
        if not self._position.last:
            return
        if hasattr(strategy, "announced"):
            self._end_task(strategy)
        else:
            self._unrecorded = True

    def before_train_dataset_adaptation(
        self, strategy: SupervisedTemplate, **kwargs: object
    ) -> None:
        """Evaluate the previous task before the next one starts."""
        self._record_end(strategy)

    def after_training(self, strategy: SupervisedTemplate, **kwargs: object) -> None:
        """Evaluate after the last task."""
        self._record_end(strategy)

    def _record_end(self, strategy: SupervisedTemplate) -> None:
        if self._unrecorded:
            self._unrecorded = False
            self._end_task(strategy)

    def _end_task(self, strategy: SupervisedTemplate) -> None:
        self._note_classes(strategy)
        listed = {c for classes in self.new_classes for c in classes}
        seen = self._seen.nonzero().flatten().tolist()
        self.new_classes.append([c for c in seen if c not in listed])
        self.domains.end_task()
        found = None
        # Otherwise the model may have changed since, or the task has a test set of its own.
        if not (self._moved or self.evaluator.multi_label or getattr(strategy, "announced", True)):
            recent = (*self.curve.anytime[-1:], *self.curve.task_ends[-1:])
            found = next((e for e in recent if e.samples_seen == self.samples_seen), None)
        self._record("task_end", found or self._evaluate(strategy), strategy)

    def _count(self, strategy: SupervisedTemplate) -> int:
        own = getattr(strategy, "samples_seen", None)
        if own is not None:
            return int(own)
        # Batches of Avalanche's strategies may hold replayed samples, so progress within the
        # adapted data set is scaled to the samples of the experience.
        whole = len(strategy.adapted_dataset)
        n = whole if self._whole_stream else len(strategy.experience.dataset)
        return self._start + min(self._iteration * strategy.train_mb_size, whole) * n // whole

    def _note_classes(self, strategy: SupervisedTemplate) -> None:
        if isinstance(strategy.model, ContinualModel):
            budget = getattr(strategy, "budget", None)
            # Classes of skipped batches have arrived, so their test images count, too.
            seen = strategy.model.seen.cpu() if budget is None else budget.arrived
            self._seen[: len(seen)] |= seen

    def _evaluate(self, strategy: SupervisedTemplate) -> Evaluation:
        self._note_classes(strategy)
        self._moved = False
        budget = getattr(strategy, "budget", None)
        served = None if budget is None else budget.served
        found = self.evaluator.evaluate(
            served or strategy.model,
            self._seen,
            samples_seen=self.samples_seen,
            tasks=self.new_classes,
        )
        self.prequential.evaluated(strategy)
        return found

    def _record(self, kind: str, evaluation: Evaluation, strategy: SupervisedTemplate) -> None:
        (self.curve.anytime if kind == "anytime" else self.curve.task_ends).append(evaluation)
        if strategy.evaluator is not None and evaluation.accuracy == evaluation.accuracy:
            what = "MAP" if self.evaluator.multi_label else "Accuracy"
            values = {("Anytime" if kind == "anytime" else "TaskEnd") + what: evaluation.accuracy}
            if self.curve.anytime:
                values["A_AUC"] = self.a_auc
            for name, value in (values | evaluation.scores).items():
                if value == value:  # F1 at a probability is undefined where scores are not logits
                    metric = MetricValue(self, name, value, evaluation.samples_seen)
                    strategy.evaluator.publish_metric_value(metric)
        # Scores that a listener adds are its own, and listed apart from ours.
        known = {*evaluation.scores, *self.own_scores}
        for listener in self.listeners:
            listener(kind, evaluation)
        added = [name for name in evaluation.scores if name not in known]
        self.own_scores = [*self.own_scores, *added]

    def state_dict(self) -> State:
        """Curve, counters, seen classes and what evaluations have cached, as tensors and plain
        values."""
        strategy = self._strategy
        cached = None if strategy is None else self.evaluator.state_dict(strategy.model)
        return {
            **self._state.state_dict(),
            "evaluator": cached,
            "domains": self.domains.state_dict(),
            "prequential": self.prequential.state_dict(),
            "every": self.every,
            "samples_of_task": self._position.samples,
        }

    def load_state_dict(self, state: State) -> None:
        """Inverse of :meth:`state_dict`.

        Args:
            state: of an evaluation whose strategy was at the same moment as this one's is now;
                without a strategy evaluations compute anew what was cached.
        """
        strategy = self._strategy
        if strategy is not None and state["evaluator"] is not None:
            self.evaluator.device = strategy.device
            self.evaluator.load_state_dict(state["evaluator"], strategy.model)
            self.prequential.load_state_dict(state["prequential"], strategy.model)
        self._state.load_state_dict(state)
        self.domains.load_state_dict(state["domains"], self.curve)
        self._moved = False  # a state is taken between two stream batches
        if self.every is not None and state["every"] != self.every:
            # Another period begins anew, at its own first multiple that is still to come.
            self.next_threshold = (self.samples_seen // self.every + 1) * self.every
        self._position.samples = int(state["samples_of_task"])
        self._widen()
