"""Trained models as files that need no cl-prompts, checked against their runs."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.trained.loading import TrainedRun

#: accuracies of model and file may differ by so much: one test image in a thousand
TOLERANCE = 1e-3
_TRACED = 3  # images in the example batch; other batches must give the same logits
_CLOSE = 1e-4


class Scorer(nn.Module):
    """A model as a plain function of images.

    Example:
        >>> Scorer(nn.Flatten())(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 48])
    """

    def __init__(self, model: nn.Module) -> None:
        """Keep the model."""
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 3, size, size) in [0, 1] -> logits (batch, classes)."""
        logits: Tensor = self.model(images)
        return logits


def traced(trained: TrainedRun) -> torch.jit.ScriptModule:
    """The model of a run as TorchScript, for batches of any size.

    Raises:
        InputError: the method's forward pass depends on the batch it was traced with.
    """
    unable = InputError(
        f"strategy {label_of(trained.settings.strategy)} cannot be exported: its forward pass is no"
        " fixed graph; use load_run in Python"
    )
    size = trained.image_size
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * _TRACED + 1, 3, size, size, generator=generator)
    images = images.to(trained.strategy.device)
    model = Scorer(trained.strategy.model).eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: what it warns of is checked below
            script = torch.jit.trace(model, images[:_TRACED], check_trace=False)
            # A graph may hold choices that are right for the traced batch alone: try other sizes.
            same = all(
                torch.allclose(script(some), model(some), rtol=0, atol=_CLOSE)
                for some in (images, images[:1])
            )
    except RuntimeError as error:
        raise unable from error
    if not same:
        raise unable
    return script


def export_torch(trained: TrainedRun, out: Path) -> tuple[float, float]:
    """Write the model of a run as TorchScript, once it scores on the run's test set as the run did.

    ``torch.jit.load(out)`` maps images (batch, 3, size, size) in [0, 1] to logits; those of classes
    never seen are -inf (0 with several labels per image).

    Args:
        trained: the run; its data set has to be there.
        out: file to write.

    Returns:
        Recorded score of the run (A_last, or the last mAP), and score of the file.

    Raises:
        InputError: the method cannot be exported, the data set is not there, or the scores differ.
    """
    results = trained.run.summary["results"]
    recorded = results.get("map_last" if trained.run.multi_label else "a_last")
    script = traced(trained)
    scored = trained.evaluate(script)
    if recorded is None or not abs(scored - recorded) <= TOLERANCE:
        before = "nothing" if recorded is None else f"{100 * recorded:.2f} %"
        raise InputError(
            f"the exported model scores {100 * scored:.2f} % on the test set, and the run recorded"
            f" {before}: nothing was written"
        )
    files.replace(out, [script.save_to_buffer()])
    return recorded, scored
