"""The frozen Vision Transformer that every method runs on."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from timm.layers import Attention, PatchEmbed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from cl_prompts.backbones.attention import project, run_block
from cl_prompts.backbones.cost import PassCounter, ViTShape
from cl_prompts.backbones.features import TOKEN, Features
from cl_prompts.backbones.injection import BY_BLOCK, Entry, PromptPlan
from cl_prompts.backbones.normalisation import Normalisation
from cl_prompts.checks import one_of
from cl_prompts.errors import InputError

Precision = Literal["fp32", "bf16"]

PRECISIONS: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


class FrozenViT(nn.Module):
    """A plain timm ViT, frozen, used through its own modules, with prompts injected from outside.

    No parameter requires a gradient, the module always stays in evaluation mode, and nothing is
    patched: an empty plan gives exactly ``vit.forward_features``. Gradients flow through the frozen
    blocks to the prompts. Where only the class token is read, the last block computes only the
    class token (exact, about 7 % of a forward).

    Args:
        vit: a timm ``VisionTransformer`` with class token, and plain patches and blocks; register
            tokens, LayerScale, ``no_embed_class`` and ``dynamic_img_size`` are fine. It is taken
            over: frozen, brought to the precision, and its classifier head dropped; pass a copy if
            you need it otherwise.
        normalisation: per-channel mean and std applied to RGB images in [0, 1].
            ``((0, 0, 0), (1, 1, 1))`` is that of many published recipes, which feed [0, 1] as it
            is.
        precision: ``"fp32"`` or ``"bf16"``; bf16 stores the frozen weights and runs the blocks in
            bf16, while prompts, queries, features and head stay in fp32.

    Raises:
        InputError: the model is not a plain ViT with a class token, or the precision is unknown.

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
        check_plain(vit)
        one_of("precision", precision, Precision)
        self.precision = precision
        self.trainable = False
        self.features = TOKEN
        """Tokens that become features, see :meth:`with_features`."""
        self._readings: dict[Features, FrozenViT] = {}
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
        """Whether images in [0, 1] are normalised here; with ``normalisation="none"`` they are
        taken as they come."""
        self.published = False
        """Whether the weights are the file that is known by this name, by its SHA-256."""

    def train(self, mode: bool = True) -> FrozenViT:
        """Keep evaluation mode whatever ``mode`` says: a frozen network has no dropout and no
        running statistics."""
        return super().train(False)

    def thawed(self) -> FrozenViT:
        """An independent fp32 copy whose weights are trainable, for fine-tuning; this one stays as
        it is."""
        # Read-outs share weights with this one, so the copy begins without any.
        twin = copy.deepcopy(self, {id(self._readings): {}})
        # fp32: a step of a learning rate would vanish in the rounding of bf16 weights.
        twin.vit.float().requires_grad_(True)
        twin.precision = "fp32"
        twin.trainable = True
        twin.counter = PassCounter(self.counter.shape)
        return twin

    def with_features(self, name: str) -> FrozenViT:
        """This ViT with another read-out: the same weights and the same counter, and features as
        :class:`~cl_prompts.backbones.features.Features` names them.

        Raises:
            InputError: see there.

        Example:
            >>> from cl_prompts.backbones import create_backbone
            >>> vit = create_backbone()
            >>> vit.dim, vit.with_features("blocks:3").feature_dim
            (128, 384)
        """
        features = Features.of(name, self.depth)
        if features == self.features:
            return self
        # Always the same object, so that what is cached for one strategy serves the next.
        if features not in self._readings:
            twin = copy.copy(self)
            twin.features = features
            self._readings[features] = twin
        return self._readings[features]

    @property
    def feature_dim(self) -> int:
        """Width of a feature."""
        return self.features.width(self.dim)

    def embed(self, images: Tensor) -> Tensor:
        """RGB images (batch, 3, size, size) in [0, 1] -> tokens (batch, n_tokens, dim), the input
        of block 0."""
        x = ((images - self.mean) / self.std).to(PRECISIONS[self.precision])
        x = self.vit.patch_embed(x)
        # The one private name of timm used here: it covers every layout of prefix tokens.
        x = self.vit._pos_embed(x)  # noqa: SLF001
        x = self.vit.norm_pre(self.vit.patch_drop(x))
        self.counter.embed(len(images))
        return x

    @torch.no_grad()
    def enter(self, tokens: Tensor, block: int = 0) -> Entry:
        """Run embedded tokens (batch, n, dim) up to the projection of ``block``: what passes whose
        prompts differ from there on can share."""
        tokens = self.blocks(tokens, stop=block)
        self.counter.project(len(tokens), tokens.shape[1])
        return Entry(block, tokens, project(self.vit.blocks[block], tokens))

    def blocks(
        self,
        tokens: Tensor,
        plan: PromptPlan | None = None,
        *,
        stop: int | None = None,
        class_only: bool = False,
        prepended_only: bool = False,
        entry: Entry | None = None,
        read: Features | None = None,
    ) -> Tensor:
        """Run blocks 0 .. ``stop`` - 1.

        Args:
            tokens: (batch, n, dim) from :meth:`embed`.
            plan: prompts to inject; its prepended tokens are appended to the sequence.
            stop: number of blocks, all by default.
            class_only: compute only the class token in the last of these blocks.
            prepended_only: compute only the plan's prepended tokens there.
            entry: :meth:`enter` of the same tokens, if it was computed before: the blocks in front
                of its own are not run again.

        Returns:
            (batch, n (+ prepended), dim), or (batch, 1, dim) with ``class_only``, (batch,
            prepended, dim) with ``prepended_only``; no final norm.

        Raises:
            TypeError: an entry behind the first prompted block, or ``prepended_only`` with additive
                prompts.
        """
        plan = plan or PromptPlan()
        stop = self.depth if stop is None else stop
        if plan.pooled:
            plan, projected_rows = plan.projected(list(self.vit.blocks)[:stop], tokens.dtype)
            self.counter.project(1, projected_rows, thirds=2)
        # Prompts are learned in fp32 and run through the blocks in the backbone's precision.
        plan = plan.mapped(lambda values: values.to(tokens.dtype))
        n_prepended = 0 if plan.prepended is None else plan.prepended.shape[1]
        if prepended_only and plan.additive:
            raise TypeError(
                "additive prompts act on the class token, which this pass does not read"
            )
        # What another pass has computed holds up to the first block that prompts change, or that
        # is read.
        first_read = stop if read is None else stop - read.blocks
        parts_at = min(plan.first_block(), first_read)
        if entry is not None and parts_at < entry.block:
            raise TypeError(
                f"the entry is for passes that part at block {entry.block}, and this one does at"
                f" block {parts_at}"
            )
        start, tokens, projected = self._begun(tokens, plan, entry)
        n_own = tokens.shape[1] - n_prepended
        seen: list[Tensor] = []
        for i in range(start, stop):
            first = None
            # In the last block nobody asks for tokens that are not read.
            narrows = i == stop - 1 and not (read is not None and read.patches)
            if narrows and class_only:
                first = 1
            elif narrows and prepended_only:
                # Order means nothing to a block: what is read goes first.
                first = n_prepended
                tokens = tokens.roll(n_prepended, dims=1)
                projected = None if projected is None else projected.roll(n_prepended, dims=1)
            # The work is counted by its shapes, before it is done.
            batch, n = tokens.shape[:2]
            context, prefix = plan.extra_keys(i)
            reused = projected is not None
            self.counter.block(batch, n, context, prefix, first, projected=reused)
            asking = n if first is None else first
            for added in (plan.adapter, plan.beside):
                if i in added:
                    self.counter.macs += batch * asking * added[i].macs_per_token
            prompts = {name: getattr(plan, name).get(i) for name in BY_BLOCK}
            tokens = run_block(
                self.vit.blocks[i], tokens, first=first, projected=projected, **prompts
            )
            projected = None  # it was that of the first block's tokens
            if read is not None and i >= first_read:
                of_all = slice(n_own, None) if prepended_only else slice(1)
                # The last block may compute the tokens in question alone.
                place = of_all if first is None else slice(None)
                patches = slice(self.vit.num_prefix_tokens, n_own)
                seen += read.tokens_of(tokens, place, patches, self.norm)
        return tokens if read is None else torch.stack(seen, dim=1)

    def _begun(
        self, tokens: Tensor, plan: PromptPlan, entry: Entry | None
    ) -> tuple[int, Tensor, Tensor | None]:
        """The first block to run, its input, the image's own tokens with prepended ones behind
        them, and the projection of that, where it is known."""
        start, projected = 0, None
        if plan.offset is not None:
            if plan.offset.shape[1:] != tokens.shape[1:]:
                raise InputError(
                    f"the offset is for sequences of {plan.offset.shape[1]} tokens of width"
                    f" {plan.offset.shape[2]}: this one has {tokens.shape[1]} of width"
                    f" {tokens.shape[2]}, so keep to one image size"
                )
            # The entry, if there is one, belongs to the tokens without offset.
            tokens = tokens + plan.offset
        elif entry is not None:
            start, tokens, projected = entry.block, entry.tokens, entry.projected
        if plan.prepended is not None:
            prepended = plan.prepended.expand(len(tokens), -1, -1)
            tokens = torch.cat([tokens, prepended], dim=1)
            if projected is not None:
                # Only the prepended tokens are projected, and carry gradient.
                self.counter.project(*prepended.shape[:2])
                projected = torch.cat([projected, project(self.vit.blocks[0], prepended)], dim=1)
        return start, tokens, projected

    def norm(self, tokens: Tensor) -> Tensor:
        """The final LayerNorm."""
        return self.vit.norm(tokens)

    def class_tokens(
        self,
        tokens: Tensor,
        plan: PromptPlan | None = None,
        *,
        stop: int | None = None,
        entry: Entry | None = None,
        read: Features | None = None,
    ) -> Tensor:
        """:meth:`blocks` with ``class_only``."""
        return self.blocks(tokens, plan, stop=stop, class_only=True, entry=entry, read=read)

    def class_features(
        self, tokens: Tensor, plan: PromptPlan | None = None, *, entry: Entry | None = None
    ) -> Tensor:
        """Embedded tokens -> features (batch, feature dim) in fp32: the final-norm class token, or
        what else is read out."""
        if self.features != TOKEN:
            read = self.class_tokens(tokens, plan, entry=entry, read=self.features)
            return read.flatten(1)
        token = self.class_tokens(tokens, plan, entry=entry)
        return self.vit.norm(token).squeeze(1).float()

    def prepended_features(
        self, tokens: Tensor, plan: PromptPlan, *, entry: Entry | None = None
    ) -> Tensor:
        """Embedded tokens -> mean of the final-norm outputs at the plan's prepended tokens, (batch,
        feature dim) in fp32 (L2P); of several blocks, where these are read out."""
        if plan.prepended is None:
            raise TypeError("this plan has no prepended tokens to read")
        if self.features != TOKEN:
            asked: Any = {"prepended_only": True, "entry": entry, "read": self.features}
            return self.blocks(tokens, plan, **asked).flatten(1)
        normed = self.norm(self.blocks(tokens, plan, prepended_only=True, entry=entry))
        return normed.float().mean(dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 3, size, size) in [0, 1] -> unprompted features (batch, feature dim) in
        fp32."""
        return self.class_features(self.embed(images))

    @property
    def forward_macs(self) -> float:
        """Multiply-accumulates of one plain forward of one image, the unit F."""
        return self.counter.shape.forward_macs


def check_plain(vit: nn.Module) -> None:
    """Raise ``InputError`` unless ``vit`` is a timm VisionTransformer with class token, and plain
    patches and blocks."""
    works = (
        "ViT, DeiT, DeiT-3, DINO, DINOv2 (with registers too), MAE and CLIP image encoders of"
        " timm's vit_* family work"
    )
    if not isinstance(vit, VisionTransformer):
        raise InputError(f"{type(vit).__name__} is not a plain Vision Transformer: {works}")
    if type(vit.patch_embed) is not PatchEmbed:
        raise InputError(
            f"patches embedded by {type(vit.patch_embed).__name__}, as behind convolutions, are not"
            f" plain: {works}"
        )
    if vit.cls_token is None or vit.global_pool != "token":
        raise InputError(
            f"this ViT has no class token to read (it pools by {vit.global_pool!r}): {works}"
        )
    sides = set(vit.patch_embed.img_size or ())
    if len(sides) != 1 or vit.patch_embed.proj.in_channels != 3:
        raise InputError(f"this ViT takes other images than squares in RGB: {works}")
    if not isinstance(vit.fc_norm, nn.Identity):
        raise InputError(f"this ViT has its last norm behind the pooling (fc_norm): {works}")
    for block in vit.blocks:
        attention = type(getattr(block, "attn", None))
        if type(block) is not Block or attention is not Attention or not hasattr(block.mlp, "fc1"):
            raise InputError(
                f"blocks of type {type(block).__name__} / {attention.__name__} are not plain:"
                f" {works}"
            )
