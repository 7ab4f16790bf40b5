"""Cost of forward passes of a ViT in multiply-accumulates, which depend on shapes alone.

The unit F is one plain forward pass of one image.
"""

from __future__ import annotations

from dataclasses import dataclass

from timm.models.vision_transformer import VisionTransformer
from torch import nn


@dataclass(frozen=True)
class ViTShape:
    """The sizes that determine the cost of a plain ViT.

    Attributes:
        depth: number of blocks.
        dim: width of a token.
        width: total width of all attention heads.
        hidden: width of the MLP's hidden layer; of a gated one, the mean width of its two sides.
        n_tokens: length of the unprompted sequence: class token, registers, patches.
        n_patches: patches per image.
        patch_values: values per patch.
        pool: weights of the attention pool, 0 without one.

    Example:
        >>> shape = ViTShape(12, 768, 768, 3072, 197, 196, 768)  # ViT-B/16 at 224 px
        >>> round(shape.forward_macs / 1e9, 1)
        17.6
    """

    depth: int
    dim: int
    width: int
    hidden: float
    n_tokens: int
    n_patches: int
    patch_values: int
    pool: int = 0

    @classmethod
    def of(cls, vit: VisionTransformer) -> ViTShape:
        """Return the shape of a timm ViT."""
        block = vit.blocks[0]
        patch = vit.patch_embed
        return cls(
            depth=len(vit.blocks),
            dim=int(vit.embed_dim),
            # All heads together may be narrower than a token.
            width=int(block.attn.proj.in_features),
            # Two layers, or three of a gated MLP.
            hidden=_weights(block.mlp) / (2 * int(vit.embed_dim)),
            n_tokens=int(patch.num_patches + vit.num_prefix_tokens),
            n_patches=int(patch.num_patches),
            patch_values=patch.proj.weight[0].numel(),
            pool=0 if vit.attn_pool is None else _weights(vit.attn_pool),
        )

    @property
    def embed_macs(self) -> float:
        """Cost of embedding one image."""
        return self.n_patches * self.patch_values * self.dim

    @property
    def forward_macs(self) -> float:
        """Cost of one plain forward pass of one image, the unit F."""
        blocks = self.depth * self.block_macs(self.n_tokens)
        return self.embed_macs + blocks + self.pool_macs(self.n_tokens)

    def pool_macs(self, n: int) -> float:
        """Return the cost of the attention pool over n tokens."""
        if not self.pool:
            return 0
        # Keys and values of all tokens, the other layers and the products for one query.
        kv = 2 * self.dim * self.dim
        return n * kv + self.pool - kv + 2 * n * self.dim

    def block_macs(
        self, n: int, context: int = 0, prefix: int = 0, queries: int | None = None
    ) -> float:
        """Return the cost of one block over n tokens.

        Args:
            n: tokens, which all act as keys and values.
            context: further tokens that act only as keys and values.
            prefix: rows of precomputed keys and values.
            queries: tokens that are computed; all by default.
        """
        queries = n if queries is None else queries
        # q and the output projection of the queries, k and v of all tokens
        projections = (queries + n + context) * 2 * self.dim * self.width
        # Q K' and its product with V
        attention = 2 * queries * (n + context + prefix) * self.width
        # and the two layers of the MLP
        return projections + attention + queries * 2 * self.dim * self.hidden

    # ------------------------------------------------------------------ MULTI-LANE

    def lane_macs(self, n_slots: int, n_prompts: int) -> float:
        """Return the cost of one lane in one block per image."""
        # scores of the selectors, and their means of keys and values
        summary = n_slots * self.n_tokens * (self.dim + 2 * self.width)
        # q, k, v, output and MLP of the class token
        token = 4 * self.width * self.dim + 2 * self.dim * self.hidden
        return summary + token + 2 * self.width * (1 + n_slots + n_prompts)

    def slot_table_macs(self, n_slots: int) -> float:
        """Return the cost of a lane's selectors in all blocks, for any batch size."""
        # Selectors are not needed after the last block.
        return (self.depth - 1) * n_slots * 2 * self.dim * self.hidden


def _weights(module: nn.Module) -> int:
    """Number of weights of all linear layers."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


@dataclass
class PassCounter:
    """Running total of a backbone's compute.

    Attributes:
        shape: shape of the backbone.
        images: embedded images.
        blocks: forward passes of an image through a block, also of its class token alone.
        macs: multiply-accumulates of all forward passes.

    Example:
        >>> counter = PassCounter(ViTShape(12, 768, 768, 3072, 197, 196, 768))
        >>> counter.embed(2)
        >>> for _ in range(12):
        ...     counter.block(2, 197)
        >>> counter.macs / counter.shape.forward_macs  # two images
        2.0
    """

    shape: ViTShape
    images: int = 0
    blocks: int = 0
    macs: float = 0.0

    def counts(self) -> dict[str, float]:
        """Return the counts so far, by name."""
        return {"images": self.images, "blocks": self.blocks, "macs": self.macs}

    def reset(self, images: int = 0, blocks: int = 0, macs: float = 0.0) -> None:
        """Restart at zero, or at earlier counts."""
        self.images, self.blocks, self.macs = images, blocks, macs

    def embed(self, batch: int) -> None:
        """Count the embedding of a batch of images."""
        self.images += batch
        self.macs += batch * self.shape.embed_macs

    def project(self, batch: int, n: int, thirds: int = 3) -> None:
        """Count queries, keys and values of n tokens per image, computed outside a block.

        With ``thirds=2``, only keys and values count.
        """
        self.macs += batch * n * thirds * self.shape.dim * self.shape.width

    def block(
        self,
        batch: int,
        n: int,
        context: int = 0,
        prefix: int = 0,
        queries: int | None = None,
        *,
        projected: bool = False,
    ) -> None:
        """Count a batch's forward pass through a block; see :meth:`ViTShape.block_macs`.

        Args:
            projected: queries, keys and values of the tokens are cached.
        """
        self.blocks += batch
        saved = 0.0
        if projected:
            rows = (n if queries is None else queries) + 2 * n
            saved = rows * self.shape.dim * self.shape.width
        self.macs += batch * (self.shape.block_macs(n, context, prefix, queries) - saved)

    def average_mlp(self, batch: int, n: int, averaged: int, last: int) -> None:
        """Subtract what the MLP of n tokens saves if it returns the mean over ``averaged`` alone.

        Its last layer, of ``last`` weights, then runs on one mean, the others on these tokens.
        """
        of_token = 2 * self.shape.dim * self.shape.hidden
        self.macs -= batch * ((n - averaged) * of_token + (averaged - 1) * last)

    def keys_and_values(self, batch: int, n: int) -> None:
        """Count a batch's forward pass up to the keys and values of n tokens in a block."""
        self.blocks += batch
        self.macs += batch * n * 2 * self.shape.width * self.shape.dim
