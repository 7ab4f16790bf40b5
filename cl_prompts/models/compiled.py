"""Compiled second stage of forward passes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch


class CompiledDecoding:
    """``model.decode`` under ``torch.compile``, for any batch size.

    It compiles once for training and once for evaluation. A batch of one image is not compiled,
    since torch would compile again for it. Compute costs are counted outside the compiled code,
    which would depend on the counter's state.

    Args:
        model: a :class:`~cl_prompts.models.base.ContinualModel`.
        backend: of ``torch.compile``.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.models import PromptedViT
        >>> model = PromptedViT(create_backbone(), n_classes=3).eval()
        >>> model.observe_classes(torch.arange(3))
        >>> model.compiled = CompiledDecoding(model, backend="eager")
        >>> tuple(model(torch.rand(2, 3, 32, 32)).shape)
        (2, 3)
    """

    def __init__(self, model: Any, backend: str | Callable[..., object] = "inductor") -> None:
        self._model = model
        self._decode = torch.compile(model.decode, backend=backend, dynamic=True)

    def __call__(self, encoding: Any) -> Any:
        """The same as ``model.decode``."""
        sized = encoding.tokens if encoding.tokens is not None else encoding.parts["frozen"]
        if len(sized) < 2:
            return self._model.decode(encoding)
        # Copies, since code compiled for views is not valid for whole tensors.
        parts = {name: values.clone() for name, values in encoding.parts.items()}
        encoding = replace(encoding, parts=parts)
        counter = self._model.backbone.counter
        before = counter.counts()
        # From zero each time: compiled code depends on the counter's values.
        counter.reset()
        output = self._decode(encoding)
        counter.reset(before.plus(counter.counts()))
        return output

    def __deepcopy__(self, memo: object) -> None:
        """Return None: a copy of a model is not compiled."""
