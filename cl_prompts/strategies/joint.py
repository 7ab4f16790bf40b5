"""Joint training: all data at once, several epochs; the upper bound of fine-tuning."""

from collections.abc import Iterable, Sequence

from avalanche.benchmarks import CLExperience, DatasetExperience

from cl_prompts.checks import Count, NotNegative
from cl_prompts.strategies.base.head_training import HeadStrategy


class Joint(HeadStrategy):
    """The i.i.d. upper bound: all experiences at once, shuffled, for several epochs.

    ``train`` takes the whole stream. With ``backbone_lr=0`` it trains only the head.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> joint = Joint(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> joint.whole_stream, joint.train_epochs
        (True, 5)
    """

    whole_stream = True
    keeps = "all data at once"

    backbone_lr: NotNegative = 1e-5
    weight_decay: NotNegative = 0.01
    train_epochs: Count = 5
    """Passes over all data."""
    online_iter: Count = 1
    """Updates per batch; 1, since there are several epochs."""

    def train(
        self,
        experiences: CLExperience | Iterable[CLExperience],
        eval_streams: Sequence[CLExperience] | None = None,
        **kwargs: object,
    ) -> dict[str, object]:
        """Train on the union of ``experiences``, in random order."""
        parts = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        return super().train(_union(parts), eval_streams, **{"shuffle": True, **kwargs})


def _union(parts: Sequence[CLExperience]) -> CLExperience:
    """Join all parts in one experience; multi-label tasks of this package share images."""
    stream = parts[0].origin_stream
    if hasattr(stream, "joint") and all(part.origin_stream is stream for part in parts):
        return stream.joint([part.current_experience for part in parts])
    data = parts[0].dataset
    for part in parts[1:]:
        data = data.concat(part.dataset)
    union = DatasetExperience(dataset=data, current_experience=0)
    union._origin_stream = stream  # noqa: SLF001  Avalanche's own streams set it so
    for name in ("task_label", "task_labels"):
        if hasattr(parts[0], name):
            setattr(union, name, getattr(parts[0], name))
    return union
