"""MVP: mask and visual prompt tuning, for online streams with stochastic blurry boundaries.

Moon, Park, Kim, Park, "Online Class Incremental Learning on Stochastic Blurry Task Boundary via
Mask and Visual Prompt Tuning", ICCV 2023, https://arxiv.org/abs/2308.09303.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.losses.mvp import contrastive_key_loss, key_distance, mvp_classification_loss
from cl_prompts.models.base import Output
from cl_prompts.models.heads import InstanceLogitMask
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.pools import SharedTokens, TokenPool
from cl_prompts.prompts.selectors import ClassTokenQuery, NearestKeys
from cl_prompts.strategies.base.online import OnlineStrategy, need_backbone


def mvp_model(
    backbone: FrozenViT,
    n_classes: int,
    *,
    pool_size: int = 10,
    g_blocks: Sequence[int] = (0, 1),
    g_length: int = 5,
    e_blocks: Sequence[int] = (2, 3, 4),
    e_length: int = 20,
    top_k: int = 1,
    use_mask: bool = True,
    use_contrastive: bool = True,
    use_last_block: bool = False,
) -> PromptedViT:
    """MVP's network: G-prompts for every image, one E-prompt per image by nearest key, and a logit
    mask by prompt.

    The arguments are those of :class:`MVP`.
    """
    for name, blocks, length in (("g", g_blocks, g_length), ("e", e_blocks, e_length)):
        wrong = [block for block in blocks if not 0 <= block < backbone.depth]
        if wrong:
            raise InputError(
                f"prompts are asked for in block {wrong[0]}, but this ViT has blocks 0 to"
                f" {backbone.depth - 1}"
            )
        if len(set(blocks)) < len(blocks):
            raise InputError(f"{name}_blocks is {list(blocks)}: a block is there twice")
        if length < 1:
            raise InputError(f"{name}_length is {length}: it must be at least 1")
    if not 1 <= top_k <= pool_size:
        raise InputError(
            f"top_k is {top_k}: it must be between 1 and pool_size, which is {pool_size}"
        )
    dim = backbone.dim
    return PromptedViT(
        backbone,
        n_classes,
        query=ClassTokenQuery(skip_last=not use_last_block, norm=False),
        selector=NearestKeys(pool_size, dim, k=top_k, count_scaled=use_contrastive),
        pools=[
            SharedTokens(g_blocks, g_length, dim),
            TokenPool(pool_size, e_blocks, e_length, dim),
        ],
        logit_mask=InstanceLogitMask(pool_size, n_classes) if use_mask else None,
    )


class MVP(OnlineStrategy):
    """Mask and Visual Prompt tuning.

    The query of an image is its class token in the unprompted frozen ViT. The nearest of
    ``pool_size`` keys, with distances scaled by how often each was chosen, picks one E-prompt; its
    tokens, and G-prompts shared by all images, join a few early blocks. The same choice picks a
    learned mask that multiplies the logits (instance-wise logit masking). Training minimises a
    cross-entropy whose features are scaled by their distance to the class row (adaptive feature
    scaling, AFS) and whose samples are weighted by how much their gradient departs from the batch's
    (gradient-similarity focal loss, GSF), plus a contrastive loss that pulls keys to their queries
    and apart from each other. With ``buffer_size`` it is MVP-R.

    Differences from the published code, which the named options bring back: GSF weights each sample
    (``gsf_reduction="batch_mean"``: one scalar weight a batch); the contrastive loss uses each
    image's own count (``contrastive_pairs="all"``: counts of all images are mixed by broadcasting);
    replay works; head rows are data-set labels.

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a model from :func:`mvp_model`.
        pool_size: E-prompts, keys and logit masks. Not linked to the number of tasks.
        g_blocks: blocks with G-prompts, 0-based.
        g_length: G-prompt tokens per block.
        e_blocks: blocks with E-prompts.
        e_length: E-prompt tokens per block.
        top_k: E-prompts per image.
        use_mask: instance-wise logit masking.
        use_contrastive: contrastive key loss and count-scaled selection; otherwise the mean
            query-key distance.
        use_afs: adaptive feature scaling.
        use_gsf: gradient-similarity focal weighting.
        use_last_block: query from the last block instead of the one before it.
        alpha: share of the GSF weight, in [0, 1].
        gamma: exponent of the GSF weight.
        margin: offset of the AFS scale, positive.
        gsf_reduction: ``"sample"`` or ``"batch_mean"``.
        contrastive_pairs: ``"own"`` or ``"all"``.
        **common: see :class:`~cl_prompts.strategies.base.online.OnlineStrategy`; published values
            are the defaults (Adam 5e-3, batch 64, 3 updates a batch).
    """

    model: PromptedViT
    masks_classes = False

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: PromptedViT | None = None,
        pool_size: int = 10,
        g_blocks: Sequence[int] = (0, 1),
        g_length: int = 5,
        e_blocks: Sequence[int] = (2, 3, 4),
        e_length: int = 20,
        top_k: int = 1,
        use_mask: bool = True,
        use_contrastive: bool = True,
        use_afs: bool = True,
        use_gsf: bool = True,
        use_last_block: bool = False,
        alpha: float = 0.5,
        gamma: float = 2.0,
        margin: float = 0.5,
        gsf_reduction: str = "sample",
        contrastive_pairs: str = "own",
        **common: Any,
    ) -> None:
        _check(alpha, gamma, margin, gsf_reduction, contrastive_pairs)
        if model is None:
            backbone, n_classes = need_backbone(backbone, n_classes)
            model = mvp_model(
                backbone,
                n_classes,
                pool_size=pool_size,
                top_k=top_k,
                g_blocks=g_blocks,
                g_length=g_length,
                e_blocks=e_blocks,
                e_length=e_length,
                use_mask=use_mask,
                use_contrastive=use_contrastive,
                use_last_block=use_last_block,
            )
        super().__init__(model=model, **common)
        self.use_contrastive, self.contrastive_pairs = use_contrastive, contrastive_pairs
        self.classification: dict[str, Any] = {
            "use_afs": use_afs,
            "use_gsf": use_gsf,
            "gsf_reduction": gsf_reduction,
            "alpha": alpha,
            "gamma": gamma,
            "margin": margin,
        }

    def training_loss(self) -> Tensor:
        """Weighted cross-entropy plus key loss (with weight 1)."""
        out, model = self.output, self.model
        assert out is not None
        return mvp_classification_loss(
            out, self.mb_y, model.head, model.seen, **self.classification
        ) + self.key_loss(out)

    def key_loss(self, out: Output) -> Tensor:
        """The term that trains the keys."""
        assert out.selection is not None
        assert isinstance(self.model.selector, NearestKeys)
        if self.use_contrastive:
            return contrastive_key_loss(
                self.model.selector.key, out.selection, pairs=self.contrastive_pairs
            )
        return key_distance(out.selection)

    def after_step(self) -> None:
        """Count the choices; every repetition and memory sample counts, as published."""
        assert self.output is not None
        assert self.output.selection is not None
        assert isinstance(self.model.selector, NearestKeys)
        self.model.selector.observe(self.output.selection)


def _check(
    alpha: float, gamma: float, margin: float, gsf_reduction: str, contrastive_pairs: str
) -> None:
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is {alpha}: it must be between 0 and 1")
    if gamma < 0:
        raise InputError(f"gamma is {gamma}: it cannot be negative")
    if margin <= 0:
        raise InputError(f"margin is {margin}: it must be positive")
    if gsf_reduction not in ("sample", "batch_mean"):
        raise InputError(
            f"gsf_reduction {gsf_reduction!r} is not known: it is 'sample' or 'batch_mean'"
        )
    if contrastive_pairs not in ("own", "all"):
        raise InputError(
            f"contrastive_pairs {contrastive_pairs!r} is not known: it is 'own' or 'all'"
        )
