"""MISA: DualPrompt with warmed-up prompts; its loss has the batch's classes only (ICLR 2025)."""

from pathlib import Path

from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, NotNegative
from cl_prompts.losses.classification import ClassMask
from cl_prompts.losses.mvp import key_distance
from cl_prompts.models.base import Output
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.files import read_prompts, set_initial
from cl_prompts.prompts.pools import Blocks, SharedTokens, TokenPool, check_blocks
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_selectors import TaskSlots
from cl_prompts.strategies.base.prompt import PromptStrategy, slots_for

#: names of the prompts in a warm-up's file, and the released files in a folder
NAMES = {"g_prompts": "g_prompt.pt", "e_prompts": "e_prompt.pt"}


class MISA(PromptStrategy):
    """MISA, mask and initial session adaptation (ICLR 2025). One class per image.

    Source: "Advancing Prompt-Based Methods for Replay-Independent General Continual Learning",
    arXiv 2503.00677.

    DualPrompt in the form of the Si-Blurry comparison: context tokens for all images in early
    blocks (G), one entry of a pool of ten by nearest key in later blocks (E), a linear head. MISA
    adds a warm-up of the prompts on other data (``initial_prompts``; None: without warm-up), and
    only the classes of the batch compete in the loss: cross-entropy over them plus
    ``pull_weight * mean_b (1 - cos(q_b, k_b))``. Each announced task trains its own entry.

    ``examples/warm_up.py`` runs a warm-up, once per backbone, on classes outside all streams.

    Deviations from the published code: there, the entry of a task is counted from its own slot, so
    only entry 0 is ever trained (``slot_offset=False``); tests select among the keys of all entries
    (``all_keys``) and score unseen classes; tasks advance at boundaries that the stream does not
    announce; tokens have the class token's positional embedding, a constant shift.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> misa = MISA(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(misa.model.pools[1].values.shape)  # prompts, blocks, tokens, width
        (10, 3, 20, 128)
    """

    excluded = ("multi_label",)

    n_tasks: Count | None = None
    """Number of tasks, if known."""
    pool_size: Count | None = None
    """E-prompts; None for the number of initial prompts, or of tasks, or 10 if both are unknown."""
    g_blocks: Blocks = (0, 1)
    """Blocks with the G-prompt, 0-based."""
    g_length: Count = 10
    """Context tokens of the G-prompt per block."""
    e_blocks: Blocks = (2, 3, 4)
    """Blocks with E-prompts."""
    e_length: Count = 20
    """Context tokens of an E-prompt per block."""
    initial_prompts: str | None = None
    """File that ``examples/warm_up.py`` wrote, or a folder with the released ``g_prompt.pt`` and
    ``e_prompt.pt``; None for U(-1, 1)."""
    pull_weight: NotNegative = 1.0
    """Weight of the distance between queries and their keys."""
    slot_offset: bool = True
    """Whether each announced task trains its own E-prompt. False, as released: it trains its own
    key, but entry 0 of the prompts."""
    all_keys: bool = False
    """Let untrained E-prompts compete at test time, as published."""
    class_mask: ClassMask = "batch"
    train_mb_size: Count = 32
    buffer_batch_size: Count | None = 32
    online_iter: Count = 3
    new_optimizer: bool = False

    def has_entry_a_task(self, n_tasks: int) -> bool:
        """Return whether each task has its own E-prompt."""
        return super().has_entry_a_task(n_tasks) and self.initial_prompts is None

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build shared G-tokens and the pool of E-tokens; the head reads the class token."""
        check_blocks(backbone.depth, g_blocks=self.g_blocks, e_blocks=self.e_blocks)
        given = {name: self._given(name) for name in NAMES}
        size = slots_for(self.pool_size, self.n_tasks)
        if self.pool_size is None and given["e_prompts"] is not None:
            size = len(given["e_prompts"])
        dim = backbone.dim
        # As in the Si-Blurry comparison: tokens are removed after each block.
        g_prompts = SharedTokens(self.g_blocks, self.g_length, dim)
        e_prompts = TokenPool(size, self.e_blocks, self.e_length, dim)
        e_prompts.initial = "uniform"
        for name, pool in (("g_prompts", g_prompts), ("e_prompts", e_prompts)):
            initial = given[name]
            if initial is None:
                nn.init.uniform_(pool.values, -1, 1)
            else:
                set_initial(pool.values, initial)
        keys = NearestKeys(size, dim, initial="uniform")
        return PromptedViT(
            backbone,
            n_classes,
            # first_rows: the release counts entries from the task's own slot, so the entry is 0.
            selector=TaskSlots(keys, all_rows=self.all_keys, first_rows=not self.slot_offset),
            pools=[g_prompts, e_prompts],
        )

    def _given(self, name: str) -> Tensor | None:
        """Read initial prompts by their name in :data:`NAMES`, if given."""
        if self.initial_prompts is None:
            return None
        path = Path(self.initial_prompts)
        return read_prompts(path / NAMES[name] if path.is_dir() else path, name)

    def prompt_loss(self, output: Output) -> Tensor:
        """Return the distance between queries and their keys."""
        if self.routed:
            return super().prompt_loss(output)
        assert output.selection is not None
        return self.pull_weight * key_distance(self.model.selector.matched(output.selection))
