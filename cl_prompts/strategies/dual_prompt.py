"""DualPrompt: general prompts for all tasks, expert prompts for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.prefixes import PrefixPool, SharedPrefix
from cl_prompts.prompts.selectors import ClassTokenQuery, NearestKeys
from cl_prompts.prompts.task_selectors import TaskSlots
from cl_prompts.strategies.base.online import need_backbone
from cl_prompts.strategies.base.prompt import (
    PromptStrategy,
    check_places,
    heads_of,
    slots_for,
    with_batchwise_prompt,
)


def dual_prompt_model(
    backbone: FrozenViT,
    n_classes: int,
    *,
    multi_label: bool = False,
    pool_size: int = 10,
    g_blocks: Sequence[int] = (0, 1),
    g_length: int = 5,
    e_blocks: Sequence[int] = (2, 3, 4),
    e_length: int = 20,
    batchwise_prompt: str = "off",
    all_keys: bool = False,
    initial: str = "uniform",
) -> PromptedViT:
    """DualPrompt's network: G-prefixes for every image, the E-prefix of one slot per image, class
    token classified.

    The arguments are those of :class:`DualPrompt`.
    """
    check_places(
        backbone,
        {"g_blocks": g_blocks, "e_blocks": e_blocks},
        {"g_length": g_length, "e_length": e_length},
    )
    dim, heads = backbone.dim, heads_of(backbone)
    slots = TaskSlots(NearestKeys(pool_size, dim, initial=initial), all_rows=all_keys)
    return PromptedViT(
        backbone,
        n_classes,
        query=ClassTokenQuery(),
        selector=with_batchwise_prompt(slots, pool_size, batchwise_prompt),
        pools=[
            SharedPrefix(g_blocks, g_length, dim, heads, initial=initial),
            PrefixPool(pool_size, e_blocks, e_length, dim, heads, initial=initial, copy_slots=1),
        ],
        multi_label=multi_label,
    )


class DualPrompt(PromptStrategy):
    """DualPrompt (Wang et al., ECCV 2022, arXiv 2204.04799).

    Prompts are prefixes: n keys and n values that join the attention of a block behind its
    projections. The G-prompt, in early blocks, serves all images and keeps learning. Every task has
    an E-prompt of its own in later blocks, with one key: training uses the current task's, a test
    image the one whose key is nearest to its query (final-norm class token of the unprompted frozen
    ViT), so no task is told. A new task's E-prompt begins as the one before, its key does not.
    Loss: cross-entropy over the task's classes minus ``pull_weight * mean_b cos(q_b, K_t)``; the
    linear head reads the class token.

    Where no boundary is announced, or once tasks exceed the pool, training chooses by nearest key
    as well.

    Defaults: the paper's lengths; the PyTorch port's settings for CIFAR-100: Adam at 0.03 * 24 /
    256 = 0.0028125, the rate in effect, batch 24, 5 epochs a task, a fresh optimizer for each,
    gradient norm at most 1. Published configurations differ in the E-prompt (CIFAR-100: 5 rows) and
    the rate (ImageNet-R: 0.005 * 24 / 256 = 0.00046875, 50 epochs).

    Deviations. The PyTorch ports deal out prefixes in a wrong order, so that images get other
    images' prompts; here, as in the JAX code, each gets its own. No vote of the batch at test time,
    see ``batchwise_prompt``. Keys of tasks that have not begun do not compete at test time, see
    ``all_keys``. Test scores are over the classes seen.

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a model from :func:`dual_prompt_model`.
        multi_label: an image may show several classes.
        n_tasks: tasks to come, if that is known.
        pool_size: E-prompts; None for one a task, or 10 where the number of tasks is not known.
        g_blocks: blocks with the G-prompt, 0-based.
        g_length: its keys and values per block.
        e_blocks: blocks with E-prompts.
        e_length: keys and values of an E-prompt per block.
        batchwise_prompt: all images of a batch get the E-prompt that the batch names most often:
            ``"off"``, in ``"training"``, or ``"always"``, as published for CIFAR-100. **"always"
            leaks the task at test time**: test batches hold one task each, so the vote names it,
                and predictions depend on batch mates. Do not compare such numbers with others.
        all_keys: at test time keys of E-prompts that no task has trained compete as well, as
            published; images that choose them get random prompts.
        initial: distribution of prompts and keys: ``"uniform"`` U(-1, 1) as the port, ``"small"``
            U[0, 0.01) as JAX code.
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
        g_blocks: Sequence[int] = (0, 1),
        g_length: int = 5,
        e_blocks: Sequence[int] = (2, 3, 4),
        e_length: int = 20,
        batchwise_prompt: str = "off",
        all_keys: bool = False,
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
            model = dual_prompt_model(
                backbone,
                n_classes,
                multi_label=multi_label,
                pool_size=slots_for(pool_size, n_tasks),
                g_blocks=g_blocks,
                g_length=g_length,
                e_blocks=e_blocks,
                e_length=e_length,
                batchwise_prompt=batchwise_prompt,
                all_keys=all_keys,
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
