"""Experience replay: a linear head, or the whole ViT, on stream and memory together."""

from __future__ import annotations

from typing import Any

from cl_prompts.strategies.fine_tuning import FineTuning


class ExperienceReplay(FineTuning):
    """Experience replay (ER; Rolnick et al., NeurIPS 2019, arXiv 1811.11682; here as in the
    Si-Blurry code).

    Every update joins the stream batch with ``buffer_batch_size`` distinct samples drawn uniformly
    from a reservoir, read again with a fresh augmentation: ``L = CE(stream and memory)``, the plain
    mean over both, over the classes seen so far. The reservoir (Vitter 1985) holds every sample of
    the stream with the same probability, and references, not images. Multi-label: binary
    cross-entropy, each sample over the classes that were annotated in the task it comes from.

    Published settings (defaults): frozen ViT, head by Adam 5e-3 constant, 64 stream and 32 memory
    samples, 3 updates a batch, memory 2000. Deviations from the published code: no CutMix; the
    reservoir decides sample by sample (there, the batch that fills it overwrites its last slot);
    one augmentation per image instead of one per batch.

    Args:
        buffer_size: samples in the reservoir; with 0 the method is a linear probe, or fine-tuning.
        backbone_lr: learning rate of the backbone; 0 keeps it frozen.
        weight_decay: of AdamW, which without it is Adam.
        **common: see :class:`~cl_prompts.strategies.FineTuning` and
            :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
    """

    def __init__(
        self,
        *,
        buffer_size: int = 2000,
        backbone_lr: float = 0.0,
        weight_decay: float = 0.0,
        **common: Any,
    ) -> None:
        super().__init__(
            buffer_size=buffer_size, backbone_lr=backbone_lr, weight_decay=weight_decay, **common
        )
