"""L2P: learning to prompt, a pool of prompts at the input, chosen by keys."""

from __future__ import annotations

from typing import Any

from torch import nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError, unknown
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.pools import PrependedTokenPool
from cl_prompts.prompts.selectors import ClassTokenQuery, NearestKeys
from cl_prompts.prompts.task_selectors import FrequencyPenalty, TaskSlots
from cl_prompts.strategies.base.online import need_backbone
from cl_prompts.strategies.base.prompt import PromptStrategy, check_places, with_batchwise_prompt

SELECTIONS = ("nearest", "slots", "diverse")


def l2p_model(
    backbone: FrozenViT,
    n_classes: int,
    *,
    multi_label: bool = False,
    pool_size: int = 10,
    prompt_length: int = 5,
    top_k: int = 5,
    selection: str = "nearest",
    copy_keys: bool = False,
    batchwise_prompt: str = "off",
    initial: str = "uniform",
) -> PromptedViT:
    """L2P's network: the tokens of ``top_k`` nearest prompts join the sequence, and their mean
    output is classified.

    The arguments are those of :class:`L2P`.
    """
    check_places(backbone, {}, {"prompt_length": prompt_length})
    if not 1 <= top_k <= pool_size:
        raise InputError(
            f"top_k is {top_k}: it must be between 1 and pool_size, which is {pool_size}"
        )
    if selection not in SELECTIONS:
        raise unknown("selection", selection, SELECTIONS)
    if copy_keys and selection != "slots":
        raise InputError(
            f"copy_keys copies keys from slot to slot, which selection={selection} has not: leave"
            " it out"
        )
    keys = NearestKeys(pool_size, backbone.dim, k=top_k, initial=initial)
    selector: nn.Module = keys
    if selection == "slots":
        selector = TaskSlots(keys, copy_keys=copy_keys)
    elif selection == "diverse":
        selector = FrequencyPenalty(keys)
    copied = top_k if selection == "slots" else 0
    return PromptedViT(
        backbone,
        n_classes,
        query=ClassTokenQuery(),
        selector=with_batchwise_prompt(selector, pool_size, batchwise_prompt),
        pools=[
            PrependedTokenPool(
                pool_size, prompt_length, backbone.dim, initial=initial, copy_slots=copied
            )
        ],
        readout="prompt",
        multi_label=multi_label,
    )


class L2P(PromptStrategy):
    """Learning to Prompt (Wang et al., CVPR 2022, arXiv 2112.08654).

    The query q of an image is its final-norm class token in the unprompted frozen ViT. Of M keys
    the k nearest by cosine are taken; their prompts, k * n tokens, join the sequence in front of
    block 0 and stay in it. The mean of their outputs behind the final norm goes to a linear head.
    Loss: cross-entropy over the task's classes minus
    ``pull_weight * mean_b sum_{j in top-k} cos(q_b, K_j)``, the only term that trains keys.

    Defaults are the PyTorch port's for CIFAR-100: M, n, k = 10, 5, 5; Adam at 0.03 * 16 / 256 =
    0.001875, the rate in effect; batch 16, 5 epochs a task, a fresh optimizer for each, gradient
    norm at most 1.

    Deviations. From all published code: no vote of the batch, see ``batchwise_prompt``, and with it
    lower numbers than published are to be expected; test scores are over the classes seen, not over
    rows that never trained. From the port: prompts carry no positional embedding (a constant shift;
    JAX code has none either).

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a model from :func:`l2p_model`.
        multi_label: an image may show several classes.
        pool_size: prompts M.
        prompt_length: tokens n of a prompt.
        top_k: prompts k per image.
        selection: ``"nearest"``; ``"slots"``: training uses the task's own k prompts, which begin
            as those of the task before (the code's "prompt mask" and "shared pool"; nearest once
            slots exceed the pool or where no boundary is announced); ``"diverse"``: training
            penalises prompts that earlier tasks used often (the paper's section 4.1, in no
            published code; nearest where no boundary is announced).
        copy_keys: with slots, keys begin as those of the task before, too.
        batchwise_prompt: all images of a batch get the prompts that the batch names most often:
            ``"off"``, in ``"training"``, or ``"always"``, as published. **"always" leaks the task
            at test time**: test batches hold one task each, so the vote names it, and predictions
                depend on batch mates. Do not compare such numbers with others.
        initial: distribution of prompts and keys: ``"uniform"`` U(-1, 1) as the port, ``"small"``
            U[0, 0.01) as JAX code.
        pull_weight: lambda. Immaterial to keys under Adam but for the clipping of gradients.
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
        pool_size: int = 10,
        prompt_length: int = 5,
        top_k: int = 5,
        selection: str = "nearest",
        copy_keys: bool = False,
        batchwise_prompt: str = "off",
        initial: str = "uniform",
        pull_weight: float = 0.1,
        class_mask: str = "current",
        lr: float = 0.001875,
        train_mb_size: int = 16,
        train_epochs: int = 5,
        online_iter: int = 1,
        new_optimizer: bool = True,
        clip_norm: float | None = 1.0,
        **common: Any,
    ) -> None:
        if model is None:
            backbone, n_classes = need_backbone(backbone, n_classes)
            model = l2p_model(
                backbone,
                n_classes,
                multi_label=multi_label,
                pool_size=pool_size,
                prompt_length=prompt_length,
                top_k=top_k,
                selection=selection,
                copy_keys=copy_keys,
                batchwise_prompt=batchwise_prompt,
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
