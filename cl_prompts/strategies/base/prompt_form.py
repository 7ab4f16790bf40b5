"""Forms of prompts: parameterisations other than the method's own."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from cl_prompts.checks import Count, Positive, shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.routers import AnalyticRouter
from cl_prompts.prompts.additive import DecomposedTokens
from cl_prompts.prompts.pools import PrependedTokenPool, TokenPool
from cl_prompts.prompts.prefixes import PrefixPool
from cl_prompts.prompts.task_selectors import BatchwisePrompt, TaskSlots
from cl_prompts.prompts.wrapped import Reparameterised
from cl_prompts.strategies.base.settings import Settings

#: pools of entries, among which a selector chooses
ENTRIES = (PrependedTokenPool, TokenPool, PrefixPool)


class Encoded(Settings):
    """Prompts that pass through a residual encoder during training.

    PRE, published for language models
    (:class:`~cl_prompts.prompts.wrapped.Reparameterised`). If each task has its own
    prompts, the encoder's output replaces them when the next task starts.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, prompt_form=Encoded(kind="mlp", width=32), device="cpu")
        >>> type(one.model.pools[0]).__name__
        'Reparameterised'
    """

    kind: Literal["lstm", "mlp"] = "lstm"
    """A bidirectional ``"lstm"`` over the rows of a prompt, or an ``"mlp"`` on each row."""
    width: Count = 64
    """Width of the MLP's hidden layer."""

    def apply(self, model: ContinualModel, method: str) -> None:
        """Wrap the pools of a new model."""
        pools: nn.ModuleList = model.pools  # type: ignore[assignment]
        written = value_pools(model)
        if not written:
            raise InputError(
                f"prompt_form=Encoded needs single entries of a pool, which {method} does not have:"
                " leave it out"
            )
        dim = model.backbone.dim
        for i in written:
            encoder = encoder_of(self.kind, dim, self.width)
            pools[i] = Reparameterised(pools[i], encoder, slots=slots_of(model, pools[i]))


def encoder_of(kind: Literal["lstm", "mlp"], dim: int, width: int) -> nn.Module:
    """Return PRE's encoder of rows: a bidirectional LSTM, or ``LN(W2 relu(W1 P + b1) + b2)``."""
    if kind == "lstm":
        return nn.LSTM(dim, dim // 2, batch_first=True, bidirectional=True)
    return nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, dim), nn.LayerNorm(dim))


class Decomposed(Settings):
    """Low-rank update of the embedded tokens, in addition to the prompts.

    DePT, published for language models
    (:class:`~cl_prompts.prompts.additive.DecomposedTokens`). At the end of a task, or every
    ``period`` samples, the update is merged into the tokens, and a new one starts.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, prompt_form=Decomposed(rank=5), device="cpu")
        >>> [type(pool).__name__ for pool in one.model.pools]
        ['SharedPrefix', 'DecomposedTokens']
    """

    rank: Count = 11
    """Rank of the update; rank 11 and 5 tokens have as many parameters as 20 tokens on a ViT-B."""
    alpha: Positive = 8.0
    """Scale of the update, times rank^-1/2."""

    def apply(self, model: ContinualModel, method: str) -> None:
        """Add the update to the pools of a new model."""
        pools: nn.ModuleList = model.pools  # type: ignore[assignment]
        vit = model.backbone
        pools.append(
            DecomposedTokens(n_tokens=vit.n_tokens, dim=vit.dim, rank=self.rank, alpha=self.alpha)
        )


PromptForm = Encoded | Decomposed
#: form of prompts -> its class, by the name in recipes
PROMPT_FORMS: dict[str, type[PromptForm]] = {"decomposed": Decomposed, "encoded": Encoded}


def prompt_forms(given: Any) -> list[PromptForm]:
    """Return the forms of prompts for a setting.

    Args:
        given: a form, several forms, or a mapping of their names to settings.

    Raises:
        InputError: the setting is none of these.
    """
    if isinstance(given, Mapping):
        for name in given:
            if name not in PROMPT_FORMS:
                raise unknown("form of prompts", str(name), PROMPT_FORMS)
        given = [PROMPT_FORMS[name](**(settings or {})) for name, settings in given.items()]
    forms = list(given) if isinstance(given, Sequence) else [given]
    for form in forms:
        if not isinstance(form, PromptForm):
            raise InputError(f"prompt_form is {shown(form)}: give Encoded(...) or Decomposed(...)")
    # In one order, whatever the given one, so that random draws are the same.
    return sorted(forms, key=lambda form: isinstance(form, Encoded))


def value_pools(model: ContinualModel) -> list[int]:
    """Return the indices of the pools whose prompts are one Parameter, which can be wrapped."""
    pools = getattr(model, "pools", ())
    return [i for i, p in enumerate(pools) if hasattr(p, "values") and hasattr(p, "build_from")]


def slots_of(model: ContinualModel, pool: nn.Module) -> int:
    """Return the number of entries per task; 0 if tasks share all entries."""
    selector: object = model.selector
    if isinstance(selector, BatchwisePrompt):
        selector = selector.inner
    if not isinstance(pool, ENTRIES):
        return 0
    if isinstance(selector, AnalyticRouter):
        return 1
    return selector.inner.k if isinstance(selector, TaskSlots) else 0
