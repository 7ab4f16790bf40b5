"""NoRGa: HiDe-Prompt with a learned gate on the scores of its prefixes (NeurIPS 2024)."""

from torch import nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive
from cl_prompts.prompts.prefixes import GateActivation, GatedPrefixes
from cl_prompts.strategies.hide_prompt import HiDePrompt
from cl_prompts.strategies.plugins.head_alignment import HeadAlignment


class NoRGa(HiDePrompt):
    """NoRGa, HiDe-Prompt with non-linear residual gates (NeurIPS 2024). One class per image.

    Source: "Mixture of Experts Meets Prompt-Based Continual Learning", Le et al., arXiv 2405.14124.
    The scores of a prefix pass through a gate before the softmax, ``s + a2 tanh(a1 s)``, with a1
    and a2 per block, initially 1. Gates train with the first task's prompts and are then frozen.

    Defaults are the published ones for CIFAR-100. They differ from HiDe-Prompt's in the batch size
    (and so in all rates), in covariances as statistics and in the alignment's rate. Deviations:
    those of :class:`~cl_prompts.strategies.hide_prompt.HiDePrompt`.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> norga = NoRGa(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> [tuple(gate.scale.shape) for gate in norga.model.pools[0].gates]
        [(2,), (2,), (2,), (2,), (2,)]
    """

    own_plugins = (HeadAlignment(lr=0.05, samples=640, statistics="covariance"),)

    activation: GateActivation = "tanh"
    """Activation of the gates: ``"tanh"``, ``"sigmoid"`` (published for ViTs trained with labels on
    ImageNet-21k), ``"gelu"``, ``"relu"`` or ``"identity"``."""
    identity_lr: Positive = 5e-4 * 128 / 256
    # 0.03 * 128 / 256 for prompts, a tenth of it for the head.
    lr: Positive = 0.0015
    prompt_lr: Positive | None = 0.015
    train_mb_size: Count = 128

    def make_pool(self, backbone: FrozenViT, size: int) -> nn.Module:
        """Make the prefixes, and a gate for each block."""
        pool = super().make_pool(backbone, size)
        return GatedPrefixes(pool, self.prompted_blocks, activation=self.activation)
