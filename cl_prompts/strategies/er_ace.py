"""ER-ACE: replay; the loss of stream samples has only the classes of their batch (ICLR 2022)."""

from torch import Tensor

from cl_prompts.checks import Count
from cl_prompts.losses.classification import batch_classes, masked_cross_entropy
from cl_prompts.models.base import Output
from cl_prompts.strategies.base.head_training import HeadStrategy
from cl_prompts.strategies.base.stream import Batch


class ERACE(HeadStrategy):
    """Experience replay with asymmetric cross-entropy (ER-ACE; Caccia et al., ICLR 2022).

    Source: arXiv 2104.05025. ``L = CE(stream; classes of the stream batch) + CE(buffer; classes
    seen)``: a batch of new classes does not lower the logits of old classes, which compete only in
    the second term, where they have samples. Without replayed samples there is only the first term.

    Settings and deviations from the Si-Blurry code are those of
    :class:`~cl_prompts.strategies.ER`: frozen ViT, head by Adam 5e-3, 64 stream and
    32 buffer samples, 3 updates a batch, buffer 2000 (paper: SGD 0.1 on a ResNet, 10 and 10
    samples). One class per image, since the loss is a softmax.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> ace = ERACE(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> ace.buffer.size, ace.replay.batch_size
        (2000, 32)
    """

    excluded = ("multi_label", "class_mask", "loss_norm")
    weighs_alike = False

    buffer_size: Count = 2000
    """Samples in the reservoir."""

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the sum of both cross-entropies, or the first while the buffer is empty."""
        n = batch.n_stream
        logits = output.logits
        labels = batch.labels
        # Asymmetric: stream samples compete only among the classes of their batch.
        present = batch_classes(labels[:n], logits.shape[1])
        loss = masked_cross_entropy(logits[:n], labels[:n], present)
        if len(batch.slots) == 0:
            return loss
        # Replayed samples compete among all seen classes.
        return loss + masked_cross_entropy(logits[n:], labels[n:], self.model.seen)
