"""ER-ACE: replay whose new samples compete among their own classes alone (ICLR 2022)."""

from __future__ import annotations

from torch import Tensor

from cl_prompts.checks import Size
from cl_prompts.losses.classification import batch_classes, masked_cross_entropy
from cl_prompts.models.base import Output
from cl_prompts.strategies.base.head_training import HeadStrategy
from cl_prompts.strategies.base.stream import Batch


class ERACE(HeadStrategy):
    """Experience replay with asymmetric cross-entropy (ER-ACE; Caccia et al., ICLR 2022, arXiv
    2104.05025).

    ``L = CE(stream; classes of the stream batch) + CE(buffer; classes seen)``: a batch of new
    classes does not push the logits of old ones down, since these compete in the buffer's term
    alone, where they have samples of their own. Without replayed samples the first term is left.

    Settings and deviations from the Si-Blurry code are those of
    :class:`~cl_prompts.strategies.ER`: frozen ViT, head by Adam 5e-3, 64 stream and
    32 buffer samples, 3 updates a batch, buffer 2000 (paper: SGD 0.1 on a ResNet, 10 and 10
    samples). One class per image: several have no softmax in which to compete.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> ace = ERACE(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> ace.buffer.size, ace.replay.batch_size
        (2000, 32)
    """

    excluded = ("multi_label", "class_mask", "loss_norm")
    needs_buffer = True
    weighs_alike = False

    buffer_size: Size = 2000
    """Samples in the reservoir, at least 1."""

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """The two cross-entropies; the first alone while the buffer is empty."""
        n = batch.n_stream
        logits = output.logits
        labels = batch.labels
        # New samples compete among the classes of their batch alone, so that learning them does not
        # push down the logits of old classes (asymmetric cross-entropy).
        present = batch_classes(labels[:n], logits.shape[1])
        loss = masked_cross_entropy(logits[:n], labels[:n], present)
        if len(batch.slots) == 0:
            return loss
        # Replayed samples compete among all classes seen: they tell new classes from old ones.
        return loss + masked_cross_entropy(logits[n:], labels[n:], self.model.seen)
