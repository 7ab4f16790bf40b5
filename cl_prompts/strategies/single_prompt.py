"""SinglePrompt: one prefix, a cosine head, a loss on the batch's classes (CVPR Findings 2026)."""

from cl_prompts.checks import Count, Positive
from cl_prompts.losses.classification import ClassMask
from cl_prompts.strategies.base.head import Head
from cl_prompts.strategies.one_prompt import OnePrompt
from cl_prompts.training.rates import Schedule


class SinglePrompt(OnePrompt):
    """SinglePrompt: one prefix and a cosine head (CVPR Findings 2026). One class per image.

    Source: "Is Prompt Selection Necessary for Task-Free Online Continual Learning?", arXiv
    2604.04420. OnePrompt's prefix with a cosine head of fixed temperature, trained by cross-entropy
    over the classes of the batch with Adam 5e-3, 3 updates on each 32 stream samples, and 32
    replayed samples if there is a buffer. No task boundary, no query, no selection.

    Deviations from the published code: tests are over the seen classes, without untrained rows;
    prompts have no positional embedding (published: a constant shift); any blocks may be prompted.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> single = SinglePrompt(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> single.model.n_learned  # a prefix of 5 blocks and 10 rows without a bias
        26880
    """

    excluded = ("multi_label", "query_block")

    head: Head = Head(kind="cosine")
    class_mask: ClassMask = "batch"
    lr: Positive = 5e-3
    train_mb_size: Count = 32
    buffer_batch_size: Count | None = 32
    train_epochs: Count = 1
    online_iter: Count = 3
    schedule: Schedule = "constant"
    new_optimizer: bool = False
