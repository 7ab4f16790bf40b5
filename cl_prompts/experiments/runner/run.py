"""A built run: its parts, its warnings, and its summary."""

from dataclasses import dataclass, field

from avalanche.benchmarks import CLScenario

from cl_prompts.backbones.catalog import EMBEDDED
from cl_prompts.backbones.devices import computes_bf16, peak_memory, pick_device
from cl_prompts.closed_form.sums import order_matters
from cl_prompts.datasets.registry import DataSet
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.scenarios.split import BaseSplit
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.prototype import PrototypeStrategy
from cl_prompts.strategies.base.state import memory_of
from cl_prompts.strategies.evaluation.anytime import AnytimeEvaluation
from cl_prompts.strategies.evaluation.feature_sample import FeatureSample
from cl_prompts.user_code import label_of


def takes_one_thread(run: RunConfig) -> bool:
    """Return whether a run computes with one thread: the embedded ViT on the CPU, at no more than
    twice its own image size.

    The rule is fixed, not measured, because the number of threads changes the rounding of sums.
    """
    small = run.backbone["name"] == EMBEDDED and (run.backbone["image_size"] or 0) <= 64
    return small and pick_device(run.device).type == "cpu"


@dataclass
class Run:
    """A run built from its settings.

    Attributes:
        settings: all settings, with every default resolved.
        data: the data set.
        split: the training samples of each task.
        benchmark: the same stream as an Avalanche benchmark.
        strategy: the strategy, before any training.
        anytime: the evaluation plugin of the strategy.
        sample: training features of a closed-form strategy.
        first: classes and tasks of the strategy before it grows, in a continual run.
        announced: whether the stream tells the strategy where its tasks end.
        memorised: scores of the images with wrong labels, after training with label noise.
    """

    settings: RunConfig
    data: DataSet
    split: BaseSplit
    benchmark: CLScenario
    strategy: OnlineStrategy
    anytime: AnytimeEvaluation
    sample: FeatureSample | None
    first: tuple[int, ...]
    announced: bool
    memorised: dict[str, float] = field(default_factory=dict)

    @property
    def results(self) -> dict[str, float | None]:
        """Metrics of the stream so far, and of wrong labels."""
        return {**self.anytime.results, **self.memorised}

    def warnings(self) -> list[str]:
        """Return a sentence for each setting without effect on this stream, or that costs time."""
        name = label_of(self.settings.strategy)
        period, strategy = self.strategy.period, self.strategy
        trained = sum(self.split.sizes) * strategy.train_epochs
        if not self.announced and period is not None and period > trained:
            return [
                f"{name} acts every {period} samples, and the stream has {trained}: set"
                f" {name}.period below that"
            ]
        # The default is fp32 everywhere, since runs of several machines share a table.
        arguments = self.settings.backbone
        trains = arguments["precision"] == "fp32" and strategy.model.n_learned
        faster = (
            "this device computes bf16: precision=bf16 makes prompt methods about twice as fast"
        )
        slow = trains and arguments["name"] != EMBEDDED and computes_bf16(strategy.device)
        return [faster] * bool(slow) + [
            f"{name}: {type(plugin).__name__} acts only at task ends, and this stream does not"
            f" announce them: set {name}.period, in samples"
            for plugin in self.strategy.plugins
            # A teacher that is copied after every batch needs no task.
            if hasattr(plugin, "end_of_task") and getattr(plugin, "teacher_from", "") != "batch"
            if not self.announced and self.strategy.period is None
        ]

    def summary(self, *, seconds: float, command: str, ended: bool = True) -> dict[str, object]:
        """Return the content of ``summary.json`` except for status and error.

        Args:
            seconds: wall time of the run so far.
            command: the command that made the run.
            ended: include the results, whose cost grows with the tasks, and all counts.
        """
        strategy = self.strategy
        found = {**self._description(), "seconds": seconds, "command": command}
        if not ended:
            return found
        domains = getattr(self.split, "domains", None)  # in task order
        once = isinstance(strategy, PrototypeStrategy) and not strategy.augmented_views
        return {
            **found,
            # Scores of sums do not depend on the order of the stream.
            "order_free": once and order_matters(strategy.model.head) is None,
            "task_ends": [end.samples_seen for end in self.anytime.curve.task_ends],
            "results": self.results,
            **({} if domains is None else {"domain_names": list(domains)}),
            "own_scores": self.anytime.own_scores,
            "trainable_parameters": strategy.model.n_learned,
            "memory": memory_of(strategy, (self.anytime, self.sample, strategy.budget)),
            "images_per_second": strategy.samples_seen / seconds,
            **peak_memory(strategy.device),
            "forward_passes": self._forward_passes(),
            **self._budget(),
        }

    def _description(self) -> dict[str, object]:
        """Return what is known of a run at any time."""
        settings = self.settings
        backbone = self.strategy.model.backbone
        return {
            "recipe": settings.recipe,
            "strategy": settings.strategy,
            "dataset": settings.dataset["name"],
            "scenario": settings.scenario["name"],
            "backbone": settings.backbone["name"],
            "weights": settings.backbone["weights"],
            "image_size": backbone.image_size,
            "seed": settings.seed,
            "stream_seed": settings.stream_seed,
            "multi_label": self.data.multi_label,
            "n_tasks": self.split.n_tasks,
            "n_classes": len(self.data.classes),
            "class_names": list(self.data.classes),
            "samples": sum(self.split.sizes),
            "skipped_images": list(self.data.skipped),
            "whole_stream": self.strategy.whole_stream,
            "samples_seen": self.strategy.samples_seen,
        }

    def _budget(self) -> dict[str, dict[str, float]]:
        """Return what training cost an arriving image, in F with backward passes, and the share of
        images trained on; empty without a budget."""
        strategy = self.strategy
        if strategy.budget is None:
            return {}
        images = sum(self.split.sizes)
        spent = strategy.loop.cost.passes / images
        return {"budget": {"spent": spent, "share": min(1.0, strategy.budget.trained / images)}}

    def _forward_passes(self) -> dict[str, float]:
        """Return the cost of an image, in plain forward passes of the backbone."""
        backbone, evaluator = self.strategy.model.backbone, self.anytime.evaluator
        arriving = self.anytime.prequential
        # The backbone counts the passes of training and evaluation together.
        training_macs = backbone.counter.macs - evaluator.macs - arriving.macs
        samples = max(1, self.strategy.samples_seen)
        found = {
            "train": training_macs / backbone.forward_macs / samples,
            "evaluation": evaluator.macs / backbone.forward_macs / max(1, evaluator.images),
        }
        if arriving.images:
            found["prediction"] = arriving.macs / backbone.forward_macs / arriving.images
        return found
