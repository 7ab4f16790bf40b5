"""Record a run while it trains: metrics.csv, loggers, diagnostics and progress."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from avalanche.core import BaseSGDPlugin
from torch import Tensor

from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.recipes.values import plain
from cl_prompts.experiments.results.history import usage_entropy
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.folder import KEYS_FILE, Row, RunFolder
from cl_prompts.experiments.tracking.loggers import Logger, TensorBoard, Value, logger_class, pixels
from cl_prompts.experiments.tracking.progress import Watcher
from cl_prompts.metrics.continual import class_forgetting, latest_task_accuracy
from cl_prompts.metrics.curve import Evaluation
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.prompted import key_similarity, prompt_usage
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.evaluation.anytime import AnytimeEvaluation


class Tracker(BaseSGDPlugin):
    """Writer of losses, evaluations and diagnostics to the run folder, its loggers and the display.

    At each task end ``metrics.csv`` gets ``prompt_usage`` (scope ``prompt:i``, cumulative),
    ``prompt_usage_entropy`` (scope ``task``, bits) and ``buffer`` (scope ``class:c``, samples
    stored). The loggers get the same for each task, usage and buffer as histograms over prompts and
    classes, and also trainable parameters and forward passes per image. ``keys.npz`` gets the
    cosines between keys at the end.

    Args:
        folder: run folder.
        anytime: evaluation plugin of the run; the tracker listens to it.
        settings: settings of the run.
        watcher: receiver of the samples seen and of A_AUC.
        total: stream samples of the whole run, epochs included.
        start: samples seen when this process started.
    """

    LOSS_EVERY = 10  # stream batches that a loss value averages over

    def __init__(
        self,
        folder: RunFolder,
        anytime: AnytimeEvaluation,
        settings: RunConfig,
        watcher: Watcher,
        *,
        total: int,
        start: int,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.anytime = anytime
        anytime.listeners.append(self.on_evaluation)
        self.settings = settings
        self.measure = "map" if anytime.evaluator.multi_label else "accuracy"
        self.tensorboard = TensorBoard(folder.path, start)
        self._loggers: list[Logger] = [self.tensorboard]
        if settings.tracker is not None:
            made = logger_class(settings.tracker)
            self._loggers.append(made(folder.path, plain(asdict(settings)), start))
        self._watcher = watcher
        self._total = total
        self._losses: list[Tensor] = []
        self._samples = start
        self._at_start: dict[str, Any] = {}  # counters at the start of the task
        self._show_progress()

    def _log(self, tag: str, value: Value, samples: int) -> None:
        for logger in self._loggers:
            logger.write(tag, value, samples)

    def _show_progress(self) -> None:
        a_auc = self.anytime.a_auc if self.anytime.curve.anytime else None
        self._watcher.advance(self._samples, self._total, a_auc)

    def before_training_exp(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Read the counters, unless training resumes within the task."""
        if strategy.loop.place is None:
            self._at_start = {"usage": prompt_usage(strategy.model), **self._count(strategy)}

    def after_training_iteration(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Collect the loss on the device; write it every few stream batches."""
        self._samples = strategy.samples_seen
        if getattr(strategy, "given_sums", None) is None:  # sums have no loss
            self._losses.append(strategy.loss.detach().reshape(()))
        if len(self._losses) >= self.LOSS_EVERY * strategy.online_iter:
            self._write_loss()
        self._show_progress()

    def after_training_exp(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Write the remaining losses, and the diagnostics of the task."""
        self._write_loss()
        if rows := [*self._prompts(strategy), *self._buffer(strategy)]:
            self.folder.add_metrics(rows)
        self._cost(strategy)
        # A_AUC now includes the end of the stream, as in the table.
        self._show_progress()

    # Not called state_dict: a plugin with that is part of the strategy's state.
    def records(self) -> dict[str, Any]:
        """Return the unwritten losses, and the counters at the start of the task."""
        losses = torch.stack(self._losses).cpu() if self._losses else torch.zeros(0)
        return {"losses": losses, "at_start": self._at_start}

    def restore_records(self, state: dict[str, Any], device: torch.device) -> None:
        """Inverse of :meth:`records`."""
        self._losses = list(state["losses"].to(device).unbind())
        self._at_start = state["at_start"]

    def on_evaluation(self, kind: str, evaluation: Evaluation) -> None:
        """Write one evaluation, "anytime" or "task_end"."""
        if math.isnan(evaluation.accuracy):
            return  # no class was seen yet
        samples, name = evaluation.samples_seen, f"{kind}_{self.measure}"
        domains = self.anytime.by_domain(evaluation)
        scores = {key: score for key, score in evaluation.scores.items() if not math.isnan(score)}
        rows: list[Row] = [(samples, name, "seen", evaluation.accuracy)]
        rows += _rows(samples, name, "class", evaluation.by_class.tolist())
        rows += [(samples, name, f"domain:{domain}", value) for domain, value in domains.items()]
        rows += [(samples, score, kind, value) for score, value in scores.items()]
        logged = {f"{self.measure}/{kind}": evaluation.accuracy}
        logged |= {f"{score}/{kind}": value for score, value in scores.items()}
        if kind == "anytime":
            logged[f"{self.measure}/a_auc"] = self.anytime.a_auc
        else:
            logged |= {f"domain_{self.measure}/{domain}": v for domain, v in domains.items()}
            tasks = _rows(
                samples, name, "task", latest_task_accuracy(*self.anytime.course).tolist()
            )
            by_task = {scope.replace(":", "_"): value for *_, scope, value in tasks}
            if tasks:
                by_task["mean"] = sum(by_task.values()) / len(tasks)
            logged |= {f"task_{self.measure}/{task}": value for task, value in by_task.items()}
            rows += tasks
            lost = class_forgetting(self.anytime.course[0])
            lost = lost[~lost.isnan()]
            if len(lost):
                logged["forgetting"] = float(lost.mean())
                rows.append((samples, "forgetting", "seen", logged["forgetting"]))
        for tag, value in logged.items():
            self._log(tag, value, samples)
        self.folder.add_metrics(rows)

    def finish(
        self,
        model: ContinualModel,
        stream: Mapping[str, Any],
        results: Mapping[str, float | None],
        class_names: list[str],
    ) -> None:
        """Draw stream, class accuracy and keys; log settings and final numbers.

        Args:
            model: model of the strategy.
            stream: content of ``stream.json``.
            results: final numbers; None where a number is not defined.
            class_names: class names of the data set.
        """
        from cl_prompts.experiments.figures import maps  # here, since it loads Altair

        self._log("stream", pixels(maps.stream_chart(stream, class_names)), 0)
        points = self.anytime.curve.points() if self.anytime.every else self.anytime.curve.task_ends
        if points:
            matrix = torch.stack([p.by_class for p in points], dim=1).numpy()
            samples = [p.samples_seen for p in points]
            measure = "average precision" if self.measure == "map" else "class accuracy"
            chart = maps.class_chart(samples, matrix, class_names, measure=measure)
            self._log(f"class_{self.measure}", pixels(chart), samples[-1])
        similarity = key_similarity(model)
        if similarity is not None:
            found = similarity.cpu().numpy()
            files.write_arrays(self.folder.path / KEYS_FILE, similarity=found)
            self._log("keys", pixels(maps.key_chart(found)), self._samples)
        final = {f"final/{name}": value for name, value in results.items()}
        points = self.anytime.curve.anytime
        if points and points[-1].samples_seen < self._samples:
            # The end of the stream is an extra point.
            final[f"{self.measure}/a_auc"] = results.get("a_auc")
        for tag, value in final.items():
            if value is not None:
                self._log(tag, value, self._samples)
        self.tensorboard.compare(self.settings)

    def close(self) -> None:
        """Close the loggers."""
        for logger in self._loggers:
            logger.close()

    def _write_loss(self) -> None:
        if self._losses:
            mean = float(torch.stack(self._losses).mean())
            self._losses.clear()
            self.folder.add_metrics([(self._samples, "loss", "train", mean)])
            self._log("loss/train", mean, self._samples)

    def _prompts(self, strategy: OnlineStrategy) -> list[Row]:
        usage = prompt_usage(strategy.model)
        if usage is None:
            return []
        rows = _rows(self._samples, "prompt_usage", "prompt", usage.tolist())
        earlier = self._at_start.get("usage")
        of_task = (usage if earlier is None else usage - earlier).tolist()
        self._log("prompt_usage", of_task, self._samples)
        entropy = float(usage_entropy([of_task])[0])
        if not math.isnan(entropy):
            rows.append((self._samples, "prompt_usage_entropy", "task", entropy))
            self._log("prompt_usage_entropy", entropy, self._samples)
        return rows

    def _buffer(self, strategy: OnlineStrategy) -> list[Row]:
        if not len(strategy.replay):
            return []
        labels = strategy.replay.labels()
        several = labels.dim() == 2
        counts = (labels > 0).sum(0) if several else labels.bincount(None, strategy.model.n_classes)
        held = counts.tolist()
        self._log("buffer", held, self._samples)
        return [row for row in _rows(self._samples, "buffer", "class", held) if row[-1]]

    def _cost(self, strategy: OnlineStrategy) -> None:
        self._log("cost/trainable_parameters", strategy.model.n_learned, self._samples)
        now = self._count(strategy)
        spent = {name: value - self._at_start.get(name, 0.0) for name, value in now.items()}
        per_pass = strategy.model.backbone.forward_macs
        for kind, images in (("train", "trained"), ("evaluation", "evaluated")):
            if spent[images]:
                passes = spent[kind] / per_pass / spent[images]
                self._log(f"cost/forward_passes_{kind}", passes, self._samples)

    def _count(self, strategy: OnlineStrategy) -> dict[str, float]:
        evaluator = self.anytime.evaluator
        return {
            # The counter of the ViT includes evaluation.
            "train": strategy.model.backbone.counter.macs - evaluator.macs,
            "trained": strategy.samples_seen,
            "evaluation": evaluator.macs,
            "evaluated": evaluator.images,
        }


def _rows(samples: int, metric: str, scope: str, values: list[float]) -> list[Row]:
    """Return rows of metrics.csv for values by class, task or prompt, without NaN."""
    numbered = enumerate(values)
    return [(samples, metric, f"{scope}:{i}", v) for i, v in numbered if not math.isnan(v)]
