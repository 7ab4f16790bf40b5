"""Common base of all models on a frozen ViT."""

import json
import math
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as tensors_file
from torch import Tensor, nn

from cl_prompts.backbones.injection import Entry
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weight_files import backbone_hash, state_hash
from cl_prompts.closed_form.whitening import FeatureWhitening
from cl_prompts.errors import InputError
from cl_prompts.models.alignment import BatchAlignment
from cl_prompts.models.heads import FINITE_MASK
from cl_prompts.models.slow_heads import Ensemble, HeadAverages
from cl_prompts.prompts.patches import PatchSelection
from cl_prompts.prompts.selectors import Selection

Module = TypeVar("Module", bound=nn.Module)


@dataclass
class Output:
    """Result of a forward pass.

    Attributes:
        logits: (batch, classes), instance mask applied; unseen classes hold -inf, or 0 in a
            multi-label model.
        features: (batch, dim) fp32 input of the head, whitened where the model whitens.
        selection: the selector's choice, or None without a selector.
        mask: (batch, classes) instance-wise logit mask, or None.
        raw: (batch, dim) features before whitening, in models with one head for all classes.
        prompt_loss: scalar, loss terms of the prompts, or None.
        cacheable: name of ``cache_keys`` -> value for these images; :meth:`ContinualModel.run`
            accepts them.

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
    """Result of the first stage of a forward pass, input of the second.

    If it holds all parts that ``cache_keys`` names, later forward passes over the same images reuse
    it while their versions compare equal. Cacheable parts carry no gradient and depend on nothing
    that changes.

    Attributes:
        parts: name of ``cache_keys`` -> cacheable value for these images.
        tokens: (batch, n, dim) embedded tokens, or None if the second stage does not need them.
        features: (batch, ..., dim) features that are not cacheable, or None.
        kept: (batch, n) places of the tokens that the second stage computes; None for all.
        entry: the part of the second stage's forward pass that the first stage has computed, or
            None.

    Example:
        >>> Encoding({"frozen": torch.zeros(2, 16)}).tokens is None  # features alone
        True
    """

    parts: dict[str, Tensor]
    tokens: Tensor | None = None
    entry: Entry | None = None
    features: Tensor | None = None
    kept: Tensor | None = None


def need_frozen(backbone: FrozenViT, part: str) -> None:
    """Raise ``InputError`` for a trainable backbone where features must not change."""
    if backbone.trainable:
        raise InputError(f"{part} need a frozen backbone: this one is thawed")


def finite(logits: Tensor) -> Tensor:
    """Logits (batch, classes) with ``FINITE_MASK`` in place of -inf."""
    # NaN and infinity stay, since they show a fault.
    return logits.nan_to_num(nan=math.nan, posinf=math.inf, neginf=FINITE_MASK)


def copy_of(module: Module, backbone: FrozenViT) -> Module:
    """Copy a model or a part of it for evaluation; a frozen backbone is shared.

    Forward passes of the copy count as those of the backbone.
    """
    shared: dict[int, object] = {id(backbone): backbone}
    if backbone.trainable:
        shared = {id(backbone.counter): backbone.counter}
    return deepcopy(module, shared).requires_grad_(False).eval()


def need_class_token(backbone: FrozenViT, part: str) -> None:
    """Raise ``InputError`` for a ViT without class token where a method needs one."""
    if "token" not in backbone.architecture.pools:
        raise InputError(
            f"{part} the class token, which this ViT does not have: use a ViT, DINOv2, DINOv3 or"
            " EVA-02, or another method"
        )


class ContinualModel(nn.Module):
    """Interface of models on a frozen ViT.

    ``model(images)`` gives logits (batch, n_classes): no task id, no dependence on other samples of
    the batch. Classes never seen in training score -inf, or 0 in a multi-label model, whose losses
    and metrics use seen columns only. :meth:`observe_classes` marks classes as seen.

    :meth:`cache_keys` names the parts of a forward pass that depend only on frozen weights (the
    backbone, or the lane of a finished task). ``Output.cacheable`` holds their values, and
    :meth:`run` accepts cached values in their place. The result is exactly the same.

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
    slow: HeadAverages | None
    """Slow heads that are combined with the head in evaluation, or None."""
    patches: PatchSelection | None = None
    """The selection of patches of prompted forward passes in training; None for all."""

    head: nn.Module
    ensemble: Ensemble = "softmax_max_prob"
    """How head and slow heads are combined:
    :func:`~cl_prompts.models.slow_heads.ensemble_logits`."""

    finite_forward: bool = False
    """Whether ``model(images)`` gives unseen classes a large finite negative score instead of -inf,
    for code that squares or differentiates it."""

    score_threshold: float | None = None
    """Score above which a multi-label model predicts a label, if its scores are not logits. None:
    logits, whose threshold is a probability."""

    def __init__(self, backbone: FrozenViT, n_classes: int, *, multi_label: bool = False) -> None:
        super().__init__()
        self.n_classes = n_classes
        """Columns of the logits."""
        self.register_buffer("seen", torch.zeros(n_classes, dtype=torch.bool))
        self.backbone = backbone
        self.multi_label = multi_label
        self.whitening = None
        self.slow = None

    def grown(self) -> None:
        """Update the number of columns; slow heads copy the head's new rows."""
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
        """Mark classes as seen: ids of any shape, or multi-hot (batch, classes)."""
        if self.multi_label:
            self.seen |= (labels > 0).reshape(-1, self.n_classes).any(dim=0)
        else:
            self.seen[labels.flatten()] = True

    def set_slow_heads(
        self, decays: Sequence[float], n_experts: int = 1, ensemble: Ensemble = "softmax_max_prob"
    ) -> None:
        """Add slow heads: copies of the final head, combined with it in evaluation.

        Args:
            decays: one slow head each.
            n_experts: experts with slow heads of their own.
            ensemble: see :func:`~cl_prompts.models.slow_heads.ensemble_logits`.
        """
        self.slow = HeadAverages(self.head, n_experts, decays)
        self.ensemble = ensemble

    def update_statistics(
        self, rows: int | None = None, *, repeated: bool = False
    ) -> AbstractContextManager[None]:
        """:meth:`~cl_prompts.closed_form.whitening.FeatureWhitening.update_statistics`, if any."""
        if isinstance(self.whitening, FeatureWhitening):
            return self.whitening.update_statistics(rows, repeated=repeated)
        return nullcontext()

    @contextmanager
    def head_phase(self) -> Iterator[None]:
        """Train the head alone, on all patches, within the context."""
        assert self.patches is not None
        others = [
            p
            for name, p in self.named_parameters()
            if p.requires_grad and not name.startswith("head.")
        ]
        self.patches.head_alone = True
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            self.patches.head_alone = False
            for parameter in others:
                parameter.requires_grad_(True)

    def hide_unseen(self, logits: Tensor) -> Tensor:
        """Set unseen classes' columns of logits (batch, classes) to -inf (multi-label: 0)."""
        return logits.masked_fill(~self.seen, 0.0 if self.multi_label else float("-inf"))

    def cache_keys(self) -> dict[str, Hashable]:
        """Cacheable part -> version; cached values are valid while it compares equal."""
        return {}

    def needs_images(self, cached: Collection[str]) -> bool:
        """Whether :meth:`run` needs the images in addition to these cached parts."""
        return True

    def encode(self, images: Tensor | None, cached: Mapping[str, Tensor]) -> Encoding:
        """Run the first stage: the cacheable parts, and other inputs of the second stage.

        Args:
            images: (batch, 3, size, size) in [0, 1]; None where :meth:`needs_images` is False.
            cached: cached parts for the same images, each (batch, width).
        """
        raise NotImplementedError

    def decode(self, encoding: Encoding) -> Output:
        """Run the second stage: the part that changes while the model learns."""
        raise NotImplementedError

    def run(self, images: Tensor | None, cached: Mapping[str, Tensor] | None = None) -> Output:
        """Run both stages of a forward pass. Arguments as :meth:`encode`."""
        encoding = self.encode(images, cached or {})
        return replace(self.decode(encoding), cacheable=encoding.parts)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 3, size, size) in [0, 1], RGB -> logits (batch, n_classes)."""
        logits = self.run(images).logits
        return finite(logits) if self.finite_forward else logits

    def learned_state(self) -> dict[str, Tensor]:
        """State without the frozen backbone."""
        state = self.state_dict()
        return {
            k: v
            for k, v in state.items()
            if self.backbone.trainable or not k.startswith("backbone.")
        }

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Load a state of :meth:`learned_state`.

        Raises:
            InputError: the state belongs to another model (names the keys that differ).
        """
        mine = self.learned_state()
        # Shapes can be compared only where the names agree.
        wrong = sorted(set(mine) ^ set(state)) or sorted(
            k for k in mine if mine[k].shape != state[k].shape
        )
        if wrong:
            raise InputError(
                f"the saved state does not fit this model: {', '.join(wrong[:3])} differ"
                f" ({len(wrong)} in all). Train it again if an earlier version made it"
            )
        # Not strict: the frozen backbone's names are missing.
        self.load_state_dict(state, strict=False)

    def exported(self) -> bytes:
        """:meth:`learned_state` as safetensors bytes, with hashes of backbone and state."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.learned_state().items()}
        about = {"backbone": backbone_hash(self.backbone), "sha256": state_hash(state)}
        return tensors_file.save(state, metadata={"cl_prompts": json.dumps(about)})

    def save(self, path: str | Path) -> None:
        """Write :meth:`exported` to a file; it does not contain the frozen backbone."""
        Path(path).write_bytes(self.exported())

    def load(self, path: str | Path) -> None:
        """Load a file of :meth:`save` into a model of the same construction and backbone.

        Raises:
            InputError: missing or damaged file, a state that does not fit, or another backbone.
        """
        try:
            with safe_open(str(path), framework="pt") as file:
                about = json.loads((file.metadata() or {})["cl_prompts"])
                state = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
            before, backbone = about["sha256"], about["backbone"]
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not a saved model, or is damaged: {error}") from error
        # Before anything is loaded, so that an error leaves the model unchanged.
        if state_hash(state) != before:
            raise InputError(f"{path} is damaged: the checksum of its tensors differs")
        self.check_backbone(backbone, str(path))
        self.load_learned_state(state)

    def check_backbone(self, known: object, what: str) -> None:
        """Raise ``InputError`` if a state was trained on another backbone.

        Args:
            known: :func:`~cl_prompts.backbones.weight_files.backbone_hash` of its backbone.
            what: name of the state, for the error.
        """
        if known != backbone_hash(self.backbone):
            raise InputError(
                f"{what} was trained on another backbone (weights, image size, precision, heads,"
                " activation, normalisation or features differ). Build the model on the same"
                " backbone, or train again"
            )
