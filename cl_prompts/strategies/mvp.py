"""MVP: mask and visual prompt tuning (ICCV 2023); MVP-R with buffer_size.

Moon, Park, Kim, Park, "Online Class Incremental Learning on Stochastic Blurry Task Boundary via
Mask and Visual Prompt Tuning", ICCV 2023, https://arxiv.org/abs/2308.09303.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive, Share, in_range
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import ClassMask
from cl_prompts.losses.mvp import (
    Pairs,
    contrastive_key_loss,
    key_distance,
    mvp_classification_loss,
)
from cl_prompts.models.base import Output
from cl_prompts.models.heads import InstanceLogitMask
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.blocks import Blocks, check_blocks
from cl_prompts.prompts.pools import SharedTokens, TokenPool
from cl_prompts.prompts.selectors import ClassTokenQuery, NearestKeys, Selection
from cl_prompts.strategies.base.head import Head
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.strategies.base.stream import Batch


class MVP(PromptStrategy):
    """Mask and Visual Prompt tuning.

    The query of an image is its class token in front of the last block of the unprompted frozen
    ViT, without the final norm. The nearest of ``pool_size`` keys, with distances multiplied by 1 +
    how often each was chosen, picks one E-prompt; its tokens, and G-prompts shared by all images,
    join a few early blocks. The same choice picks a learned mask that multiplies the logits
    (instance-wise logit masking). Training minimises a cross-entropy whose features are divided by
    1 + margin - their cosine with the class row (adaptive feature scaling, AFS) and whose samples
    are weighted by how much their gradient deviates from the batch's (gradient-similarity focal
    loss, GSF), plus a contrastive loss that pulls keys to their queries and apart from each other.
    AFS and GSF read the label and act in training alone; counts and masks act in tests as well.
    With ``buffer_size`` it is MVP-R.

    Published values are the defaults (Adam 5e-3, batch 64, 3 updates a batch); every update, also
    of replayed samples, counts its choices, as published. Deviations from the published code: GSF
    weights each sample (published: one scalar weight a batch, ``gsf_reduction="batch_mean"``); the
    contrastive loss divides an image's distances by 1 + the count of its own choice (published:
    counts of all images are mixed by broadcasting, ``contrastive_pairs="all"``). Replay, which
    fails in the published code, works, and head rows are data-set labels instead of the order in
    which classes appear. With a head input other than raw, scaling and weights read what the head
    reads.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> mvp = MVP(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> mvp.model.n_learned
        80750
    """

    # One label an image, keys with a loss of their own, and rates as they are given.
    excluded = ("multi_label", "loss_norm", "pull_weight", "lr_scaling")
    # class_mask="current" is refused: the loss has no form for the classes of a task alone.
    masks_classes = False

    class_mask: ClassMask = "seen"
    """Classes that compete in the cross-entropy: ``"seen"``, all classes seen so far, as published,
    or ``"batch"``, those that occur in the mini-batch."""
    # For head.alignment=released alone: MVP's code aligns features in training, not in tests.
    head: Head = Head(aligned_tests=False)
    # Over PromptStrategy's 1 and True: several updates a batch, and no task that resets Adam.
    online_iter: Count = 3
    new_optimizer: bool = False
    pool_size: Count = 10
    """E-prompts, keys and logit masks. Not linked to the number of tasks."""
    g_blocks: Blocks = (0, 1)
    """Blocks with G-prompts, 0-based; may be empty."""
    g_length: Count = 5
    """G-prompt tokens per block."""
    e_blocks: Blocks = (2, 3, 4)
    """Blocks with E-prompts."""
    e_length: Count = 20
    """E-prompt tokens per block."""
    top_k: Count = 1
    """E-prompts per image."""
    use_mask: bool = True
    """Instance-wise logit masking."""
    use_contrastive: bool = True
    """Contrastive key loss and count-scaled selection; otherwise the mean query-key distance."""
    use_afs: bool = True
    """Adaptive feature scaling."""
    use_gsf: bool = True
    """Gradient-similarity focal weighting."""
    use_last_block: bool = False
    """Query from the last block instead of the one before it."""
    alpha: Share = 0.5
    """Share of the GSF weight w = 1 - alpha + alpha e^gamma."""
    gamma: NotNegative = 2.0
    """Exponent of the GSF weight."""
    margin: Positive = 0.5
    """Offset of the AFS scale c = 1 - cos + margin."""
    gsf_reduction: Literal["sample", "batch_mean"] = "sample"
    """Whether GSF weighs each ``"sample"`` or the whole batch (``"batch_mean"``)."""
    contrastive_pairs: Pairs = "own"
    """Whose counts scale an image's distances: its ``"own"`` or those of ``"all"`` images."""

    def check_settings(self) -> None:
        """Refuse AFS and GSF with a head that is not linear."""
        super().check_settings()
        if self.head.kind != "linear" and (self.use_afs or self.use_gsf):
            raise InputError(
                f"a {self.head.kind} head of MVP needs use_afs=False and use_gsf=False: both are"
                " defined for a linear head"
            )

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build G-prompts, E-prompts chosen by nearest key, and a logit mask for each E-prompt."""
        # G-prompts may be left out, and an empty list would be refused.
        check_blocks(backbone.depth, g_blocks=self.g_blocks or (0,), e_blocks=self.e_blocks)
        in_range(1, self.pool_size, top_k=self.top_k)
        dim = backbone.dim
        return PromptedViT(
            backbone,
            n_classes,
            # The query pass ends in front of the last block and has no final norm, as published.
            query=ClassTokenQuery(skip_last=not self.use_last_block, norm=False),
            # Distances times a_p = count_p + 1, in training and in tests, as published.
            selector=NearestKeys(
                self.pool_size, dim, k=self.top_k, count_scaled=self.use_contrastive
            ),
            # Published prompt tuning: tokens join a block's sequence and are taken out behind it.
            pools=[
                SharedTokens(self.g_blocks, self.g_length, dim),
                TokenPool(self.pool_size, self.e_blocks, self.e_length, dim),
            ],
            logit_mask=InstanceLogitMask(self.pool_size, n_classes) if self.use_mask else None,
        )

    def classification_loss(self, output: Output, batch: Batch) -> Tensor:
        """Cross-entropy with adaptive feature scaling and gradient-similarity weights."""
        # mean_i w_i CE(z_i), with z_i = (W f_i / c_i + b) m_i (AFS, logit mask) and the weight
        # w_i = 1 - alpha + alpha e_i^gamma (GSF), e_i from the logits of unscaled features. c_i
        # and e_i depend on the label and get no gradient.
        return mvp_classification_loss(
            output,
            batch.labels,
            self.model.head,
            self.competing_classes(batch.labels),
            use_afs=self.use_afs,
            use_gsf=self.use_gsf,
            alpha=self.alpha,
            gamma=self.gamma,
            margin=self.margin,
            gsf_reduction=self.gsf_reduction,
        )

    def prompt_loss(self, output: Output) -> Tensor:
        """:meth:`key_loss`, with weight 1."""
        # A model that was made by hand may choose nothing.
        if output.selection is None:
            return super().prompt_loss(output)
        return self.key_loss(output.selection)

    def key_loss(self, selection: Selection) -> Tensor:
        """Contrastive loss of the keys, or the mean query-key distance."""
        if not self.use_contrastive:
            return key_distance(selection)
        return contrastive_key_loss(
            self.model.selector.key, selection, pairs=self.contrastive_pairs
        )
