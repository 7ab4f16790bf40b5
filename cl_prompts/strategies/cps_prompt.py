"""CPS-Prompt: CODA-Prompt on half of the patches, chosen by the query pass (CVPR 2026)."""

from __future__ import annotations

from cl_prompts.checks import Part, Size
from cl_prompts.strategies.coda_prompt import CODAPrompt


class CPSPrompt(CODAPrompt):
    """CPS-Prompt (CVPR 2026): CODA-Prompt trained on half of the patches. One class per image.

    The query pass scores the patches of an image
    (:class:`~cl_prompts.prompts.patches.PatchSelection`); a prompted pass in training computes half
    of them, drawn by their scores. In the last fifth of a task's epochs the head alone trains, on
    all patches, as tests do. If no task is announced, or with one epoch, the last of several
    updates on a stream batch trains the head alone.

    Deviations from the published code: scores are standardised over the patches of an image, with
    temperature 0.5 (published: not standardised, temperature 1); settings of prompts and optimizer
    are CODA-Prompt's.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> cps = CPSPrompt(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> cps.model.patches.count(16), cps.model.patches.dense_epochs
        (8, 4)
    """

    excluded = ("multi_label",)

    tokens: Part = 0.5
    dense_epochs: Size | None = None
