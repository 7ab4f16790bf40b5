"""What a run writes while it goes: metrics.csv, TensorBoard and a progress line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from avalanche.core import BaseSGDPlugin
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cl_prompts.experiments import multi_label_pictures, pictures
from cl_prompts.experiments.inside import Inside
from cl_prompts.experiments.results import stream_view
from cl_prompts.experiments.run_folder import RunFolder
from cl_prompts.metrics.continual import Evaluation, a_auc, class_forgetting, task_accuracy
from cl_prompts.models.base import ContinualModel
from cl_prompts.strategies.plugins.anytime import AnytimeEvaluation


class Tracker(BaseSGDPlugin):
    """Writes losses and evaluations to the run folder and to TensorBoard, with samples seen as
    step.

    Args:
        folder: the run's.
        anytime: the run's evaluation plugin; the tracker listens to it.
        start: samples seen when this process began, for resumed runs.
    """

    LOSS_EVERY = 10  # stream batches between two loss values, each the mean over that interval

    def __init__(self, folder: RunFolder, anytime: AnytimeEvaluation, *, start: int = 0) -> None:
        super().__init__()
        self.folder, self.anytime = folder, anytime
        self.board = SummaryWriter(str(folder.path), purge_step=start + 1 if start else None)
        anytime.listeners.append(self.on_evaluation)
        self.measure = "map" if anytime.evaluator.multi_label else "accuracy"
        self.inside = Inside(folder, self.board, anytime.evaluator)
        self._losses: list[Tensor] = []
        self._samples = start

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Note where counters stand."""
        self.inside.before_task(strategy)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Collect the loss on the device; write every few stream batches."""
        self._losses.append(strategy.loss.detach().reshape(()))
        self._samples = strategy.samples_seen
        if len(self._losses) >= self.LOSS_EVERY * strategy.online_iter:
            self._write_loss()

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """The rest of the losses, and what one sees inside the strategy."""
        self._write_loss()
        self.inside.after_task(strategy, self._samples)

    def on_evaluation(self, kind: str, evaluation: Evaluation) -> None:
        """Rows and scalars of one evaluation."""
        if evaluation.accuracy != evaluation.accuracy:
            return  # no class has been seen yet
        n, name = evaluation.samples_seen, f"{kind}_{self.measure}"
        rows = [(n, name, "seen", evaluation.accuracy)]
        rows += [
            (n, name, f"class:{c}", v) for c, v in enumerate(evaluation.by_class.tolist()) if v == v
        ]
        rows += [(n, score, kind, v) for score, v in evaluation.scores.items() if v == v]
        self.board.add_scalar(f"{self.measure}/{kind}", evaluation.accuracy, n)
        for score, value in evaluation.scores.items():
            self.board.add_scalar(f"{score}/{kind}", value, n)
        if kind == "anytime":
            self.board.add_scalar(f"{self.measure}/a_auc", a_auc(self.anytime.curve, end=False), n)
        else:
            latest = task_accuracy(self.anytime.curve, self.anytime.new_classes)[:, -1].tolist()
            rows += [(n, name, f"task:{i}", v) for i, v in enumerate(latest) if v == v]
            for i, value in enumerate(latest):
                if value == value:
                    self.board.add_scalar(f"task_{self.measure}/task_{i}", value, n)
            lost = class_forgetting(self.anytime.curve)
            lost = lost[~lost.isnan()]
            if len(lost):
                self.board.add_scalar("forgetting", float(lost.mean()), n)
                rows.append((n, "forgetting", "seen", float(lost.mean())))
        self.folder.add_metrics(rows)

    def show_stream(self, stream: Mapping[str, Any], class_names: list[str]) -> None:
        """The stream picture, once."""
        unit = "labels" if "anchors" in stream else "samples"
        self.board.add_figure(
            "stream", pictures.stream_figure(stream_view(stream), class_names, unit=unit), 0
        )

    def show_examples(
        self, model: ContinualModel, test: Any, class_names: list[str], *, n: int = 12
    ) -> None:
        """Some test images with their labels, true and predicted (probability above 0.5); for a
        multi-label model."""
        shown = self.anytime.evaluator.rows(model.seen)
        rows = shown[torch.linspace(0, len(shown) - 1, min(n, len(shown))).long()].tolist()
        images = torch.stack([test[row][0] for row in rows])
        macs = model.backbone.counter.macs
        model.eval()
        with torch.no_grad():
            predicted = model(images.to(model.seen.device)).sigmoid().cpu() > 0.5
        model.backbone.counter.macs = macs  # not a part of the run's cost
        seen = model.seen.cpu()
        examples = {
            "images": (images * 255).round().to(torch.uint8).numpy(),
            "truth": ((self.anytime.evaluator.targets[rows] > 0) & seen).numpy(),
            "predicted": (predicted & seen).numpy(),
        }
        np.savez_compressed(self.folder.path / "examples.npz", **examples)
        figure = multi_label_pictures.examples_figure(**examples, class_names=class_names)
        self.board.add_figure("examples", figure, self._samples)

    def finish(
        self,
        results: Mapping[str, float | None],
        settings: Mapping[str, Any],
        class_names: list[str],
    ) -> None:
        """Heat map of class accuracy over samples, and hyper-parameters with the final numbers."""
        points = self.anytime.curve.points() if self.anytime.every else self.anytime.curve.task_ends
        if points:
            matrix = torch.stack([p.by_class for p in points], dim=1).numpy()
            x = [p.samples_seen for p in points]
            self.board.add_figure(
                f"class_{self.measure}",
                pictures.class_heatmap_figure(x, matrix, class_names),
                x[-1],
            )
        self.inside.finish(self._samples)
        final = {f"final/{k}": v for k, v in results.items() if v is not None}
        self.board.add_hparams({k: _simple(v) for k, v in settings.items()}, final, run_name=".")
        self.close()

    def close(self) -> None:
        """Flush what is open."""
        self.board.close()

    def _write_loss(self) -> None:
        if self._losses:
            mean = float(torch.stack(self._losses).mean())
            self._losses.clear()
            self.folder.add_metrics([(self._samples, "loss", "train", mean)])
            self.board.add_scalar("loss/train", mean, self._samples)


class ProgressLine(BaseSGDPlugin):
    """One line a run: samples, images a second, remaining time and current A_AUC.

    Args:
        label: of the line.
        total: stream samples of the whole run, epochs included.
        anytime: source of A_AUC.
        console: where to draw; a quiet console draws nothing.
        start: samples seen when this process began.
    """

    def __init__(
        self,
        label: str,
        total: int,
        anytime: AnytimeEvaluation,
        console: Console,
        *,
        start: int = 0,
    ) -> None:
        super().__init__()
        self.anytime = anytime
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[auc]}"),
            console=console,
            disable=console.quiet,
        )
        self.task = self.bar.add_task(label, total=total, completed=start, rate="", auc="")

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Advance."""
        speed = self.bar.tasks[0].speed
        curve = self.anytime.curve
        self.bar.update(
            self.task,
            completed=strategy.samples_seen,
            rate=f"{speed:.0f} images/s" if speed else "",
            auc=f"A_AUC {100 * a_auc(curve, end=False):.1f} %" if curve.anytime else "",
        )


def _simple(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)
