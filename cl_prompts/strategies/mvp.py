"""MVP: mask and visual prompt tuning (ICCV 2023); MVP-R with buffer_size.

Moon, Park, Kim, Park, "Online Class Incremental Learning on Stochastic Blurry Task Boundary via
Mask and Visual Prompt Tuning", ICCV 2023, https://arxiv.org/abs/2308.09303.
"""

from typing import Literal

from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive, Share, whole_number
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import ClassMask
from cl_prompts.losses.mvp import Pairs, contrastive_key_loss, key_distance, mvp_classification_loss
from cl_prompts.models.base import Output
from cl_prompts.models.prompted import InstanceLogitMask, PromptedViT
from cl_prompts.prompts.pools import Blocks, SharedTokens, TokenPool, check_blocks
from cl_prompts.prompts.selectors import ClassTokenQuery, NearestKeys
from cl_prompts.strategies.base.head import Head
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.strategies.base.stream import Batch


class MVP(PromptStrategy):
    """Mask and Visual Prompt tuning.

    The query of an image is its class token before the last block of the unprompted frozen ViT,
    without the final norm. The nearest of ``pool_size`` keys, with distances multiplied by 1 + the
    number of past selections, selects one E-prompt. Its tokens, and G-prompts shared by all images,
    join a few early blocks. The same key selects a learned mask that multiplies the logits
    (instance-wise logit masking). The loss is a cross-entropy whose features are divided by 1 +
    margin - their cosine with the class row (adaptive feature scaling, AFS) and whose samples are
    weighted by the deviation of their gradient from the batch's (gradient-similarity focal loss,
    GSF), plus a contrastive loss that pulls keys to their queries and away from each other. AFS and
    GSF act in training alone; counts and masks act in tests as well. With ``buffer_size`` it is
    MVP-R.

    Published values are the defaults (Adam 5e-3, batch 64, 3 updates a batch); selections count in
    every update and for replayed samples, as published. Deviations from the published code: GSF
    weights each sample (published: one weight per batch, ``gsf_reduction="batch_mean"``); the
    contrastive loss divides an image's distances by 1 + the count of its own key (published: counts
    of all images are mixed by broadcasting, ``contrastive_pairs="all"``); replay, which fails in
    the published code, works; head rows are data-set labels instead of the order in which classes
    appear. With a head input other than raw, AFS and GSF use the normalised features.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> mvp = MVP(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> mvp.model.n_learned
        80750
    """

    excluded = ("multi_label", "loss_norm", "pull_weight")
    masks_classes = False  # MVP has its own logit mask, so it refuses ``class_mask="current"``

    class_mask: ClassMask = "seen"
    """Classes that compete in the cross-entropy: ``"seen"``, all classes seen so far, as published,
    or ``"batch"``, those that occur in the mini-batch."""
    # Of head.input=aligned: MePo's code of MVP aligns features in training only.
    head: Head = Head(aligned_tests=False)
    online_iter: Count = 3
    new_optimizer: bool = False
    pool_size: Count = 10
    """Number of E-prompts, keys and logit masks, independent of the number of tasks."""
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
    """Take the query after the last block instead of before it."""
    alpha: Share = 0.5
    """Share of the GSF weight w = 1 - alpha + alpha e^gamma."""
    gamma: NotNegative = 2.0
    """Exponent of the GSF weight."""
    margin: Positive = 0.5
    """Offset of the AFS scale c = 1 - cos + margin."""
    gsf_reduction: Literal["sample", "batch_mean"] = "sample"
    """GSF weights per ``"sample"``, or one for the batch (``"batch_mean"``)."""
    contrastive_pairs: Pairs = "own"
    """Counts that scale an image's distances: its ``"own"`` or those of ``"all"`` images."""

    def check_settings(self) -> None:
        """Refuse AFS and GSF with a head that is not linear."""
        super().check_settings()
        if self.head.kind != "linear" and (self.use_afs or self.use_gsf):
            raise InputError(
                f"AFS and GSF need a linear head, but head.kind is {self.head.kind}: set"
                " use_afs=False and use_gsf=False"
            )

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build G-prompts, E-prompts chosen by nearest key, and a logit mask for each E-prompt."""
        # check_blocks refuses an empty list, but G-prompts may be left out.
        check_blocks(backbone.depth, g_blocks=self.g_blocks or (0,), e_blocks=self.e_blocks)
        whole_number("top_k", self.top_k, 1, self.pool_size, of="pool_size")
        dim = backbone.dim
        return PromptedViT(
            backbone,
            n_classes,
            # The query pass ends before the last block and has no final norm, as published.
            query=ClassTokenQuery(skip_last=not self.use_last_block, norm=False),
            # Distances times a_p = count_p + 1, in training and in tests, as published.
            selector=NearestKeys(
                self.pool_size, dim, k=self.top_k, count_scaled=self.use_contrastive
            ),
            # Published prompt tuning: tokens join a block's sequence and are removed after it.
            pools=[
                SharedTokens(self.g_blocks, self.g_length, dim),
                TokenPool(self.pool_size, self.e_blocks, self.e_length, dim),
            ],
            logit_mask=InstanceLogitMask(self.pool_size, n_classes) if self.use_mask else None,
        )

    def classification_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the cross-entropy with AFS and GSF, a term of ``training_loss``."""
        # mean_i w_i CE(z_i), with z_i = (W f_i / c_i + b) m_i (AFS, logit mask) and the weight
        # w_i = 1 - alpha + alpha e_i^gamma (GSF), e_i from the logits of unscaled features. c_i
        # and e_i depend on the label and get no gradient.
        return mvp_classification_loss(
            output,
            batch.labels,
            self.model.head,
            self.competing_classes(batch.labels),
            **self.values_of("use_afs", "use_gsf", "alpha", "gamma", "margin", "gsf_reduction"),
        )

    def prompt_loss(self, output: Output) -> Tensor:
        """Return the contrastive loss of the keys, or the mean query-key distance."""
        selection = output.selection
        assert selection is not None
        if not self.use_contrastive:
            return key_distance(selection)
        return contrastive_key_loss(
            self.model.selector.key, selection, pairs=self.contrastive_pairs
        )
