"""Slow heads (moving averages of a head), and ensembles of heads."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from cl_prompts.prompts.task_aware import TaskAware

Ensemble = Literal["softmax_max_prob", "softmax_mean", "softmax_min_entropy", "max_prob", "mean"]


class HeadAverages(TaskAware):
    """Exponential moving averages of a head, several per expert.

    FlyPrompt's temporal ensemble (ICLR 2026, arXiv 2602.01976). After every optimizer step the slow
    heads of the current expert follow the head: ``W_j <- decay_j W_j + (1 - decay_j) W``. When an
    expert starts (:func:`~cl_prompts.prompts.task_aware.start_task`), its slow heads start as
    copies of the head; those of earlier experts are constant. One expert (the default) serves all
    tasks and suits any gradient strategy. The averages are buffers without gradient.

    Args:
        head: features (batch, dim) -> logits (batch, classes), of any kind; it is not part of this
            module.
        n_experts: number of experts.
        decays: one slow head each, in [0, 1).

    Example:
        >>> head = nn.Linear(4, 3)
        >>> slow = HeadAverages(head, decays=(0.5,))
        >>> head.weight.data += 1
        >>> slow.update(head)
        >>> logits = slow(head, torch.ones(2, 4))
        >>> torch.allclose(logits[0], head(torch.ones(2, 4)) - 2, atol=1e-5)
        True
    """

    def __init__(
        self, head: nn.Module, n_experts: int = 1, decays: Sequence[float] = (0.9, 0.99)
    ) -> None:
        super().__init__()
        self.decays = tuple(decays)
        self.n_experts = n_experts
        shape = (n_experts, len(self.decays))
        self.names = tuple(name for name, _ in head.named_parameters())
        axes: Mapping[str, int] = getattr(head, "class_axes", {})
        self.class_axes = {_buffer(name): axis + 2 for name, axis in axes.items()}
        self.task_axes = {_buffer(name): 0 for name in self.names if n_experts > 1}
        for name, values in head.named_parameters():
            copies = values.detach().expand(*shape, *values.shape).clone()
            self.register_buffer(_buffer(name), copies)

    @property
    def current(self) -> int:
        """The expert whose slow heads follow the head."""
        return min(max(self.task, 0), self.n_experts - 1)

    @torch.no_grad()
    def restart(self, head: nn.Module) -> None:
        """Copy ``head`` to the slow heads of the current expert, after an expert started."""
        for name, values in head.named_parameters():
            self.get_buffer(_buffer(name))[self.current] = values

    @torch.no_grad()
    def update(self, head: nn.Module) -> None:
        """Follow ``head``; call it after every optimizer step."""
        for name, values in head.named_parameters():
            slow = self.get_buffer(_buffer(name))[self.current]
            # W_j <- decay_j W_j + (1 - decay_j) W
            for j, decay in enumerate(self.decays):
                slow[j].lerp_(values, 1 - decay)

    @torch.no_grad()
    def follow_new(self, head: Any, n: int) -> None:
        """Copy the last n classes of ``head`` to all slow heads."""
        for name, axis in head.class_axes.items() if n else ():
            values = getattr(head, name)
            own = self.get_buffer(_buffer(name)).narrow(axis + 2, values.shape[axis] - n, n)
            own.copy_(values.narrow(axis, values.shape[axis] - n, n))

    def grown(self) -> None:
        """Update the number of experts."""
        self.n_experts = len(self.get_buffer(_buffer(self.names[0])))

    @torch.no_grad()
    def forward(self, head: nn.Module, features: Tensor, expert: Tensor | None = None) -> Tensor:
        """Logits of the slow heads of each image's expert.

        Args:
            head: of the same construction; its values are not used.
            features: (batch, dim).
            expert: (batch,) expert of each image; None: the current one.

        Returns:
            (slow heads, batch, classes)
        """
        if expert is None:
            expert = torch.full((len(features),), self.current, device=features.device)
        stacked = {name: self.get_buffer(_buffer(name)) for name in self.names}

        def logits(parameters: dict[str, Tensor]) -> Tensor:
            return functional_call(head, parameters, (features,))

        # All experts for all images: heads are cheap.
        everything = vmap(vmap(logits))(stacked)  # (experts, slow heads, batch, classes)
        rows = torch.arange(features.shape[0], device=features.device)
        return everything[expert, :, rows].transpose(0, 1)


def ensemble_logits(logits: Tensor, seen: Tensor, kind: Ensemble = "softmax_max_prob") -> Tensor:
    """Combine the logits of several heads.

    ``softmax_max_prob`` (FlyPrompt's): the largest probability of each class over heads;
    ``softmax_mean``: the mean probability; ``softmax_min_entropy``: the probabilities of the most
    certain head; ``max_prob`` and ``mean``: largest and mean logit. Probabilities are returned as
    logarithms, with the same order of classes and finite scores for seen ones.

    Args:
        logits: (heads, batch, classes).
        seen: (classes,) boolean.
        kind: see above.

    Returns:
        (batch, classes), -inf for unseen classes.

    Example:
        >>> logits = torch.tensor([[[0.0, 9.0, 0.0]], [[1.0, 0.0, 0.0]]])
        >>> ensemble_logits(logits, torch.tensor([True, False, True])).argmax().item()
        0
    """
    logits = logits.masked_fill(~seen, float("-inf"))
    if kind == "mean":
        return logits.mean(dim=0)
    if kind == "max_prob":
        return logits.amax(dim=0)
    probability = logits.softmax(dim=-1)
    if kind == "softmax_mean":
        scores = probability.mean(dim=0)
    elif kind == "softmax_max_prob":
        scores = probability.amax(dim=0)
    else:
        # softmax_min_entropy: the head of least -sum p log p
        surest = torch.special.entr(probability).sum(dim=-1).argmin(dim=0)
        scores = probability[surest, torch.arange(logits.shape[1], device=logits.device)]
    # The floor distinguishes a class of probability 0 from an unseen one.
    floored = scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
    return floored.masked_fill(~seen, float("-inf"))


def _buffer(name: str) -> str:
    return f"slow_{name.replace('.', '_')}"
