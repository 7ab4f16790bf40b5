"""Other ways to write the prompts of a method: through an encoder, and with an update of tokens."""

from __future__ import annotations

from typing import Literal

from torch import nn

from cl_prompts.checks import Count, Positive
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.prompts.encoders import LSTMEncoder, MLPEncoder
from cl_prompts.prompts.parameterisations import Decomposed, Reparameterised
from cl_prompts.prompts.pools import PrependedTokenPool, TokenPool
from cl_prompts.prompts.prefixes import PrefixPool
from cl_prompts.prompts.task_selectors import BatchwisePrompt, TaskSlots
from cl_prompts.strategies.base.prompt_rates import PromptRates

PromptEncoder = Literal["none", "lstm", "mlp"]
TokenUpdate = Literal["none", "shared", "entry"]

#: pools of entries, which a selector chooses
ENTRIES = (PrependedTokenPool, TokenPool, PrefixPool)


class PromptWriting(PromptRates):
    """Base of the methods whose prompts can be written otherwise: DePT's low-rank update of tokens
    and PRE's encoder, published for language models and CLIP (see
    :mod:`cl_prompts.prompts.parameterisations`).

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, prompt_encoder="mlp", decomposed="shared", device="cpu")
        >>> [type(pool).__name__ for pool in one.model.pools]
        ['Reparameterised', 'Decomposed']
    """

    prompt_encoder: PromptEncoder = "none"
    """Encoder through which prompts pass while they are learned, with a residual (PRE): ``"none"``,
    a bidirectional ``"lstm"`` over the rows of a prompt, or an ``"mlp"`` row by row. Prompts of a
    task's own are baked, that is replaced by what the encoder makes of them, when the next task
    starts."""
    encoder_width: Count = 64
    """Width of the hidden layer of an MLP."""
    encoder_per_entry: bool = False
    """An encoder for each entry of a pool instead of one for all."""
    decomposed: TokenUpdate = "none"
    """Low-rank update of the embedded tokens beside the prompts (DePT): ``"none"``; ``"shared"``,
    one for all images; ``"entry"``, one for each entry of the pool, added up over an image's
    entries. It is folded into a constant at a task's end, or every ``period`` samples, and a new
    one begins."""
    decomposed_rank: Count = 11
    """Rank of the update; 11 and 5 prompt tokens have the parameters of 20 tokens on a ViT-B."""
    decomposed_alpha: Positive = 8.0
    """Scale of the update, times rank^-1/2."""

    def fit_head(self, model: ContinualModel) -> None:
        """Give a model that was just built head and head input, and its prompts the form of the
        settings."""
        super().fit_head(model)
        update = None if self.decomposed == "none" else self._update(model)
        if self.prompt_encoder != "none":
            self._encode(model)
        if update is not None:
            model.pools.append(update)  # type: ignore[operator, union-attr]

    def refuse_for_given_model(self) -> None:
        """Refuse forms of prompts for a model that was given ready-made."""
        super().refuse_for_given_model()
        for name, value in self.forms().items():
            if value not in ("none", 0):
                raise InputError(
                    f"{name} says how the prompts of a model are built, and this model was given:"
                    " let the strategy build it from backbone= and n_classes="
                )

    def forms(self) -> dict[str, str | int]:
        """Settings of the form of prompts, "none" or 0 where they are as the method has them."""
        return {"prompt_encoder": self.prompt_encoder, "decomposed": self.decomposed}

    def _encode(self, model: ContinualModel) -> None:
        pools: nn.ModuleList = model.pools  # type: ignore[assignment]
        selector: nn.Module | None = model.selector  # type: ignore[assignment]
        written = [hasattr(pool, "values") and hasattr(pool, "build_from") for pool in pools]
        if not any(written):
            raise InputError(
                f"prompt_encoder writes prompts otherwise, and those of {type(self).__name__} are"
                " not single entries of a pool: leave it out"
            )
        for i, pool in enumerate(pools):
            if written[i]:
                pools[i] = Reparameterised(
                    pool,
                    self._encoder(model.backbone.dim),
                    per_entry=self.encoder_per_entry,
                    slots=slots_of(selector) if isinstance(pool, ENTRIES) else 0,
                )

    def _encoder(self, dim: int) -> nn.Module:
        if self.prompt_encoder == "lstm":
            return LSTMEncoder(dim)
        return MLPEncoder(dim, bottleneck=self.encoder_width)

    def _update(self, model: ContinualModel) -> Decomposed:
        size = 1
        if self.decomposed == "entry":
            pools: nn.ModuleList = model.pools  # type: ignore[assignment]
            sizes = [len(pool.values) for pool in pools if isinstance(pool, ENTRIES)]
            if not sizes:
                raise InputError(
                    f"decomposed=entry needs entries that images choose, and {type(self).__name__}"
                    " has none: give decomposed=shared"
                )
            size = sizes[0]
        return Decomposed(
            n_tokens=model.backbone.n_tokens,
            dim=model.backbone.dim,
            rank=self.decomposed_rank,
            size=size,
            alpha=self.decomposed_alpha,
        )

    def finish_task(self) -> None:
        """Fold the update of tokens into a constant; the next one begins without momentum."""
        super().finish_task()
        for pool in getattr(self.model, "pools", ()):
            if isinstance(pool, Decomposed):
                pool.bake()
                for parameter in (pool.a, pool.b):
                    self.optimizer.state.pop(parameter, None)


def slots_of(selector: nn.Module | None) -> int:
    """Entries of a pool that belong to one task; 0 where tasks have none of their own."""
    if isinstance(selector, BatchwisePrompt):
        selector = selector.inner  # type: ignore[assignment]
    if isinstance(selector, AnalyticRouter):
        return 1
    return selector.inner.k if isinstance(selector, TaskSlots) else 0
