"""Forms of prompts: other ways in which a method's prompts are parameterised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from cl_prompts.checks import Count, Positive, shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.prompts.encoders import LSTMEncoder, MLPEncoder
from cl_prompts.prompts.parameterisations import Decomposed as DecomposedTokens
from cl_prompts.prompts.parameterisations import Reparameterised
from cl_prompts.prompts.pools import PrependedTokenPool, TokenPool
from cl_prompts.prompts.prefixes import PrefixPool
from cl_prompts.prompts.task_selectors import BatchwisePrompt, TaskSlots
from cl_prompts.strategies.base.settings import Settings

#: pools of entries, which a selector chooses
ENTRIES = (PrependedTokenPool, TokenPool, PrefixPool)


class Encoded(Settings):
    """Prompts that pass through an encoder while they are learned, with a residual (PRE, published
    for language models; :class:`~cl_prompts.prompts.parameterisations.Reparameterised`).

    Prompts of a task's own are baked, that is replaced by the encoder's output, when the next task
    starts.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, prompt_form=Encoded(kind="mlp", width=32), device="cpu")
        >>> type(one.model.pools[0]).__name__
        'Reparameterised'
    """

    kind: Literal["lstm", "mlp"] = "lstm"
    """A bidirectional ``"lstm"`` over the rows of a prompt, or an ``"mlp"`` row by row."""
    width: Count = 64
    """Width of the hidden layer of an MLP."""
    per_entry: bool = False
    """An encoder for each entry of a pool instead of one for all."""

    def apply(self, model: ContinualModel, method: str) -> None:
        """Wrap the pools of a model that was just built."""
        pools: nn.ModuleList = model.pools  # type: ignore[assignment]
        written = value_pools(model)
        if not written:
            raise InputError(
                f"prompt_form=Encoded writes prompts otherwise, and those of {method} are not"
                " single entries of a pool: leave it out"
            )
        for i in written:
            pools[i] = Reparameterised(
                pools[i],
                self._encoder(model.backbone.dim),
                per_entry=self.per_entry,
                slots=slots_of(model, pools[i]),
            )

    def _encoder(self, dim: int) -> nn.Module:
        if self.kind == "lstm":
            return LSTMEncoder(dim)
        return MLPEncoder(dim, bottleneck=self.width)


class Decomposed(Settings):
    """A low-rank update of the embedded tokens beside the prompts (DePT, published for language
    models; :class:`~cl_prompts.prompts.parameterisations.Decomposed`).

    It is folded into a constant at a task's end, or every ``period`` samples, and a new one begins.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, prompt_form=Decomposed(rank=5), device="cpu")
        >>> [type(pool).__name__ for pool in one.model.pools]
        ['SharedPrefix', 'Decomposed']
    """

    per: Literal["shared", "entry"] = "shared"
    """``"shared"``, one update for all images; ``"entry"``, one for each entry of the pool, added
    up over an image's entries."""
    rank: Count = 11
    """Rank of the update; 11 and 5 prompt tokens have the parameters of 20 tokens on a ViT-B."""
    alpha: Positive = 8.0
    """Scale of the update, times rank^-1/2."""

    def apply(self, model: ContinualModel, method: str) -> None:
        """Add the update to the pools of a model that was just built."""
        pools: nn.ModuleList = model.pools  # type: ignore[assignment]
        size = 1
        if self.per == "entry":
            sizes = [len(pool.values) for pool in pools if isinstance(pool, ENTRIES)]
            if not sizes:
                raise InputError(
                    f"prompt_form=Decomposed(per='entry') needs entries that images choose, and"
                    f" {method} has none: give per='shared'"
                )
            # One selector chooses for all pools, so these have equally many entries.
            size = sizes[0]
        vit = model.backbone
        pools.append(
            DecomposedTokens(
                n_tokens=vit.n_tokens, dim=vit.dim, rank=self.rank, size=size, alpha=self.alpha
            )
        )


PromptForm = Encoded | Decomposed
#: form of prompts -> its class, by the name in recipes
PROMPT_FORMS: dict[str, type[PromptForm]] = {"decomposed": Decomposed, "encoded": Encoded}


def prompt_forms(given: Any) -> list[PromptForm]:
    """Forms of prompts, those that add pools first.

    Args:
        given: None, a form, several of them, or a mapping of their names to settings.

    Raises:
        InputError: something else.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        for name in given:
            if name not in PROMPT_FORMS:
                raise unknown("form of prompts", str(name), PROMPT_FORMS)
        given = [PROMPT_FORMS[name](**(settings or {})) for name, settings in given.items()]
    forms = list(given) if isinstance(given, Sequence) else [given]
    for form in forms:
        if not isinstance(form, PromptForm):
            raise InputError(f"prompt_form is {shown(form)}: give Encoded(...) or Decomposed(...)")
    # An update by entry counts the entries of pools that are not wrapped yet.
    return sorted(forms, key=lambda form: isinstance(form, Encoded))


def value_pools(model: ContinualModel) -> list[int]:
    """Positions of the pools whose prompts are one Parameter, which can be wrapped."""
    pools = getattr(model, "pools", ())
    return [i for i, p in enumerate(pools) if hasattr(p, "values") and hasattr(p, "build_from")]


def slots_of(model: ContinualModel, pool: nn.Module) -> int:
    """Entries of a pool that belong to one task; 0 where tasks have none of their own."""
    selector: Any = model.selector
    # A batch's vote stands around the selector in question.
    if isinstance(selector, BatchwisePrompt):
        selector = selector.inner
    if not isinstance(pool, ENTRIES):
        return 0
    if isinstance(selector, AnalyticRouter):
        return 1
    return selector.inner.k if isinstance(selector, TaskSlots) else 0
