"""Fine-tuning: every weight of the ViT learns. The baseline that forgets, and with all data at once
the upper bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from avalanche.benchmarks import CLExperience, DatasetExperience

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.head import HeadStrategy, head_model
from cl_prompts.strategies.base.labels import classes_of


class FineTuning(HeadStrategy):
    """AdamW on all weights, slowly on the backbone and fast on the head; cross-entropy over the
    classes seen so far.

    The given backbone is copied, so one frozen backbone can serve other strategies at the same
    time.

    Args:
        backbone: the ViT to start from; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a :class:`~cl_prompts.models.prompted.PromptedViT`, on a thawed
            backbone if that is to learn.
        multi_label: an image may show several classes.
        backbone_lr: learning rate of the backbone; 0 keeps it frozen.
        weight_decay: of AdamW.
        **common: see :class:`~cl_prompts.strategies.base.online.OnlineStrategy`; ``lr`` is the
            head's.
    """

    learns_several_labels = True

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: PromptedViT | None = None,
        multi_label: bool = False,
        backbone_lr: float = 1e-5,
        weight_decay: float = 0.01,
        **common: Any,
    ) -> None:
        if model is None:
            model = head_model(
                backbone, n_classes, backbone_lr=backbone_lr, multi_label=multi_label
            )
        super().__init__(model=model, backbone_lr=backbone_lr, weight_decay=weight_decay, **common)


class Joint(FineTuning):
    """The i.i.d. upper bound: all experiences at once, shuffled, for several epochs.

    ``train`` takes the whole stream. With ``backbone_lr=0`` it is the upper bound of a linear
    probe.

    Args:
        train_epochs: passes over all data.
        online_iter: 1, since repeating a batch has no meaning here.
        **settings: see :class:`FineTuning`.
    """

    whole_stream = True

    def __init__(self, *, train_epochs: int = 5, online_iter: int = 1, **settings: Any) -> None:
        super().__init__(train_epochs=train_epochs, online_iter=online_iter, **settings)

    def train(
        self,
        experiences: CLExperience | Iterable[CLExperience],
        eval_streams: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Train on the union of ``experiences``, in random order.

        Raises:
            InputError: there are none, or parts of multi-label tasks, whose annotations cannot be
                put together.
        """
        parts = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        if not parts:
            raise InputError("there is nothing to train on: the stream has no experience")
        union, n_classes = _union(parts), self.model.n_classes
        together = hasattr(union, "classes_in_this_experience") or not self.model.multi_label
        if not together and not all(bool(classes_of(part, n_classes).all()) for part in parts):
            raise InputError(
                "these experiences are annotated for different classes and are not whole tasks of a"
                " stream of cl-prompts, so that zeros in their targets mean nothing together: give"
                " whole tasks"
            )
        return super().train(union, eval_streams, **{"shuffle": True, **kwargs})


def _tasks(parts: Sequence[Any]) -> Sequence[Any]:
    """The tasks that mini-experiences were cut from, where all of a task is there; else the parts
    as they are."""
    wholes = {id(whole): whole for whole in map(whole_of, parts)}
    samples = Counter({key: -len(whole.dataset) for key, whole in wholes.items()})
    for part in parts:
        samples[id(whole_of(part))] += len(part.dataset)
    return list(wholes.values()) if not any(samples.values()) else parts


def _union(parts: Sequence[Any]) -> Any:
    """One experience of them all. A stream of this package knows how: multi-label tasks share
    images, each to come once."""
    parts = _tasks(parts)
    stream = parts[0].origin_stream
    if hasattr(stream, "joint"):
        return stream.joint([part.current_experience for part in parts])
    data = parts[0].dataset
    for part in parts[1:]:
        data = data.concat(part.dataset)
    union: Any = DatasetExperience(dataset=data, current_experience=0)
    union._origin_stream = stream
    for name in ("task_label", "task_labels"):
        if hasattr(parts[0], name):
            setattr(union, name, getattr(parts[0], name))
    return union
