"""Settings of all strategies."""

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
    """Settings of all strategies, unless a method excludes them.

    Example:
        >>> OnlineSettings.settings()["online_iter"].default
        3
    """

    backbone: FrozenViT | None = None
    """Frozen ViT for RGB images in [0, 1]; give it with ``n_classes``, or give ``model``."""
    n_classes: Count | None = None
    """Number of classes: columns of the head."""
    model: Any = None
    """Model of the kind that ``build_model`` makes, instead of ``backbone`` and ``n_classes``;
    settings that ``build_model`` reads, such as sizes of prompts, are then ignored."""
    multi_label: bool = False
    """Whether images may have several classes."""
    optimizer: Any = None
    """Optimizer of the model's trainable parameters; None for the method's own with ``lr``."""
    lr: Positive = 5e-3
    """Learning rate of the default optimizer."""
    train_mb_size: Count = 64
    """Stream samples per batch."""
    eval_mb_size: Count = 128
    """Test images per batch."""
    train_epochs: Count = 1
    """Epochs of each experience; 1 is the online protocol."""
    online_iter: Count = 3
    """Updates per stream batch, each with its own augmentation and buffer samples."""
    views: Count | None = None
    """Number of distinct augmentations per sample, reused in turn so that frozen features can be
    cached; None for a new one in every update. Without augmentation a run sets 1."""
    buffer_size: Size = 0
    """Samples in the replay buffer; 0 for none."""
    buffer_batch_size: Count | None = None
    """Replayed samples per update; None for half of ``train_mb_size``."""
    boundaries: bool | None = None
    """Whether the method may use the start of an experience as a task boundary: True
    (task-aware), False (task-free), or None for what the experience announces (incremental
    scenarios announce boundaries, blurry and online streams do not)."""
    period: Count | None = None
    """Stream samples between two calls of the method's end-of-task work where no boundary is
    announced; None for never."""
    class_mask: ClassMask = "seen"
    """Classes that compete in the single-label cross-entropy; head rows of the others get no
    gradient. ``"seen"``: all classes seen so far. ``"current"``: those of the announced task, or
    of a replayed sample's own task; all seen classes if no boundary is announced. ``"batch"``:
    those that occur in the mini-batch, replayed samples included (SinglePrompt, MISA). Tests are
    always over the seen classes."""
    head: Head = Head()
    """Head over all classes, and its input; the method supplies the settings that are not given."""
    features: str = "own"
    """Features of the (prompted) forward pass: ``"own"``, what the ViT itself reads of its last
    block (class token, mean patch token or attention pool); ``"token"``, ``"avg"`` or ``"pool"``,
    one of these by name; ``"blocks:K"``, the own features of the last K blocks concatenated, each
    after the final norms (``half`` for half of all blocks). ``"blocks:K+patches"`` adds their mean
    patch tokens, ``"raw_blocks:K"`` omits the norms. No additional pass (see
    :class:`~cl_prompts.backbones.architecture.Features`)."""
    schedule: Schedule = "constant"
    """Schedule of the learning rate over the epochs of one experience: ``"constant"``,
    ``"cosine"`` (to zero, per epoch) or ``"coda"`` (CODA-Prompt's, to 1.6 %)."""
    new_optimizer: bool = False
    """Reset the optimizer state at the start of each announced task."""
    clip_norm: Positive | None = None
    """Maximum global norm of the gradient; None for no clipping."""
    loss_norm: LossNorm = "current"
    """Normalisation of a multi-label loss: mean over the ``"current"`` classes, or over ``"all"``
    (see :func:`~cl_prompts.losses.multi_label.multi_label_loss`)."""
    compile: bool = False
    """Compile the trained part of the forward pass (``torch.compile``), which takes a minute or
    more at the start: for long runs on a GPU."""
    device: Any = "auto"
    """``"auto"`` (GPU if there is one), ``"cpu"``, ``"cuda"``, ..."""
    plugins: Any = None
    """Options of this package and any Avalanche plugins; the list is copied. A plugin replaces the
    method's own of its class (``own_plugins``), which supplies the settings that are not given."""
    evaluator: Any = default_evaluator
    """Avalanche's evaluator; None for no metrics and loggers."""
    eval_every: int = -1
    """Epochs between two evaluations, as in Avalanche; -1 for none. See
    :class:`~cl_prompts.strategies.AnytimeEvaluation` for evaluation by sample count."""
    seed: Size = 0
    """Seed of the private generators (buffer, shuffling)."""
    growing: bool = False
    """Expand the model if an experience has classes beyond ``n_classes`` (see :meth:`grow`)."""
