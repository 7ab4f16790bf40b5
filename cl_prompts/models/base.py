"""Common base of all models on a frozen ViT."""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as tensors_file
from torch import Tensor, nn

from cl_prompts.backbones.injection import Entry
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weight_files import backbone_hash, state_hash
from cl_prompts.errors import InputError
from cl_prompts.models.alignment import BatchAlignment
from cl_prompts.models.compiled import CompiledDecoding
from cl_prompts.models.heads import finite
from cl_prompts.models.slow_heads import Ensemble, SlowHeads
from cl_prompts.models.whitening import FeatureWhitening
from cl_prompts.prompts.files import write_whole
from cl_prompts.prompts.selectors import Selection


@dataclass
class Output:
    """Result of a forward pass.

    Attributes:
        logits: (batch, classes), instance mask applied; unseen classes hold -inf, or 0 in a
            multi-label model.
        features: (batch, dim) fp32 features that the head read, whitened where the model does so.
        selection: what the selector chose, or None without a selector.
        mask: (batch, classes) instance-wise logit mask, or None.
        raw: (batch, dim) features before whitening, where a model has one head for all classes.
        prompt_loss: scalar, terms of loss that prompts bring along, or None.
        cacheable: cacheable parts for these images by the names of ``cache_keys``; they can be
            passed back to ``run``.

    Example:
        >>> output = Output(logits=torch.zeros(2, 10), features=torch.zeros(2, 16))
        >>> output.selection is None and output.mask is None
        True
    """

    logits: Tensor
    features: Tensor
    selection: Selection | None = None
    mask: Tensor | None = None
    raw: Tensor | None = None
    prompt_loss: Tensor | None = None
    cacheable: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Encoding:
    """Intermediate result of a forward pass, between its two stages.

    With all parts that ``cache_keys`` names it may be taken over by later passes over the same
    images while their versions compare equal, so nothing in it may depend on anything else that
    changes, or carry gradient.

    Attributes:
        parts: cacheable values for these images, by the names of ``cache_keys``.
        tokens: (batch, n, dim) embedded tokens, if the second stage needs them.
        features: (batch, ..., dim) features that are not cacheable, likewise.
        entry: what the first stage has computed of the second one's pass, if anything.

    Example:
        >>> Encoding({"frozen": torch.zeros(2, 16)}).tokens is None  # features alone
        True
    """

    parts: dict[str, Tensor]
    tokens: Tensor | None = None
    entry: Entry | None = None
    features: Tensor | None = None


def need_frozen(backbone: FrozenViT, part: str) -> None:
    """Refuse a thawed backbone for what relies on features that never change."""
    if backbone.trainable:
        raise InputError(f"{part} need a frozen backbone: this one is thawed")


class ContinualModel(nn.Module):
    """Interface of models on a frozen ViT, for strategies, evaluation and run folders.

    ``model(images)`` gives logits (batch, n_classes): no task id, no dependence on batch mates.
    Classes never seen in training score -inf (0 in a multi-label model, whose losses and metrics
    use seen columns only); :meth:`observe_classes` marks classes as seen.

    Parts of a forward pass may depend only on what no longer changes: the frozen backbone, or the
    lane of a finished task. :meth:`cache_keys` names such parts, ``Output.cacheable`` holds their
    values, and :meth:`run` accepts cached values in their place, which is exact.

    Args:
        backbone: the frozen ViT.
        n_classes: classes of the data set; column = data-set label.
        multi_label: an image may show several classes.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> model = ContinualModel(create_backbone(), n_classes=3)
        >>> model.observe_classes(torch.tensor([2, 2, 0]))
        >>> model.hide_unseen(torch.zeros(1, 3))
        tensor([[0., -inf, 0.]])
    """

    class_axes: ClassVar = {"seen": 0}
    seen: Tensor
    backbone: FrozenViT
    whitening: FeatureWhitening | BatchAlignment | None
    slow: SlowHeads | None
    """Slow heads that decide with the head in evaluation, or None."""
    compiled: CompiledDecoding | None
    """The second stage of passes as it is run where it is compiled; None to run it as it stands."""

    head: nn.Module
    one_head: ClassVar[bool] = False
    """Whether a single head scores all classes, which can be replaced."""

    ensemble: Ensemble = "softmax_max_prob"
    """How the head and its slow heads decide together, see
    :func:`~cl_prompts.models.slow_heads.ensemble_logits`."""

    finite_forward: bool = False
    """Whether ``model(images)`` gives unseen classes a large finite negative score instead of
    -inf, for code that squares or differentiates it."""

    score_threshold: float | None = None
    """Where the scores of a multi-label model are no logits: the score above which a label counts
    as predicted. None: its logits have probabilities, and the threshold is one of these."""

    def __init__(self, backbone: FrozenViT, n_classes: int, *, multi_label: bool = False) -> None:
        super().__init__()
        self.n_classes = n_classes
        """Columns of the logits."""
        self.register_buffer("seen", torch.zeros(n_classes, dtype=torch.bool))
        self.backbone = backbone
        self.multi_label = multi_label
        self.whitening = None
        self.slow = None
        self.compiled = None

    def grown(self) -> None:
        """Count the columns; slow heads begin as the head does for further classes."""
        more = len(self.seen) - self.n_classes
        self.n_classes = len(self.seen)
        if self.slow is not None:
            self.slow.follow_new(self.head, more)

    @property
    def n_learned(self) -> int:
        """Number of learned parameters: all but those of a frozen backbone."""
        return sum(
            p.numel()
            for name, p in self.named_parameters()
            if self.backbone.trainable or not name.startswith("backbone.")
        )

    def observe_classes(self, labels: Tensor) -> None:
        """Mark the classes in ``labels`` as seen: class ids of any shape, or multi-hot (batch,
        classes)."""
        if self.multi_label:
            self.seen |= (labels > 0).reshape(-1, self.n_classes).any(dim=0)
        else:
            self.seen[labels.flatten()] = True

    def set_head(
        self,
        head: nn.Module | None = None,
        whitening: FeatureWhitening | BatchAlignment | None = None,
    ) -> None:
        """Replace the head, or what its input passes through; None leaves it as it is.

        Raises:
            InputError: the model has no one head for all classes.
        """
        if not self.one_head:
            name = type(self).__name__
            raise InputError(f"{name} has no one head for all classes: leave out head")
        self.head = self.head if head is None else head
        self.whitening = self.whitening if whitening is None else whitening

    def set_slow_heads(
        self,
        decays: Sequence[float],
        n_experts: int = 1,
        ensemble: Ensemble = "softmax_max_prob",
    ) -> None:
        """Give the head slow heads, which decide with it in evaluation; call it once the head is
        what it will be.

        Args:
            decays: one slow head each.
            n_experts: experts that have slow heads of their own.
            ensemble: how they decide together, see
                :func:`~cl_prompts.models.slow_heads.ensemble_logits`.
        """
        # Copies of the head as it is now, so the head has to be final.
        self.slow = SlowHeads(self.head, n_experts, decays)
        self.ensemble = ensemble

    def update_statistics(
        self, rows: int | None = None, *, repeated: bool = False
    ) -> AbstractContextManager[None]:
        """Context in which the next forward pass updates the statistics of the head's input, if
        there are any; the arguments are those of
        :meth:`~cl_prompts.models.whitening.FeatureWhitening.update_statistics`."""
        if self.whitening is None:
            return nullcontext()
        return self.whitening.update_statistics(rows, repeated=repeated)

    def hide_unseen(self, logits: Tensor) -> Tensor:
        """Logits (batch, classes) with the columns of unseen classes at -inf, or at 0 in a
        multi-label model."""
        return logits.masked_fill(~self.seen, 0.0 if self.multi_label else float("-inf"))

    def cache_keys(self) -> dict[str, Hashable]:
        """Cache keys: the cacheable parts of a forward pass by name, each with a version. A cached
        value is valid while its version compares equal."""
        return {}

    def needs_images(self, cached: Collection[str]) -> bool:
        """Whether :meth:`run` needs the images in addition to these cached parts."""
        return True

    def encode(self, images: Tensor | None, cached: Mapping[str, Tensor]) -> Encoding:
        """First stage: the cacheable parts, and what else the second stage needs.

        Args:
            images: (batch, 3, size, size) in [0, 1]; may be None if :meth:`needs_images` says so.
            cached: parts of an earlier pass over the same images, each (batch, width).
        """
        raise NotImplementedError

    def decode(self, encoding: Encoding) -> Output:
        """Second stage: the parts that change while the model learns."""
        raise NotImplementedError

    def run(self, images: Tensor | None, cached: Mapping[str, Tensor] | None = None) -> Output:
        """Run both stages of a forward pass; the arguments are those of :meth:`encode`."""
        encoding = self.encode(images, cached or {})
        # Only the second stage learns, so only it is compiled.
        decode = self.decode if self.compiled is None else self.compiled
        return replace(decode(encoding), cacheable=encoding.parts)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 3, size, size) in [0, 1], RGB -> logits (batch, n_classes)."""
        logits = self.run(images).logits
        return finite(logits) if self.finite_forward else logits

    def learned_state(self) -> dict[str, Tensor]:
        """All state but the frozen backbone's: prompts, keys, counts, masks, head, seen classes."""
        state = self.state_dict()
        return {
            k: v
            for k, v in state.items()
            if self.backbone.trainable or not k.startswith("backbone.")
        }

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of :meth:`learned_state`.

        Raises:
            InputError: the state belongs to another model (which keys).
        """
        mine = self.learned_state()
        # Names first; shapes can be compared only where the names agree.
        wrong = sorted(set(mine) ^ set(state)) or sorted(
            k for k in mine if mine[k].shape != state[k].shape
        )
        if wrong:
            raise InputError(
                f"the saved state does not fit this model: {', '.join(wrong[:3])} differ"
                f" ({len(wrong)} in all)"
            )
        # Names were compared above; only those of the frozen backbone are missing.
        self.load_state_dict(state, strict=False)

    def exported(self) -> bytes:
        """:meth:`learned_state` as a safetensors file, which knows its backbone and its hash."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.learned_state().items()}
        about = {
            "n_classes": self.n_classes,
            "dim": self.backbone.dim,
            "trainable_backbone": self.backbone.trainable,
            # What of it is not in the state itself, named by its content.
            "backbone": backbone_hash(self.backbone),
            "sha256": state_hash(state),
        }
        return tensors_file.save(state, metadata={"cl_prompts": json.dumps(about)})

    def save(self, path: str | Path) -> None:
        """Write :meth:`exported`; the frozen backbone is left out."""
        write_whole(path, self.exported())

    def load(self, path: str | Path) -> None:
        """Read what :meth:`save` wrote into a model of the same construction, on the same backbone.

        Raises:
            InputError: missing or damaged file, a state that does not fit, or one that was learned
                on another backbone.
        """
        if not Path(path).is_file():
            raise InputError(f"there is no saved model at {path}")
        try:
            with safe_open(str(path), framework="pt") as file:
                about = json.loads((file.metadata() or {})["cl_prompts"])
                state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            before, backbone = about["sha256"], about["backbone"]
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path} is no saved model, or damaged: {error}") from error
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{path} does not say on which backbone it was learned: if you know, pass its"
                " tensors to load_learned_state"
            ) from error
        # Before anything is loaded: a model is never half damaged.
        if state_hash(state) != before:
            raise InputError(f"{path} is damaged: the checksum of its tensors differs")
        self.check_backbone(backbone, str(path))
        self.load_learned_state(state)

    def check_backbone(self, known: object, what: str) -> None:
        """Refuse what was learned on a backbone with another
        :func:`~cl_prompts.backbones.weight_files.backbone_hash`.

        Args:
            known: its hash.
            what: was learned on it, for the sentence.
        """
        if known != backbone_hash(self.backbone):
            raise InputError(
                f"{what} was learned on a backbone with other weights, image size, precision,"
                " heads, activation, normalisation or read-out, or by an earlier commit, which"
                " noted less of it: build the model on the same one, or train it again"
            )
