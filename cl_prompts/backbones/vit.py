"""The frozen Vision Transformer of every method, and its precision."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Literal

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cl_prompts.backbones.architecture import Architecture, Features
from cl_prompts.backbones.attention import LINEAR_AT_LAST, project, run_block
from cl_prompts.backbones.cost import PassCounter, ViTShape
from cl_prompts.backbones.injection import BY_BLOCK, Entry, PromptPlan, gather
from cl_prompts.checks import Normalisation, one_of

Precision = Literal["fp32", "bf16"]

PRECISIONS: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class FrozenViT(nn.Module):
    """A frozen timm ViT whose blocks take prompts.

    No parameter requires a gradient, the module stays in evaluation mode, and timm's code is not
    patched: an empty plan gives exactly ``vit.forward_features``. Gradients flow through the frozen
    blocks to the prompts. The feature of an image is what the model itself reads: its class token,
    the mean of its patch tokens or its attention pool, behind its own norms. If only the class
    token is read, the last block computes only that token (exact; it saves about 7 % of a forward
    pass).

    Args:
        vit: a timm ``VisionTransformer`` or ``Eva`` with plain patches and pre-norm blocks;
            register tokens, rotary positions, LayerScale, ``no_embed_class`` and
            ``dynamic_img_size`` are supported. It is modified in place: frozen, cast to the
            precision, and its head removed.
        normalisation: per-channel mean and std for RGB images in [0, 1]. ``((0, 0, 0), (1, 1, 1))``
            leaves images unchanged, as many published recipes do.
        precision: ``"fp32"`` or ``"bf16"``; bf16 stores the frozen weights and runs the blocks in
            bf16, while prompts, queries, features and head stay in fp32.

    Raises:
        InputError: another model (see :class:`~cl_prompts.backbones.architecture.Architecture`), or
            an unknown precision.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> tuple(vit(torch.rand(2, 3, vit.image_size, vit.image_size)).shape)
        (2, 128)
        >>> any(parameter.requires_grad for parameter in vit.parameters())
        False
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        vit: VisionTransformer,
        *,
        normalisation: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        precision: Precision = "fp32",
    ) -> None:
        super().__init__()
        self.architecture = Architecture.of(vit)
        one_of("precision", precision, Precision)
        self.precision = precision
        self.trainable = False
        self.own = Features(pool=self.architecture.pools[0])
        """The feature that the timm model itself reads."""
        self.features = self.own
        """Tokens that become features, see :meth:`with_features`."""
        self._by_features: dict[Features, FrozenViT] = {}
        self.vit = vit.to(PRECISIONS[precision]).requires_grad_(False).eval()
        self.vit.head = nn.Identity()
        for name, values in zip(("mean", "std"), normalisation, strict=True):
            by_channel = torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1)
            self.register_buffer(name, by_channel, persistent=False)
        self.counter = PassCounter(ViTShape.of(self.vit))
        self.dim = int(vit.embed_dim)
        """Width of a token."""
        self.depth = len(vit.blocks)
        """Number of blocks."""
        self.n_heads = int(vit.blocks[0].attn.num_heads)
        """Attention heads of a block."""
        self.image_size = int(vit.patch_embed.img_size[0])
        """Side of the (square) input images in pixels."""
        self.n_tokens = self.counter.shape.n_tokens
        """Length of the unprompted sequence: class token, registers, patches."""
        self.normalises = bool((self.mean != 0).any() or (self.std != 1).any())
        """Whether the backbone normalises images; not with ``normalisation="none"``."""

    def train(self, mode: bool = True) -> FrozenViT:
        """Stay in evaluation mode, without dropout or running statistics."""
        return super().train(False) if self.training else self

    def thawed(self) -> FrozenViT:
        """Return an independent, trainable fp32 copy for fine-tuning."""
        # Cached copies share weights with this one, so the new copy starts without them.
        twin = copy.deepcopy(self, {id(self._by_features): {}})
        # bf16 weights would round small updates away.
        twin.vit.float().requires_grad_(True)
        twin.precision = "fp32"
        twin.trainable = True
        twin.counter = PassCounter(self.counter.shape)
        return twin

    def with_features(self, name: str) -> FrozenViT:
        """Return this ViT with other features, sharing weights and counter.

        Args:
            name: see :meth:`~cl_prompts.backbones.architecture.Features.of`.

        Raises:
            InputError: an unknown name, or features that this ViT does not have.

        Example:
            >>> from cl_prompts.backbones import create_backbone
            >>> vit = create_backbone()
            >>> vit.dim, vit.with_features("blocks:3").feature_dim
            (128, 384)
        """
        features = Features.of(name, self.depth, self.architecture.pools)
        if features == self.features:
            return self
        # Always the same object, so that strategies share its caches.
        if features not in self._by_features:
            twin = copy.copy(self)
            twin.features = features
            self._by_features[features] = twin
        return self._by_features[features]

    @property
    def feature_dim(self) -> int:
        """Width of a feature."""
        return self.features.width(self.dim)

    def embed(self, images: Tensor) -> Tensor:
        """Embed RGB images (batch, 3, size, size) in [0, 1] as tokens (batch, n_tokens, dim)."""
        x = ((images - self.mean) / self.std).to(PRECISIONS[self.precision])
        x = self.vit.patch_embed(x)
        # timm's only private name here; it covers every layout of prefix tokens.
        x = self.vit._pos_embed(x)  # noqa: SLF001
        # Eva returns its rotary positions, too. Patches are dropped in timm's training only.
        x = self.vit.norm_pre(x[0] if isinstance(x, tuple) else x)
        self.counter.embed(images.shape[0])
        return x

    @torch.no_grad()
    def enter(self, tokens: Tensor, block: int = 0) -> Entry:
        """Run embedded tokens (batch, n, dim) up to the projection of ``block``.

        Forward passes whose prompts start at ``block`` or later can share the result.
        """
        tokens = self.blocks(tokens, stop=block)
        self.counter.project(tokens.shape[0], tokens.shape[1])
        own = self.vit.blocks[block]
        return Entry(block, tokens, project(own.attn, own.norm1(tokens)))

    def blocks(
        self,
        tokens: Tensor,
        plan: PromptPlan | None = None,
        *,
        stop: int | None = None,
        prepended_only: bool = False,
        entry: Entry | None = None,
        read: Features | None = None,
        scores: list[Tensor] | None = None,
    ) -> Tensor:
        """Run blocks 0 .. ``stop`` - 1.

        Args:
            tokens: (batch, n, dim) from :meth:`embed`.
            plan: prompts to inject; its prepended tokens are appended to the sequence.
            stop: number of blocks, all by default.
            prepended_only: compute only the plan's prepended tokens in the last of these blocks.
            entry: cached result of :meth:`enter` for the same tokens, which skips the blocks before
                its own, none of them prompted or read.
            read: return these features instead of tokens.
            scores: list that gets the last block's
                :func:`~cl_prompts.backbones.attention.token_scores`.

        Returns:
            (batch, n (+ prepended), dim), or (batch, prepended, dim) with ``prepended_only``,
            before the final norm; with ``read`` features (batch, parts, dim).
        """
        plan = plan or PromptPlan()
        stop = self.depth if stop is None else stop
        if plan.pooled:
            plan, projected_rows = plan.projected(list(self.vit.blocks)[:stop], tokens.dtype)
            self.counter.project(1, projected_rows, thirds=2)
        # Prompts are trained in fp32 and run in the backbone's precision.
        plan = plan.mapped(lambda values: values.to(tokens.dtype))
        n_prepended = 0 if plan.prepended is None else plan.prepended.shape[1]
        # An entry is valid up to the first block that prompts change or that is read.
        first_read = stop if read is None else max(0, stop - read.blocks)
        assert entry is None or entry.block <= min(plan.first_block(), first_read)
        n_prefix = self.architecture.prefix
        n_patches = tokens.shape[1] - n_prefix
        rotations = self.architecture.rotations(self.vit, n_patches, n_prefix, plan.kept)
        start, tokens, projected = self._begun(tokens, plan, entry)
        n_own = tokens.shape[1] - n_prepended
        seen: list[Tensor] = []
        first = mean_of = None
        for i in range(start, stop):
            rotation = rotations[i]
            if i == stop - 1:
                # The last block computes only the tokens that are read.
                if read is not None and read.patches:
                    first = None
                elif prepended_only:
                    # Blocks do not depend on the order: move the tokens to read to the front.
                    first = n_prepended
                    tokens = torch.cat([tokens[:, n_own:], tokens[:, :n_own]], dim=1)
                    if projected is not None:
                        projected = torch.cat([projected[:, n_own:], projected[:, :n_own]], dim=1)
                    rotation = rotation and replace(rotation, start=rotation.start + n_prepended)
                elif read is not None and read.class_only:
                    first = 1
                elif read is not None:
                    first = n_own if n_prepended else None
                    mlp = self.vit.blocks[i].mlp
                    if read.linear and type(mlp) in LINEAR_AT_LAST and not plan.adapter:
                        mean_of = self.architecture.read_by(read.pool, n_own)
                        averaged = n_own - mean_of.start
                        last = mlp.fc2.weight.numel()
                        self.counter.average_mlp(tokens.shape[0], n_own, averaged, last)
            self._count(i, tokens, plan, first, projected=projected is not None)
            prompts = {name: getattr(plan, name).get(i) for name in BY_BLOCK}
            wanted = scores if i == stop - 1 else None
            if wanted is not None:
                width = self.counter.shape.width
                self.counter.macs += tokens.shape[0] * tokens.shape[1] * width
            tokens = run_block(
                self.vit.blocks[i],
                tokens,
                first=first,
                projected=projected,
                rotation=rotation,
                mean_of=mean_of,
                scores=wanted,
                **prompts,
            )
            projected = None  # only valid for the first block
            if read is not None and i >= first_read:
                places = None if mean_of is None else slice(None)
                if prepended_only:
                    places = slice(n_own, None) if first is None else slice(None)
                seen += self._read(tokens, read, n_own, places)
        return tokens if read is None else torch.stack(seen, dim=1)

    def _count(
        self, i: int, tokens: Tensor, plan: PromptPlan, first: int | None, *, projected: bool
    ) -> None:
        """Count a forward pass through block ``i``."""
        batch, n = tokens.shape[:2]
        context, prefix = plan.extra_keys(i)
        self.counter.block(batch, n, context, prefix, first, projected=projected)
        asking = n if first is None else first
        for added in (plan.adapter, plan.beside):
            if i in added:
                self.counter.macs += batch * asking * added[i].macs_per_token

    def _read(
        self, tokens: Tensor, read: Features, n_own: int, places: slice | None
    ) -> list[Tensor]:
        """Return the features of one block, one or two tensors (batch, dim) in fp32.

        Args:
            tokens: (batch, n, dim) of the block, of which the image's come first.
            read: the features.
            n_own: number of the image's tokens.
            places: tokens whose mean is read instead, or None.
        """
        own = self.architecture.read_by(read.pool, n_own)
        attends = read.pool == "pool" and places is None
        found = [self._pooled(tokens[:, places or own], read, attends)]
        if read.patches:
            found.append(self._pooled(tokens[:, self.architecture.prefix : n_own], read))
        return found

    def _pooled(self, tokens: Tensor, read: Features, attends: bool = False) -> Tensor:
        """Mean or attention pool of tokens, behind the model's norms: (batch, dim) in fp32."""
        normed = self.norm(tokens) if read.normed else tokens
        if attends:
            self.counter.macs += tokens.shape[0] * self.counter.shape.pool_macs(tokens.shape[1])
            pooled = self.vit.attn_pool(normed)
        else:
            pooled = normed.float().mean(dim=1)
        if read.normed and not isinstance(self.vit.fc_norm, nn.Identity):
            pooled = self.vit.fc_norm(pooled.to(tokens.dtype))
        return pooled.float()

    def _begun(
        self, tokens: Tensor, plan: PromptPlan, entry: Entry | None
    ) -> tuple[int, Tensor, Tensor | None]:
        """Return the first block to run, its input with prepended tokens at the end, and the
        cached projection of this input, if any."""
        start, projected = 0, None
        if plan.offset is not None:
            # An entry belongs to the tokens without offset, so it is not used.
            tokens = tokens + plan.offset
        elif entry is not None:
            start, tokens, projected = entry.block, entry.tokens, entry.projected
        if plan.kept is not None:
            tokens = gather(tokens, plan.kept)
            projected = None if projected is None else gather(projected, plan.kept)
        if plan.prepended is not None:
            prepended = plan.prepended.expand(tokens.shape[0], -1, -1)
            tokens = torch.cat([tokens, prepended], dim=1)
            if projected is not None:
                # Only the prepended tokens need a projection and a gradient.
                self.counter.project(*prepended.shape[:2])
                first = self.vit.blocks[0]
                more = project(first.attn, first.norm1(prepended))
                projected = torch.cat([projected, more], dim=1)
        return start, tokens, projected

    def norm(self, tokens: Tensor) -> Tensor:
        """Apply the final LayerNorm."""
        return self.vit.norm(tokens)

    def class_features(
        self,
        tokens: Tensor,
        plan: PromptPlan | None = None,
        *,
        read: Features | None = None,
        **options: Any,
    ) -> Tensor:
        """Map embedded tokens to features (batch, feature dim) in fp32.

        By default these are what the model itself reads, see :meth:`with_features`, and with
        ``prepended_only`` the mean of the prepended tokens behind the norms (L2P), in each block of
        ``self.features``. For the options see :meth:`blocks`.
        """
        return self.blocks(tokens, plan, read=read or self.features, **options).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, 3, size, size) in [0, 1] to unprompted fp32 features (batch, dim)."""
        return self.class_features(self.embed(images))

    @property
    def forward_macs(self) -> float:
        """Multiply-accumulates of one plain forward pass of one image, the unit F."""
        return self.counter.shape.forward_macs
