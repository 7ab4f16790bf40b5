"""Experience replay: stream and reservoir samples in each batch (NeurIPS 2019)."""

from cl_prompts.checks import Size
from cl_prompts.strategies.base.head_training import HeadStrategy


class ER(HeadStrategy):
    """Experience replay (ER; Rolnick et al., NeurIPS 2019), as in the Si-Blurry code.

    Source: arXiv 1811.11682. Every update joins the stream batch with ``buffer_batch_size``
    distinct samples drawn uniformly from a reservoir, with new augmentations:
    ``L = CE(stream and buffer)``, the mean over both, over the classes seen so far. The reservoir
    (Vitter 1985) stores references instead of images, and each stream sample is in it with the same
    probability. With several labels, binary cross-entropy, each sample over the classes annotated
    in its task.

    Published settings (defaults): frozen ViT, head by Adam 5e-3 constant, 64 stream and 32 buffer
    samples, 3 updates a batch, buffer 2000. Deviations from the published code: no CutMix; the
    reservoir decides for each sample (published: the batch that fills it overwrites its last slot);
    one augmentation per image instead of one per batch.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> er = ER(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> er.buffer.size, er.replay.batch_size
        (2000, 32)
    """

    buffer_size: Size = 2000
    """Samples in the reservoir; with 0 the method is a linear probe, or fine-tuning."""
