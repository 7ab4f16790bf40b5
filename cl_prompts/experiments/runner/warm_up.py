"""Warm-up of MISA's prompts on other data, once per backbone and before any stream."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from cl_prompts.backbones.fingerprint import weights_hash
from cl_prompts.backbones.pixels import check_batch
from cl_prompts.checks import Count, NotNegative, Positive, Share
from cl_prompts.datasets.items import joined_items
from cl_prompts.errors import InputError, RunError
from cl_prompts.losses.classification import masked_cross_entropy
from cl_prompts.losses.mvp import key_distance
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.encoders import ProjectorEncoder
from cl_prompts.prompts.files import save_prompts
from cl_prompts.prompts.parameterisations import Reparameterised
from cl_prompts.strategies.base.faults import not_finite
from cl_prompts.strategies.base.prompt_form import prompt_forms
from cl_prompts.strategies.base.settings import Declared
from cl_prompts.strategies.base.stream import KeyedItems
from cl_prompts.training.forgetting_aware import ForgettingAware

#: called after each step with steps done, steps in all and the main loss
Report = Callable[[int, int, float], None]


class WarmUp(Declared):
    """Settings of a warm-up, those of MISA (ICLR 2025, arXiv 2503.00677) by default.

    Example:
        >>> WarmUp(tasks=2).held_out
        0.1
    """

    tasks: Count = 10
    """Into which the classes are cut, in their order; they are learned one after another."""
    epochs: Count = 3
    """Passes over each task."""
    lr: Positive = 1e-4
    """Learning rate of Adam."""
    rho: NotNegative = 0.1
    """Length of the ascent, see :class:`~cl_prompts.training.forgetting_aware.ForgettingAware`."""
    batch: Count = 65
    """Images of a main batch, and as many of the other classes."""
    held_out: Share = 0.1
    """Share of the classes, the last ones, that belong to no task; the ascent is on them."""
    others: Count = 10
    """Of the held-out classes, how many are drawn at a time."""
    redraw: Share = 0.67
    """Chance that they are drawn anew once their images have been shown."""

    def cut(self, n_classes: int) -> tuple[list[list[int]], list[int]]:
        """Classes of each task, and the held-out classes.

        Raises:
            InputError: too few classes.
        """
        held = max(1, round(n_classes * self.held_out))
        base = n_classes - held
        if base < self.tasks:
            raise InputError(
                f"a warm-up in {self.tasks} tasks that holds {held} of {n_classes} classes out has"
                f" {base} left: take fewer tasks or data of more classes"
            )
        tasks = [part.tolist() for part in np.array_split(np.arange(base), self.tasks)]
        return tasks, list(range(base, n_classes))


@dataclass
class _Batches:
    """Shuffled batches of the images of some classes, in views of each image and pass, whatever the
    number of loader processes."""

    data: Any
    settings: WarmUp
    generator: torch.Generator
    num_workers: int
    device: torch.device
    passes: int = 0

    def rows(self, classes: Sequence[int]) -> list[int]:
        """Rows of the images of these classes."""
        found: list[int] = np.flatnonzero(np.isin(self.data.targets, classes)).tolist()
        return found

    def of(self, classes: Sequence[int]) -> DataLoader[Any]:
        """One pass over the images of these classes."""
        self.passes += 1
        rows = self.rows(classes)
        # Drawn here: a loader draws when it reads, and loader processes read ahead.
        order = torch.randperm(len(rows), generator=self.generator).tolist()
        keyed: Any = [(rows[place], (self.passes,)) for place in order]
        return DataLoader(
            Subset(KeyedItems(self.data), keyed),
            batch_size=self.settings.batch,
            generator=torch.Generator().manual_seed(self.passes),  # of its processes
            num_workers=self.num_workers,
            collate_fn=joined_items,
        )

    def others(self, held_out: Sequence[int]) -> Iterator[Any]:
        """Batches of held-out classes without end; now and then of others among them."""
        n = min(self.settings.others, len(held_out))
        drawn: list[int] = []
        while True:
            chance = float(torch.rand((), generator=self.generator))
            if not drawn or chance < self.settings.redraw:
                order = torch.randperm(len(held_out), generator=self.generator)
                drawn = [held_out[i] for i in order[:n].tolist()]
            yield from self.of(drawn)


def forgetting_aware_step(
    model: PromptedViT,
    fam: ForgettingAware,
    main: tuple[Tensor, Tensor],
    other: tuple[Tensor, Tensor],
) -> float:
    """Make one step: ascend on the loss of other data, descend on that of the main data.

    The loss is cross-entropy over the classes that the model has seen plus the mean distance
    between queries and keys.

    Args:
        model: MISA's, in training mode.
        fam: around the optimizer.
        main: images and labels (batch,) of the current task.
        other: images and labels of held-out classes.

    Returns:
        the main loss, where the ascent led.
    """
    # Up the loss of held-out classes, by rho ...
    fam.zero_grad()
    _loss(model, *other).backward()
    fam.ascend()
    # ... where the gradient of the main loss is taken, for a step from the old place.
    loss = _loss(model, *main)
    loss.backward()
    fam.step()
    return float(loss.detach())


def _loss(model: PromptedViT, images: Tensor, labels: Tensor) -> Tensor:
    output = model.run(images)
    assert output.selection is not None
    # Cross-entropy over the seen classes, and the pull of keys towards queries.
    entropy = masked_cross_entropy(output.logits, labels, model.seen)
    return entropy + key_distance(output.selection)


def project(model: PromptedViT) -> Reparameterised:
    """Let the E-prompts of MISA's model pass through a residual projector while they learn."""
    device = model.seen.device
    projected = Reparameterised(model.pools[1], ProjectorEncoder(model.backbone.dim).to(device))
    model.pools[1] = projected.to(device)
    return projected


def warm_up(
    model: PromptedViT,
    data: Any,
    settings: WarmUp,
    *,
    seed: int = 0,
    num_workers: int = 0,
    report: Report | None = None,
) -> dict[str, Tensor]:
    """Warm the prompts of MISA's model up on data of other classes than a stream's.

    Forgetting-aware steps on a class-incremental sequence; nearest keys, no slots, no batch mask.
    Keys, head and projector are thrown away.

    Deviation: images of the other classes are augmented as all are; published: AutoAugment twice.

    Args:
        model: as the strategy builds it; it is trained, and of no further use.
        data: images and labels, with ``targets``, of ``model.n_classes`` classes.
        settings: see :class:`WarmUp`.
        seed: of the order of images and the choice of other classes.
        num_workers: loader processes.
        report: see :data:`Report`.

    Returns:
        ``g_prompts`` (1, blocks * length, dim) and ``e_prompts`` (size, blocks * length, dim),
        rows block by block, as the released files have them.

    Raises:
        InputError: too few classes, or images of the first step that the backbone does not take.
        RunError: such images in a later step; the loss became NaN or infinite, or the prompts did.
    """
    tasks, held_out = settings.cut(model.n_classes)
    device = model.seen.device
    generator = torch.Generator().manual_seed(seed)
    batches = _Batches(data, settings, generator, num_workers, device)
    projected = project(model)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], settings.lr)
    fam = ForgettingAware(optimizer, settings.rho)
    others = batches.others(held_out)
    per_epoch = [-(-len(batches.rows(classes)) // settings.batch) for classes in tasks]
    total = settings.epochs * sum(per_epoch)
    done = 0
    model.train()
    passes = (batches.of(classes) for classes in tasks for _ in range(settings.epochs))
    try:
        for images, labels, *_ in itertools.chain.from_iterable(passes):
            other_images, other_labels, *_ = next(others)
            main = (images.to(device), labels.to(device))
            other = (other_images.to(device), other_labels.to(device))
            for images_shown, shown in (main, other):
                check_batch(model, images_shown, shown)
                model.observe_classes(shown)
            loss = forgetting_aware_step(model, fam, main, other)
            done += 1
            if not math.isfinite(loss):
                bad = bool(not_finite(torch.cat([main[0], other[0]])).any())
                why = "its images hold NaN or infinity" if bad else "give a smaller --lr"
                raise RunError(f"the loss of the warm-up became {loss} at step {done}: {why}")
            if report is not None:
                report(done, total, loss)
    except InputError as error:
        if done:  # a fault in the middle of the work
            raise RunError(str(error)) from error
        raise
    general: Any = model.pools[0]
    values = {"g_prompts": general.values[None], "e_prompts": projected.values}
    return {name: found.detach().flatten(1, -2) for name, found in values.items()}


def warm_up_recipe(
    name: str,
    overrides: Sequence[str],
    out: Path,
    settings: WarmUp,
    report: Report | None = None,
) -> None:
    """Warm up on the training images of a recipe's data set, with its backbone and settings of
    MISA, and write the prompts.

    Args:
        name: of the recipe; its scenario, and how it trains on a stream, play no part.
        overrides: ``key=value`` texts; of several seeds the first one counts.
        out: the safetensors file.
        settings: see :class:`WarmUp`.
        report: see :data:`Report`.

    Raises:
        InputError: as a run of MISA, too few classes, or another form of prompts or input of the
            head.
        RunError: as :func:`warm_up`.
    """
    from cl_prompts.experiments.recipes.settings import plan
    from cl_prompts.experiments.runner.building import Builder

    run = plan(name, [*overrides, "strategy=misa"])[0]
    # Tasks of the scenario would each have a prompt, and plugins act on a stream.
    options = {**run.options, "boundaries": False, "plugins": {}}
    parts = Builder().build(replace(run, options=options))
    strategy: Any = parts.strategy
    if strategy.head.input != "raw" or prompt_forms(strategy.prompt_form):
        raise InputError(
            "a warm-up learns plain prompts under a head on raw features: leave out head.input and"
            " prompt_form, which are for a stream"
        )
    found = warm_up(
        strategy.model,
        parts.data.train,
        settings,
        seed=run.seed,
        num_workers=parts.anytime.evaluator.num_workers,
        report=report,
    )
    about = {"backbone": weights_hash(strategy.model.backbone), **strategy.places()}
    save_prompts(out, found, about)
