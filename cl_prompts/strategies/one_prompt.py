"""OnePrompt: a single prefix for everything, the reference that a pool has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.prefixes import SharedPrefix
from cl_prompts.strategies.base.online import need_backbone
from cl_prompts.strategies.base.prompt import PromptStrategy, check_places, heads_of


def one_prompt_model(
    backbone: FrozenViT,
    n_classes: int,
    *,
    multi_label: bool = False,
    prompted_blocks: Sequence[int] = (0, 1, 2, 3, 4),
    prompt_length: int = 20,
    initial: str = "uniform",
) -> PromptedViT:
    """One shared prefix per block, no query; the class token is classified.

    The arguments are those of :class:`OnePrompt`.
    """
    check_places(backbone, {"prompted_blocks": prompted_blocks}, {"prompt_length": prompt_length})
    prefix = SharedPrefix(
        prompted_blocks, prompt_length, backbone.dim, heads_of(backbone), initial=initial
    )
    return PromptedViT(backbone, n_classes, pools=[prefix], multi_label=multi_label)


class OnePrompt(PromptStrategy):
    """OnePrompt, the single-prompt method of "OVOR: OnePrompt with Virtual Outlier Regularization"
    (Huang et al., ICLR 2024, arXiv 2402.04129), without the outliers.

    One prefix per prompted block, the same for every image and every task, learns throughout the
    stream; the linear head reads the class token. No pool, no key, no query: a test image costs one
    pass instead of two. In the paper it keeps up with CODA-Prompt, so what a pool gains over it is
    what selection is worth. Loss: cross-entropy over the task's classes.

    The paper's settings were not at hand: the schedule is CODA-Prompt's (Adam 1e-3, batch 128, 20
    epochs a task) and the length that of DualPrompt's E-prompt, which makes the comparison one of
    pools alone.

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a model from :func:`one_prompt_model`.
        multi_label: an image may show several classes.
        prompted_blocks: blocks with prompts, 0-based.
        prompt_length: keys and values per block.
        initial: distribution of the prefix: ``"uniform"`` U(-1, 1), ``"small"`` U[0, 0.01) or
            ``"normal"``.
        class_mask: see :class:`~cl_prompts.strategies.base.prompt.PromptStrategy`.
        lr, train_mb_size, train_epochs, online_iter, schedule, new_optimizer: see
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
        prompted_blocks: Sequence[int] = (0, 1, 2, 3, 4),
        prompt_length: int = 20,
        initial: str = "uniform",
        class_mask: str = "current",
        lr: float = 1e-3,
        train_mb_size: int = 128,
        train_epochs: int = 20,
        online_iter: int = 1,
        schedule: str = "coda",
        new_optimizer: bool = True,
        **common: Any,
    ) -> None:
        if model is None:
            backbone, n_classes = need_backbone(backbone, n_classes)
            model = one_prompt_model(
                backbone,
                n_classes,
                multi_label=multi_label,
                prompted_blocks=prompted_blocks,
                prompt_length=prompt_length,
                initial=initial,
            )
        super().__init__(
            model=model,
            class_mask=class_mask,
            lr=lr,
            train_mb_size=train_mb_size,
            train_epochs=train_epochs,
            online_iter=online_iter,
            schedule=schedule,
            new_optimizer=new_optimizer,
            **common,
        )
