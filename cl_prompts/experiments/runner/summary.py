"""Summary of a run: its results and cost, as ``summary.json`` holds them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from cl_prompts.experiments.runner.parts import Parts
from cl_prompts.experiments.runner.process import peak_device_memory_mb, peak_memory_mb
from cl_prompts.metrics.continual import without_course
from cl_prompts.strategies.base.state import with_state


def results_of(parts: Parts) -> dict[str, float | None]:
    """Final numbers of a run; those over its course are None for a strategy of the whole stream."""
    results = parts.anytime.results
    return without_course(results) if parts.strategy.whole_stream else results


def _domains(parts: Parts) -> dict[str, Any]:
    """Domains in the order of tasks, and the accuracy on each after the last; empty without any."""
    order = getattr(parts.split, "domains", None)
    if order is None:
        return {}
    ends = parts.anytime.curve.task_ends
    found = parts.anytime.by_domain(ends[-1]) if ends else {}
    return {"domain_names": list(order), "accuracy_by_domain": found}


def summary_of(
    parts: Parts,
    *,
    seconds: float,
    command: str,
    with_results: bool = True,
) -> dict[str, Any]:
    """Content of ``summary.json`` except for the status.

    ``with_results`` computes the results so far, at a cost that grows with the tasks.
    """
    strategy = parts.strategy
    return {
        **_about(parts),
        "samples_seen": strategy.samples_seen,
        "task_ends": [end.samples_seen for end in parts.anytime.curve.task_ends],
        "results": results_of(parts) if with_results else {},
        **_domains(parts),
        "own_scores": parts.anytime.own_scores,
        "single_class_batches": (
            int(strategy.single_class_batches) if strategy.class_mask == "batch" else None
        ),
        "trainable_parameters": strategy.model.n_learned,
        "memory": _memory(strategy),
        "seconds": seconds,
        "images_per_second": strategy.samples_seen / seconds,
        "peak_memory_mb": peak_memory_mb(),
        "peak_device_memory_mb": peak_device_memory_mb(strategy.device),
        "forward_passes": _forward_passes(parts),
        "command": command,
    }


def _memory(strategy: Any) -> dict[str, int]:
    """Count the stored samples, and the stored numbers that are not trained parameters."""
    stored = _numbers_in(
        [
            strategy.model.learned_state(),
            strategy.state.state_dict(),
            strategy.buffer.state_dict(),
            [plugin.state_dict() for plugin in with_state(strategy.plugins)],
        ]
    )
    return {"samples": len(strategy.buffer), "numbers": stored - strategy.model.n_learned}


def _numbers_in(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.numel() if state.is_floating_point() else 0
    parts = state.values() if isinstance(state, dict) else state
    return sum(map(_numbers_in, parts)) if isinstance(state, dict | list | tuple) else 0


def _about(parts: Parts) -> dict[str, Any]:
    """What does not change while a run trains."""
    settings = parts.settings
    backbone = parts.strategy.model.backbone
    return {
        "recipe": settings.recipe,
        "strategy": settings.strategy,
        "dataset": settings.dataset["name"],
        "scenario": settings.scenario["name"],
        "backbone": settings.backbone["name"],
        "weights": settings.backbone["weights"],
        "published_weights": backbone.published,
        "image_size": backbone.image_size,
        "seed": settings.seed,
        "stream_seed": settings.stream_seed,
        "multi_label": parts.data.multi_label,
        "n_tasks": parts.split.n_tasks,
        "n_classes": len(parts.data.classes),
        "class_names": list(parts.data.classes),
        "samples": sum(parts.split.sizes),
        "skipped_images": list(parts.data.skipped),
        "unread_files": dict(parts.data.unread),
        "whole_stream": parts.strategy.whole_stream,
    }


def _forward_passes(parts: Parts) -> dict[str, float]:
    """Cost in the unit F, one plain forward pass of the backbone, for each image."""
    strategy, evaluator = parts.strategy, parts.anytime.evaluator
    backbone = strategy.model.backbone
    # Evaluations run through the same backbone, whose counter does not tell them apart.
    training_macs = backbone.counter.macs - evaluator.macs
    return {
        "train": training_macs / backbone.forward_macs / max(1, strategy.samples_seen),
        "evaluation": evaluator.macs / backbone.forward_macs / max(1, evaluator.images),
    }
