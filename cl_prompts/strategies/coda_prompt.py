"""CODA-Prompt: prompts as attention-weighted sums of components that grow task by task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.base import Output
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.components import AttentionWeights, ComponentPool
from cl_prompts.prompts.selectors import ClassTokenQuery
from cl_prompts.strategies.base.online import need_backbone
from cl_prompts.strategies.base.prompt import PromptStrategy, check_places, heads_of


def coda_prompt_model(
    backbone: FrozenViT,
    n_classes: int,
    *,
    multi_label: bool = False,
    n_tasks: int | None = None,
    n_components: int = 100,
    prompted_blocks: Sequence[int] = (0, 1, 2, 3, 4),
    prompt_length: int = 8,
    orthogonal: str = "qr",
) -> PromptedViT:
    """CODA-Prompt's network: in each block a prefix mixed from components with weights of any sign,
    class token classified.

    The arguments are those of :class:`CODAPrompt`.
    """
    check_places(backbone, {"prompted_blocks": prompted_blocks}, {"prompt_length": prompt_length})
    if prompt_length % 2:
        raise InputError(
            f"prompt_length is {prompt_length}: half of a component's rows are keys and half"
            " values, so it has to be even"
        )
    dim = backbone.dim
    tasks = 1 if n_tasks is None else n_tasks
    if tasks < 1:
        raise InputError(
            f"n_tasks is {n_tasks}: it must be at least 1, or None where no task is announced"
        )
    if n_components < tasks:
        raise InputError(
            f"n_components is {n_components}: it must be at least {tasks}, one for each task"
        )
    if n_components // tasks * tasks > dim:
        raise InputError(
            f"n_components is {n_components}: no more than the ViT's width, {dim}, can be"
            " orthogonal"
        )
    return PromptedViT(
        backbone,
        n_classes,
        query=ClassTokenQuery(),
        selector=AttentionWeights(
            len(prompted_blocks), n_components, dim, n_tasks=n_tasks, orthogonal=orthogonal
        ),
        pools=[
            ComponentPool(
                n_components,
                prompted_blocks,
                prompt_length,
                dim,
                heads_of(backbone),
                n_tasks=n_tasks,
                orthogonal=orthogonal,
            )
        ],
        multi_label=multi_label,
    )


class CODAPrompt(PromptStrategy):
    """CODA-Prompt (Smith et al., CVPR 2023, arXiv 2211.13218).

    In each prompted block M components P with keys K and attention vectors A make one prompt per
    image: ``w_j = cos(q o A_j, K_j)``, ``prompt = sum_j w_j P_j``, with the query q the final-norm
    class token of the unprompted frozen ViT, not normalised. The first half of a component's rows
    are keys of the prefix, the second values. Each task owns M / T components, which begin
    orthogonal to all earlier ones; those of earlier tasks are fixed and still take part. Nothing is
    selected and no task is told at test time. Loss: cross-entropy over the task's classes, plus
    ``mu`` times the orthogonality penalty of K, A and P.

    **Boundaries.** Where they are announced, ``n_tasks`` has to be given (recipes do), and training
    is refused without. Where they are not, it has to be left out: all components train from the
    start.

    Defaults are the published script's: M = 100, length 8 (4 keys and 4 values), blocks 0 to 4,
    Adam 1e-3, batch 128, 20 epochs a task (ImageNet-R: 50), CODA's cosine schedule, a fresh
    optimizer for each task, no clipping, mu = 0.

    Deviations from the published code: weights of components come from two matrix products (exact,
    no (batch, M, dim) intermediate); new rows by QR, orthogonal to trained rows too
    (``orthogonal="gram_schmidt"``: the published sequence, which is not); the backbone is really
    frozen (theirs computes and piles up 86 M gradients); fixed components do not require a
    gradient, so neither weight decay nor momentum moves them; no sample is dropped from a last
    short batch.

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a model from :func:`coda_prompt_model`.
        multi_label: an image may show several classes.
        n_tasks: tasks among which the components are divided; see above.
        n_components: M; with n_tasks, a remainder of the division is not used.
        prompted_blocks: blocks with prompts, 0-based.
        prompt_length: rows of a component, even.
        orthogonal: ``"qr"`` or ``"gram_schmidt"``.
        mu: weight of the penalty; the paper's first version had 0.1 (times 1e-6 in its code),
            published scripts have 0.
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
        n_tasks: int | None = None,
        n_components: int = 100,
        prompted_blocks: Sequence[int] = (0, 1, 2, 3, 4),
        prompt_length: int = 8,
        orthogonal: str = "qr",
        mu: float = 0.0,
        class_mask: str = "current",
        lr: float = 1e-3,
        train_mb_size: int = 128,
        train_epochs: int = 20,
        online_iter: int = 1,
        schedule: str = "coda",
        new_optimizer: bool = True,
        **common: Any,
    ) -> None:
        if not mu >= 0:
            raise InputError(f"mu is {mu}: it cannot be negative")
        if model is None:
            backbone, n_classes = need_backbone(backbone, n_classes)
            model = coda_prompt_model(
                backbone,
                n_classes,
                multi_label=multi_label,
                n_tasks=n_tasks,
                n_components=n_components,
                prompted_blocks=prompted_blocks,
                prompt_length=prompt_length,
                orthogonal=orthogonal,
            )
        self.mu = mu
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

    @property
    def weights(self) -> AttentionWeights:
        """Keys and attention vectors."""
        return cast(AttentionWeights, self.model.selector)

    def _before_training_exp(self, **kwargs: Any) -> None:
        tasks = self.weights.key.n_tasks
        if self.announced and tasks is None:
            raise InputError(
                "CODAPrompt divides its components among the announced tasks and does not know how"
                " many come: give n_tasks, or boundaries=False to train all components from the"
                " start"
            )
        if tasks is not None and not self.announced:
            raise InputError(
                f"CODAPrompt divided its components among n_tasks={tasks}, but no task is announced"
                " here and only the first share would ever train: leave n_tasks out, or give"
                " boundaries=True"
            )
        super()._before_training_exp(**kwargs)

    def prompt_loss(self, output: Output) -> Tensor:
        """The orthogonality penalty."""
        if not self.mu:
            return super().prompt_loss(output)
        return self.mu * (
            self.weights.penalty() + cast(ComponentPool, self.model.pools[0]).penalty()
        )
