"""Settings that all strategies have."""

from __future__ import annotations

from typing import Any

from avalanche.training.plugins.evaluation import default_evaluator

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive, Size
from cl_prompts.losses.classification import ClassMask
from cl_prompts.losses.multi_label import LossNorm
from cl_prompts.strategies.base.head import Head
from cl_prompts.strategies.base.settings import Settings
from cl_prompts.training.schedules import Schedule


class OnlineSettings(Settings):
    """Settings that all strategies have, unless a method withdraws them.

    Example:
        >>> OnlineSettings.settings()["online_iter"].default
        3
    """

    backbone: FrozenViT | None = None
    """The frozen ViT, for RGB images in [0, 1]; with ``n_classes`` it builds the model."""
    n_classes: Count | None = None
    """Classes of the data set: columns of the head."""
    model: Any = None
    """A model such as ``build_model`` makes, instead of ``backbone`` and ``n_classes``; settings
    that ``build_model`` would read, such as sizes of prompts, are then the model's own."""
    multi_label: bool = False
    """An image may show several classes."""
    optimizer: Any = None
    """Optimizer of the model's trainable parameters; by default Adam with ``lr``."""
    lr: Positive = 5e-3
    """Learning rate of the default optimizer."""
    train_mb_size: Count = 64
    """Stream samples per batch."""
    eval_mb_size: Count = 128
    """Test images per batch."""
    train_epochs: Count = 1
    """Passes over each experience; 1 is the online protocol."""
    online_iter: Count = 3
    """Updates per stream batch, each with its own augmentation and buffer samples."""
    views: Count | None = None
    """Number of random views of each sample, which take turns, so that the frozen part of a pass is
    computed once for each. None: every update draws a new view. Without augmentation a run takes
    1."""
    buffer_size: Size = 0
    """Samples in the replay buffer; 0 for none."""
    buffer_batch_size: Count | None = None
    """Replayed samples that join each stream batch; None for half of ``train_mb_size``."""
    boundaries: bool | None = None
    """Whether the method may use the start of an experience as a task boundary: True
    (task-aware), False (task-free), or None for what the experience announces (incremental
    scenarios announce boundaries, blurry and online streams do not)."""
    period: Count | None = None
    """Stream samples after which a method's end-of-task work is done where no boundary is
    announced; None for never."""
    class_mask: ClassMask = "seen"
    """Classes that compete in the cross-entropy of images with one label; head rows of the others
    get no gradient. ``"seen"``: all classes seen so far. ``"current"``: those of the announced
    task, for a replayed sample those of its own; all classes seen where no boundary is announced.
    ``"batch"``: those that occur in the mini-batch, replayed samples included (SinglePrompt, MISA).
    Tests are always over the classes seen."""
    head: Head = Head()
    """The head over all classes, and what it reads; settings that are not given stay the
    method's."""
    features: str = "token"
    """What is read of a pass, prompted where there are prompts: ``"token"``, the class token of the
    last block, or ``"blocks:K"``, those of the last K blocks side by side, each behind the final
    norm (``half`` for half of all blocks). ``"blocks:K+patches"`` reads their mean patch tokens,
    too, ``"raw_blocks:K"`` leaves out the norm. No further pass (see
    :class:`~cl_prompts.backbones.features.Features`)."""
    schedule: Schedule = "constant"
    """Schedule of the learning rate over the epochs of one experience: ``"constant"``,
    ``"cosine"`` (to zero, per epoch) or ``"coda"`` (CODA-Prompt's, to 1.6 %)."""
    new_optimizer: bool = False
    """Start each announced task with fresh optimizer state."""
    clip_norm: Positive | None = None
    """Bound on the gradient's global norm; None for none."""
    loss_norm: LossNorm = "current"
    """Normalisation of a multi-label loss: mean over the ``"current"`` classes, or over ``"all"``
    (see :func:`~cl_prompts.losses.multi_label.multi_label_loss`)."""
    compile: bool = False
    """Compile the part of a pass that learns (``torch.compile``), which takes a minute or more at
    first: for long runs on a GPU."""
    device: Any = "auto"
    """``"auto"`` (GPU if there is one), ``"cpu"``, ``"cuda"``, ..."""
    plugins: Any = None
    """Options of this package and any Avalanche plugins; the list is copied. Where the method has a
    plugin of the same class (``own_plugins``), the given one takes its place, with the method's
    values for settings that are not given."""
    evaluator: Any = default_evaluator
    """Avalanche's evaluator; None for silence."""
    eval_every: int = -1
    """As in Avalanche (periodic evaluation; -1 for none). For evaluation by sample count see
    :class:`~cl_prompts.strategies.AnytimeEvaluation`."""
    seed: Size = 0
    """Seed of the private generators (buffer, shuffling)."""
    growing: bool = False
    """Grow where an experience brings classes beyond ``n_classes``, see :meth:`grow`."""
