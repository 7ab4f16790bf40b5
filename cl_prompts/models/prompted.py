"""Prompts on a frozen ViT: query, selector, pools, head and masks in one model."""

import sys
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.injection import Entry, PromptPlan
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.base import ContinualModel, Encoding, Output, need_frozen
from cl_prompts.models.heads import LinearHead
from cl_prompts.models.slow_heads import ensemble_logits
from cl_prompts.prompts.pools import Pool, check_blocks
from cl_prompts.prompts.selectors import ClassTokenQuery, Selection, Selector


class InstanceLogitMask(nn.Module):
    """MVP's instance-wise logit mask: a learned factor in (0, 2) per prompt and class.

    It multiplies signed logits, so shrinking a negative logit raises that class (as published).
    Initial value 2 sigmoid(-1) = 0.5379. With k > 1 selected prompts the parameters are averaged
    before the sigmoid.

    Args:
        size: prompts in the pool.
        n_classes: columns of the logits.

    Example:
        >>> mask = InstanceLogitMask(size=10, n_classes=2)
        >>> index = torch.tensor([[3], [7]])
        >>> mask(Selection(index, distance=torch.zeros(2, 10), scale=torch.ones(10))).shape
        torch.Size([2, 2])
    """

    class_axes: ClassVar = {"values": 1}

    def __init__(self, size: int, n_classes: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.full((size, n_classes), -1.0))

    def fresh(self, name: str, rows: Tensor) -> None:
        """Initialise the columns of new classes."""
        rows.fill_(-1)

    def forward(self, selection: Selection) -> Tensor:
        """Selection -> mask (batch, classes)."""
        # mask_i = 2 sigmoid(mean over the selected prompts of M[s_i])
        chosen = F.embedding(selection.index, self.values)
        return 2 * torch.sigmoid(chosen.squeeze(1) if chosen.shape[1] == 1 else chosen.mean(dim=1))


class PromptedViT(ContinualModel):
    """Prompts on a frozen ViT with one head over all classes, in fp32.

    With slow heads (:meth:`set_slow_heads`) evaluation combines the head and its slow heads by
    ``ensemble``; training uses the head alone. The cache key ``"frozen"`` names the query, or the
    features of a model without prompts, before ``whitening``.

    Args:
        backbone: the frozen ViT, or a trainable one for fine-tuning.
        n_classes: classes of the data set; head row = data-set label.
        query: query function; only used with a selector.
        selector: chooses prompts, or None.
        pools: prompts, injected in this order.
        logit_mask: learned mask on the logits by selection, or None.
        head_input: ``"token"``, the class token, or ``"prompt"``, the mean over the prepended
            tokens (L2P).
        head: features (batch, dim) -> logits (batch, classes); None: a linear head.
        multi_label: an image may show several classes.

    Raises:
        InputError: a selector on a trainable backbone, or a pool with missing or repeated blocks.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.prompts import NearestKeys, PrependedTokenPool
        >>> vit = create_backbone()
        >>> pool = PrependedTokenPool(10, 5, vit.dim)
        >>> l2p = PromptedViT(
        ...     vit, 3, selector=NearestKeys(10, vit.dim, k=2), pools=[pool], head_input="prompt"
        ... )
        >>> l2p.observe_classes(torch.tensor([0, 1, 2]))
        >>> tuple(l2p(torch.rand(4, 3, 32, 32)).shape)
        (4, 3)
    """

    query: ClassTokenQuery
    selector: nn.Module | None
    logit_mask: InstanceLogitMask | None

    def __init__(
        self,
        backbone: FrozenViT,
        n_classes: int,
        *,
        query: ClassTokenQuery | None = None,
        selector: nn.Module | None = None,
        pools: Sequence[nn.Module] = (),
        logit_mask: InstanceLogitMask | None = None,
        head_input: Literal["token", "prompt"] = "token",
        head: nn.Module | None = None,
        multi_label: bool = False,
    ) -> None:
        if selector is not None:
            need_frozen(backbone, "queries")
        for pool in pools:
            if blocks := getattr(pool, "blocks", ()):
                check_blocks(backbone.depth, **{f"blocks of {type(pool).__name__}": blocks})
        super().__init__(backbone, n_classes, multi_label=multi_label)
        self.head_input = head_input
        self.query = query or ClassTokenQuery()
        self.selector = selector
        self.logit_mask = logit_mask
        self.pools = nn.ModuleList(pools)
        self.head = LinearHead(backbone.feature_dim, n_classes) if head is None else head
        self.reads_images = backbone.trainable or len(self.pools) > 0
        """Whether :meth:`run` needs the images even if their frozen part is cached."""

    def needs_images(self, cached: Collection[str]) -> bool:
        """False for a head on cached features, else True."""
        return self.reads_images or "frozen" not in cached

    def cache_keys(self) -> dict[str, Hashable]:
        """``"frozen"``, valid while backbone and query are the same objects.

        If the query pass scores patches, their scores are ``"scores"``.
        """
        if self.backbone.trainable or (self.pools and self.selector is None):
            return {}
        # Without prompts the features are cached, which do not depend on the query.
        version = (self.backbone, self.query if self.reads_images else None)
        names = ("frozen", "scores") if self.scores_patches else ("frozen",)
        return dict.fromkeys(names, version)

    @property
    def scores_patches(self) -> bool:
        """Whether the query pass scores patches: a whole one, where some patches are left out."""
        asks = self.selector is not None and self.query.blocks is None
        return asks and self.patches is not None

    @property
    def selects_patches(self) -> bool:
        """Whether a prompted forward pass leaves out patches, in this mode."""
        return self.patches is not None and self.patches.selects(training=self.training)

    def encode(self, images: Tensor | None, cached: Mapping[str, Tensor]) -> Encoding:
        """Compute the query, or without prompts the features (``"frozen"``)."""
        encoding = self._encoded(images, cached)
        tokens = encoding.tokens
        if tokens is None or not self.selects_patches:
            return encoding
        assert self.patches is not None
        prefix = self.backbone.architecture.prefix
        # Without scores the choice is uniform.
        equal = torch.zeros(tokens.shape[:2], device=tokens.device)[:, prefix:]
        scores = encoding.parts.get("scores", equal)
        return replace(encoding, kept=self.patches.kept(scores, prefix, noisy=self.training))

    def _encoded(self, images: Tensor | None, cached: Mapping[str, Tensor]) -> Encoding:
        frozen = cached.get("frozen")
        if frozen is not None and not self.reads_images:
            return Encoding({"frozen": frozen})
        assert images is not None
        tokens = self.backbone.embed(images)
        if not self.cache_keys():
            return Encoding({}, tokens)
        # If a pool adds to the embedded tokens, the query pass and the prompted pass share nothing.
        shifts = any(getattr(pool, "shifts_tokens", False) for pool in self.pools)
        if frozen is not None:
            # The entry costs as much as it saves, but a later pass can reuse it.
            entry = None if shifts else self._enter(tokens)
            return Encoding({name: cached[name] for name in self.cache_keys()}, tokens, entry)
        if self.training and getattr(self.selector, "trains_unasked", False):
            return Encoding({}, tokens)
        # Cached parts carry no gradient.
        with torch.no_grad():
            if not self.reads_images:
                return Encoding({"frozen": self.backbone.class_features(tokens)})
            entry = self._enter(tokens)
            scores: list[Tensor] | None = [] if self.scores_patches else None
            parts = {"frozen": self.query(self.backbone, tokens, entry, scores)}
            if scores:
                parts["scores"] = scores[0][:, self.backbone.architecture.prefix :]
            return Encoding(parts, tokens, None if shifts else entry)

    def _enter(self, tokens: Tensor) -> Entry:
        """The common part of query pass and prompted pass, up to the first prompts."""
        # Blocks whose output is a feature belong to the prompted pass.
        first_read = self.backbone.depth - self.backbone.features.blocks
        last = min(max(self.query.stop(self.backbone) - 1, 0), first_read)
        # A pool without the attribute ``blocks`` may prompt anywhere; patches leave before block 0.
        firsts = [min((*getattr(pool, "blocks", (0,)), sys.maxsize)) for pool in self.pools]
        shared = firsts and not self.selects_patches
        return self.backbone.enter(tokens, min(*firsts, last) if shared else 0)

    def decode(self, encoding: Encoding) -> Output:
        """Select and build prompts, run the prompted pass, and classify."""
        if encoding.tokens is None:
            return self.classify(encoding.parts["frozen"])
        selection = None
        if self.selector is not None:
            # A selector with ``trains_unasked`` reads only the batch size.
            query = encoding.parts.get("frozen", encoding.tokens[:, 0])
            selection = cast(Selector, self.selector)(query)
        plan = PromptPlan(kept=encoding.kept)
        for pool in self.pools:
            plan.add(cast(Pool, pool).build(selection))
        vit = self.backbone
        of_prompts = self.head_input == "prompt"
        features = vit.class_features(
            encoding.tokens, plan, entry=encoding.entry, prepended_only=of_prompts
        )
        output = self.classify(features, selection)
        if plan.losses:
            output.prompt_loss = plan.loss()
        return output

    def classify(self, features: Tensor, selection: Selection | None = None) -> Output:
        """Apply whitening, head and masks to raw features (batch, dim)."""
        raw = features
        features = raw if self.whitening is None else self.whitening(raw)
        # z = (W f + b) * mask
        mask = None
        if self.logit_mask is not None and selection is not None:
            mask = self.logit_mask(selection)
        logits = self.head(features)
        # Slow heads take part in evaluation only.
        if self.slow is not None and not self.training:
            chosen = selection is not None and self.slow.n_experts > 1
            expert = cast(Selection, selection).index[:, 0] if chosen else None
            heads = torch.cat([logits[None], self.slow(self.head, features, expert)])
            heads = heads if mask is None else heads * mask
            together = ensemble_logits(heads, self.seen, self.ensemble)
            return Output(together, features, selection, mask, raw)
        logits = logits if mask is None else logits * mask
        return Output(self.hide_unseen(logits), features, selection, mask, raw)


def innermost_selector(model: ContinualModel) -> nn.Module | None:
    """Return the selector that holds keys and counts, inside all wrappers, or None."""
    selector = getattr(model, "selector", None)
    while isinstance(inner := getattr(selector, "inner", None), nn.Module):
        selector = inner
    return selector


def prompt_usage(model: ContinualModel) -> Tensor | None:
    """(prompts,) uses in training so far, a copy; None without a selector.

    A use is a selection, or for mixed prompts (CODA-Prompt) an absolute weight of 1.
    """
    count = getattr(innermost_selector(model), "count", None)
    return None if count is None else cast(Tensor, count).detach().clone()
