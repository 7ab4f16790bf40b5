"""L2P: prompts at the input, selected by keys (CVPR 2022)."""

from typing import Literal

from torch import nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative, Positive, whole_number
from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.pools import PrependedTokenPool
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_selectors import TaskSlots
from cl_prompts.strategies.base.prompt import Batchwise, PoolStrategy, batchwise


class L2P(PoolStrategy):
    """Learning to Prompt (Wang et al., CVPR 2022, arXiv 2112.08654).

    The query q of an image is its final-norm class token in the unprompted frozen ViT. The k of M
    keys nearest by cosine select their prompts: k * n tokens, prepended to the sequence before
    block 0 for all blocks. A linear head reads the mean of their outputs after the final norm.
    Loss: cross-entropy over the task's classes minus ``pull_weight * mean_b sum_{j in top-k}
    cos(q_b, K_j)``, the only term that trains keys.

    Defaults are the PyTorch port's for CIFAR-100: M, n, k = 10, 5, 5; Adam at 0.03 * 16 / 256 =
    0.001875, the rate in effect; batch 16, 5 epochs a task, a fresh optimizer for each, gradient
    norm at most 1.

    Deviations from all published code: no batchwise prompt at test time (see ``batchwise_prompt``),
    so expect lower numbers than published; test scores are over the seen classes, without untrained
    rows. From the port: prompts have no positional embedding (a constant shift, which the JAX code
    does not have either). The paper's optional penalty on frequent prompts (section 4.1) is left
    out: no published code has it.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> l2p = L2P(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(l2p.model.pools[0].values.shape)  # prompts, tokens, width
        (10, 5, 128)
    """

    pool_size: Count = 10
    """Number of prompts M."""
    prompt_length: Count = 5
    """Tokens n per prompt."""
    top_k: Count = 5
    """Prompts k per image."""
    key_choice: Literal["nearest", "slots"] = "nearest"
    """Selection in training: ``"nearest"``, as in tests; ``"slots"``: the task's own k prompts,
    initialised with the previous task's (the code's "prompt mask" and "shared pool"; nearest if
    slots exceed the pool or no boundary is announced)."""
    copy_keys: bool = False
    """With slots, initialise a task's keys with the previous task's as well."""
    batchwise_prompt: Batchwise = "off"
    """The same prompts for all images of a batch, by majority vote: ``"off"``, in ``"training"``,
    or ``"always"``, as published. **"always" leaks the task at test time**: test batches hold one
    task each, so the vote reveals it, and predictions depend on the other samples of the batch. Do
    not compare such numbers with others."""
    pull_weight: NotNegative = 0.1
    """Weight lambda of the term that trains keys; Adam cancels it, except in gradient clipping."""
    lr: Positive = 0.001875
    train_mb_size: Count = 16

    def check_settings(self) -> None:
        """Refuse more prompts per image than there are, and keys copied without slots."""
        super().check_settings()
        whole_number("top_k", self.top_k, 1, self.pool_size, of="pool_size")
        if self.copy_keys and self.key_choice != "slots":
            raise InputError("copy_keys needs key_choice=slots: set it, or leave copy_keys out")

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Prepend the tokens of the ``top_k`` nearest prompts, and classify their mean output."""
        keys = NearestKeys(self.pool_size, backbone.dim, k=self.top_k, initial=self.initial)
        selector: nn.Module = keys
        if self.key_choice == "slots":
            # Disjoint slots of k prompts, one per announced task.
            selector = TaskSlots(keys, copy_keys=self.copy_keys)
        pool = PrependedTokenPool(
            self.pool_size,
            self.prompt_length,
            backbone.dim,
            initial=self.initial,
            copy_slots=self.top_k if self.key_choice == "slots" else 0,
        )
        return PromptedViT(
            backbone,
            n_classes,
            selector=batchwise(selector, self.batchwise_prompt),
            pools=[pool],
            head_input="prompt",
        )
