"""Loggers of a run: TensorBoard always, and the one named by the setting ``tracker``."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image
from tensorboard.plugins.hparams import summary_v2 as hparams
from torch.utils.tensorboard import SummaryWriter

from cl_prompts.errors import unknown
from cl_prompts.experiments.recipes.run_config import RunConfig, held_settings
from cl_prompts.user_code import extra, is_dotted, load_object

if TYPE_CHECKING:
    from cl_prompts.experiments.figures.style import Chart

#: a scalar, or an image of (height, width, 3) bytes
Value = float | np.ndarray
#: libraries with the interface of wandb
_ONLINE = ("trackio", "wandb")


class Logger(Protocol):
    """Logger of one run; your own logger needs the same two methods.

    Its constructor receives the run folder, all settings as in ``config.yaml``, and the samples
    seen when this process started: 0, or those of the checkpoint that a run resumes from.
    docs/reference/tensorboard.md lists tags and values.
    """

    def write(self, tag: str, value: Value, step: int) -> None:
        """Log a value; ``step``, the stream samples seen, never decreases."""

    def close(self) -> None:
        """Flush and close."""


Constructor = Callable[[Path, Mapping[str, object], int], Logger]


class TensorBoard:
    """TensorBoard's files in the run folder.

    Args:
        folder: run folder.
        start: samples seen when this process started; later points of earlier processes are hidden.

    Example:
        >>> import tempfile
        >>> logger = TensorBoard(Path(tempfile.mkdtemp()))
        >>> logger.write("loss/train", 0.5, 64)
        >>> logger.close()
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        self.folder = folder
        # A unique name: two processes may start in the same second.
        self._writer = SummaryWriter(
            str(folder),
            purge_step=start + 1 if start else None,
            filename_suffix=f".{secrets.token_hex(8)}",
        )

    def write(self, tag: str, value: Value, step: int) -> None:
        """Log a value; see :class:`Logger`."""
        if isinstance(value, np.ndarray):
            self._writer.add_image(tag, value, step, dataformats="HWC")
        else:
            self._writer.add_scalar(tag, value, step)

    def compare(self, settings: RunConfig) -> None:
        """Write the settings for the tab "HParams"."""
        plain = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in held_settings(settings).items()
        }
        # Torch's add_hparams writes booleans as numbers, and columns that hide those of other runs.
        row = hparams.hparams_pb(plain, trial_id="/".join(self.folder.parts[-3:]))
        writer: Any = self._writer.file_writer
        writer.add_summary(row)

    def close(self) -> None:
        """Flush the file."""
        self._writer.close()


class OnlineLogger:
    """Logger to Weights & Biases or trackio, with the same tags.

    The library's environment variables (``WANDB_PROJECT``, ``WANDB_MODE=offline`` and so on) set
    project, entity and mode; the default project is "cl-prompts". A resumed run continues the
    online run of its first process.
    """

    def __init__(
        self, library: str, folder: Path, settings: Mapping[str, object], start: int = 0
    ) -> None:
        self._library = extra(library, library, f"tracker={library}")
        name = "/".join(folder.resolve().parts[-3:])
        about: dict[str, object] = {"config": dict(settings), "resume": "allow"}
        if library == "wandb":
            quiet = self._library.Settings(console="off", silent=True)
            about |= {"dir": str(folder), "id": name.replace("/", "-"), "settings": quiet}
        project = os.environ.get(f"{library.upper()}_PROJECT", "cl-prompts")
        group = str(settings.get("recipe"))
        self._run = self._library.init(project=project, name=name, group=group, **about)
        if library == "wandb":
            # Its steps count calls: use samples seen as the axis.
            self._run.define_metric("*", step_metric="samples_seen")

    def write(self, tag: str, value: Value, step: int) -> None:
        """Log a value; see :class:`Logger`."""
        shown = self._library.Image(value) if isinstance(value, np.ndarray) else value
        self._run.log({tag: shown, "samples_seen": step})

    def close(self) -> None:
        """Finish the online run of this process."""
        self._run.finish()


def pixels(chart: Chart) -> np.ndarray:
    """Return a chart as (height, width, 3) bytes."""
    from cl_prompts.experiments.figures import style  # loads Altair

    return np.asarray(Image.open(io.BytesIO(style.figure(chart, "png"))).convert("RGB"))


def logger_class(name: str) -> Constructor:
    """Return the constructor of a logger, which takes folder, settings and start.

    Args:
        name: "trackio", "wandb", or ``"package.module:Class"``.

    Raises:
        InputError: the name is unknown, or its library is not installed.
    """
    if name in _ONLINE:
        extra(name, name, f"tracker={name}")
        return partial(OnlineLogger, name)
    if not is_dotted(name):
        raise unknown("tracker", name, _ONLINE)
    return load_object("tracker", name)
