"""S-Prompt++: an independent prompt for each task, and nothing shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.prefixes import PrefixPool
from cl_prompts.prompts.selectors import ClassTokenQuery, NearestKeys
from cl_prompts.prompts.task_selectors import TaskSlots
from cl_prompts.strategies.base.online import need_backbone
from cl_prompts.strategies.base.prompt import PromptStrategy, check_places, heads_of, slots_for


def s_prompt_model(
    backbone: FrozenViT,
    n_classes: int,
    *,
    multi_label: bool = False,
    pool_size: int = 10,
    prompted_blocks: Sequence[int] = (0, 1, 2, 3, 4),
    prompt_length: int = 20,
    copy_previous: bool = False,
    initial: str = "uniform",
) -> PromptedViT:
    """S-Prompt++'s network: the prefix of one slot per image in all prompted blocks, class token
    classified.

    The arguments are those of :class:`SPrompt`.
    """
    check_places(backbone, {"prompted_blocks": prompted_blocks}, {"prompt_length": prompt_length})
    dim, copied = backbone.dim, int(copy_previous)
    return PromptedViT(
        backbone,
        n_classes,
        query=ClassTokenQuery(),
        selector=TaskSlots(NearestKeys(pool_size, dim, initial=initial)),
        pools=[
            PrefixPool(
                pool_size,
                prompted_blocks,
                prompt_length,
                dim,
                heads_of(backbone),
                initial=initial,
                copy_slots=copied,
            )
        ],
        multi_label=multi_label,
    )


class SPrompt(PromptStrategy):
    """S-Prompt++: S-Prompts (Wang et al., NeurIPS 2022, arXiv 2207.12819) for class-incremental
    streams, as compared in HiDe-Prompt (Wang et al., NeurIPS 2023, arXiv 2310.07234).

    Every task learns a prefix of its own in several blocks, independent of all others, and a key.
    Training uses the current task's; a test image that whose key is nearest to its query
    (final-norm class token of the unprompted frozen ViT). It is DualPrompt without the shared
    G-prompt. Loss: cross-entropy over the task's classes minus
    ``pull_weight * mean_b cos(q_b, K_t)``; the linear head reads the class token.

    Where no boundary is announced, or once tasks exceed the pool, training chooses by nearest key
    as well.

    The blocks are HiDe's, the other settings DualPrompt's defaults here: its own protocol was not
    at hand.

    Deviations: S-Prompts pick the prompt by the nearest of several k-means centroids of a task's
    queries and give each task a head of its own; here a learned key stands for the task and one
    head covers all classes.

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a model from :func:`s_prompt_model`.
        multi_label: an image may show several classes.
        n_tasks: tasks to come, if that is known.
        pool_size: prompts; None for one a task, or 10 where the number of tasks is not known.
        prompted_blocks: blocks with prompts, 0-based.
        prompt_length: keys and values of a prompt per block.
        copy_previous: a task's prompt begins as that of the task before; by default at random,
            independent.
        initial: distribution of prompts and keys: ``"uniform"`` U(-1, 1), ``"small"`` U[0, 0.01) or
            ``"normal"``.
        pull_weight: lambda.
        class_mask: see :class:`~cl_prompts.strategies.base.prompt.PromptStrategy`.
        lr, train_mb_size, train_epochs, online_iter, new_optimizer, clip_norm: see
            :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        **common: likewise.
    """

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: PromptedViT | None = None,
        multi_label: bool = False,
        n_tasks: int | None = None,
        pool_size: int | None = None,
        prompted_blocks: Sequence[int] = (0, 1, 2, 3, 4),
        prompt_length: int = 20,
        copy_previous: bool = False,
        initial: str = "uniform",
        pull_weight: float = 1.0,
        class_mask: str = "current",
        lr: float = 0.0028125,
        train_mb_size: int = 24,
        train_epochs: int = 5,
        online_iter: int = 1,
        new_optimizer: bool = True,
        clip_norm: float | None = 1.0,
        **common: Any,
    ) -> None:
        if model is None:
            backbone, n_classes = need_backbone(backbone, n_classes)
            model = s_prompt_model(
                backbone,
                n_classes,
                multi_label=multi_label,
                pool_size=slots_for(pool_size, n_tasks),
                prompted_blocks=prompted_blocks,
                prompt_length=prompt_length,
                copy_previous=copy_previous,
                initial=initial,
            )
        self.pull_weight = pull_weight
        super().__init__(
            model=model,
            class_mask=class_mask,
            lr=lr,
            train_mb_size=train_mb_size,
            train_epochs=train_epochs,
            online_iter=online_iter,
            new_optimizer=new_optimizer,
            clip_norm=clip_norm,
            **common,
        )
