"""Record a run while it trains: metrics.csv, loggers, diagnostics and progress."""

import math
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from avalanche.core import BaseSGDPlugin
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.recipes.values import plain
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.tracking.progress import Watcher
from cl_prompts.metrics.continual import forgetting, latest_task_accuracy
from cl_prompts.metrics.curve import Evaluation
from cl_prompts.models.prompted import prompt_usage
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.evaluation.anytime import AnytimeEvaluation
from cl_prompts.user_code import extra


def event_writer(folder: Path, start: int = 0) -> SummaryWriter:
    """Return the writer of TensorBoard's files in a run folder.

    Args:
        folder: run folder.
        start: samples seen when this process started; later points of earlier processes are hidden.

    Example:
        >>> import tempfile
        >>> writer = event_writer(Path(tempfile.mkdtemp()))
        >>> writer.add_scalar("loss/train", 0.5, 64)
        >>> writer.close()
    """
    # A unique name: two processes may start in the same second.
    suffix = f".{secrets.token_hex(8)}"
    return SummaryWriter(
        str(folder), purge_step=start + 1 if start else None, filename_suffix=suffix
    )


class OnlineLogger:
    """Logger to Weights & Biases, with the same tags as TensorBoard's.

    Its environment variables (``WANDB_PROJECT``, ``WANDB_MODE=offline`` and so on) set project,
    entity and mode; the default project is "cl-prompts". A resumed run continues the online run of
    its first process.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        wandb = extra("wandb", "wandb", "tracker=wandb")
        name = "/".join(folder.resolve().parts[-3:])
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "cl-prompts"),
            name=name,
            group=str(settings.get("recipe")),
            config=dict(settings),
            resume="allow",
            dir=str(folder),
            id=name.replace("/", "-"),
            settings=wandb.Settings(console="off", silent=True),
        )
        # Its steps count calls: use samples seen as the axis.
        self._run.define_metric("*", step_metric="samples_seen")

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        """Log a value; ``step``, the stream samples seen, never decreases."""
        self._run.log({tag: value, "samples_seen": step})

    def close(self) -> None:
        """Finish the online run of this process."""
        self._run.finish()


#: metric, scope and value
Entry = tuple[str, str, float]


class Tracker(BaseSGDPlugin):
    """Writer of losses, evaluations and diagnostics to the run folder, its loggers and the display.

    At each task end ``metrics.csv`` gets ``prompt_usage`` (scope ``prompt:i``, cumulative).

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
        self.measure = "map" if anytime.evaluator.multi_label else "accuracy"
        self._loggers: list[SummaryWriter | OnlineLogger] = [event_writer(folder.path, start)]
        if settings.tracker is not None:
            self._loggers.append(OnlineLogger(folder.path, plain(asdict(settings))))
        self._watcher = watcher
        self._total = total
        self._losses: list[Tensor] = []
        self._samples = start
        self._show_progress()

    def _log(self, tag: str, value: float) -> None:
        """Show a value other than NaN."""
        if math.isnan(value):
            return
        for logger in self._loggers:
            logger.add_scalar(tag, value, self._samples)

    def _write(self, entries: Iterable[Entry]) -> None:
        """Add entries other than NaN to metrics.csv."""
        self.folder.add_metrics((self._samples, *one) for one in entries if one[-1] == one[-1])

    def _show_progress(self) -> None:
        a_auc = self.anytime.a_auc if self.anytime.curve.anytime else None
        self._watcher.advance(self._samples, self._total, a_auc)

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
        if (usage := prompt_usage(strategy.model)) is not None:
            self._write(_numbered("prompt_usage", "prompt", usage))
        # A_AUC now includes the end of the stream, as in the table.
        self._show_progress()

    # Not called state_dict: a plugin with that is part of the strategy's state.
    def unwritten(self) -> Tensor:
        """Return the losses that are not written yet."""
        return torch.stack(self._losses).cpu() if self._losses else torch.zeros(0)

    def restore(self, losses: Tensor, device: torch.device) -> None:
        """Inverse of :meth:`unwritten`."""
        self._losses = list(losses.to(device).unbind())

    def on_evaluation(self, kind: str, evaluation: Evaluation) -> None:
        """Write one evaluation, "anytime" or "task_end"."""
        if math.isnan(evaluation.accuracy):
            return  # no class was seen yet
        self._samples = evaluation.samples_seen
        name = f"{kind}_{self.measure}"
        domains = self.anytime.by_domain(evaluation)
        entries: list[Entry] = [(name, "seen", evaluation.accuracy)]
        entries += _numbered(name, "class", evaluation.by_class)
        entries += [(name, f"domain:{domain}", value) for domain, value in domains.items()]
        entries += [(score, kind, value) for score, value in evaluation.scores.items()]
        arriving = self.anytime.prequential.results
        entries += [(score, "stream", value) for score, value in arriving.items()]
        logged = {f"{self.measure}/{kind}": evaluation.accuracy}
        logged |= {f"{score}/{kind}": value for score, value in evaluation.scores.items()}
        logged |= {f"prequential/{score}": value for score, value in arriving.items()}
        if kind == "anytime":
            logged[f"{self.measure}/a_auc"] = self.anytime.a_auc
        else:
            logged |= {f"domain_{self.measure}/{domain}": v for domain, v in domains.items()}
            of_tasks = latest_task_accuracy(*self.anytime.course)
            tasks = _numbered(name, "task", of_tasks)
            means = [*tasks, (name, "mean", float(of_tasks.nanmean()))]
            logged |= {f"task_{self.measure}/{i.replace(':', '_')}": v for _, i, v in means}
            logged["forgetting"] = forgetting(self.anytime.course[0])
            entries += [*tasks, ("forgetting", "seen", logged["forgetting"])]
        for tag, value in logged.items():
            self._log(tag, value)
        self._write(entries)

    def finish(self, results: Mapping[str, float | None]) -> None:
        """Log the final numbers, where they are defined."""
        final = {f"final/{name}": value for name, value in results.items()}
        # The end of the stream may be an extra point.
        final[f"{self.measure}/a_auc"] = results.get("a_auc")
        for tag, number in final.items():
            self._log(tag, math.nan if number is None else number)

    def close(self) -> None:
        """Close the loggers."""
        for logger in self._loggers:
            logger.close()

    def _write_loss(self) -> None:
        if self._losses:
            mean = float(torch.stack(self._losses).mean())
            self._losses.clear()
            self._write([("loss", "train", mean)])
            self._log("loss/train", mean)


def _numbered(metric: str, scope: str, values: Tensor) -> list[Entry]:
    """Entries of values by class, task or prompt."""
    return [(metric, f"{scope}:{i}", value) for i, value in enumerate(values.tolist())]
