"""Loggers that show a run: TensorBoard always, and beside it one that the setting ``tracker``
names."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from PIL import Image
from tensorboard.plugins.hparams import summary_v2 as hparams
from torch.utils.tensorboard import SummaryWriter

from cl_prompts.errors import InputError, RunError, unknown
from cl_prompts.experiments.recipes.run_config import RunConfig, held_settings
from cl_prompts.user_code import extra, is_dotted, load_object

if TYPE_CHECKING:
    from cl_prompts.experiments.figures import Chart

#: a scalar, a picture of (height, width, 3) bytes, or counts by the number of a prompt or class
Value = float | np.ndarray | Sequence[float]
#: libraries with the interface of wandb
_ONLINE = ("trackio", "wandb")


class Logger(Protocol):
    """Logger of one run; a logger of your own needs the same two methods.

    It is made with the run folder, all settings as ``config.yaml`` has them, and the samples seen
    when this process began: 0, or those of the checkpoint of a resumed run. Tags and values are
    those of docs/reference/tensorboard.md.
    """

    def write(self, tag: str, value: Value, step: int) -> None:
        """Show a value at a number of stream samples seen, which never falls."""

    def close(self) -> None:
        """Write what is open."""


class TensorBoard:
    """TensorBoard's files in the run folder.

    Args:
        folder: of the run.
        start: samples seen when this process began; later points of an earlier one are taken back.

    Example:
        >>> import tempfile
        >>> logger = TensorBoard(Path(tempfile.mkdtemp()))
        >>> logger.write("loss/train", 0.5, 64)
        >>> logger.close()
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        self.folder = folder
        # A name of its own: two processes may begin in one second.
        self._writer = SummaryWriter(
            str(folder),
            purge_step=start + 1 if start else None,
            filename_suffix=f".{secrets.token_hex(8)}",
        )

    def write(self, tag: str, value: Value, step: int) -> None:
        """Show a value; see :class:`Logger`."""
        if isinstance(value, np.ndarray):
            self._writer.add_image(tag, value, step, dataformats="HWC")
        elif isinstance(value, Sequence):
            self._write_counts(tag, value, step)
        else:
            self._writer.add_scalar(tag, value, step)

    def _write_counts(self, tag: str, counts: Sequence[float], step: int) -> None:
        total = sum(counts)
        if total:
            # Raw, since values are numbers of prompts, each its own bucket: TensorBoard's own
            # bucketing would join neighbours that have nothing in common.
            self._writer.add_histogram_raw(
                tag,
                0,
                len(counts),
                total,
                sum(i * c for i, c in enumerate(counts)),
                sum(i * i * c for i, c in enumerate(counts)),
                [i + 0.5 for i in range(len(counts))],
                list(counts),
                step,
            )

    def compare(self, settings: RunConfig) -> None:
        """Write the settings of the row of the tab "HParams"."""
        held = held_settings(settings)
        plain = {
            k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in held.items()
        }
        # Not torch's add_hparams, which writes truth values as numbers, and columns, of which
        # TensorBoard takes those of the first run that it finds.
        row = hparams.hparams_pb(plain, trial_id="/".join(self.folder.parts[-3:]))
        writer: Any = self._writer.file_writer
        writer.add_summary(row)

    def close(self) -> None:
        """Flush the file."""
        self._writer.close()


class OnlineLogger:
    """A run of Weights & Biases or trackio, with the same tags.

    Project, entity, mode and the like are those of the library's own variables (``WANDB_PROJECT``,
    ``WANDB_MODE=offline`` and so on); the project is "cl-prompts" by default. A resumed run
    continues the run of its first process.
    """

    def __init__(self, library: str, folder: Path, settings: Mapping[str, Any]) -> None:
        self._library = extra(library, library, f"tracker={library}")
        name = "/".join(folder.resolve().parts[-3:])
        about: dict[str, Any] = {
            "project": os.environ.get(f"{library.upper()}_PROJECT", "cl-prompts"),
            "name": name,
            "group": str(settings.get("recipe")),
            "config": dict(settings),
            "resume": "allow",
        }
        if library == "wandb":
            quiet = self._library.Settings(console="off", silent=True)
            about |= {"dir": str(folder), "id": name.replace("/", "-"), "settings": quiet}
        self._run = self._library.init(**about)
        if library == "wandb":
            # Its own steps count calls: curves get samples seen as their axis.
            self._run.define_metric("*", step_metric="samples_seen")

    def write(self, tag: str, value: Value, step: int) -> None:
        """Show a value; see :class:`Logger`."""
        shown: Any = value
        if isinstance(value, np.ndarray):
            shown = self._library.Image(value)
        elif isinstance(value, Sequence):
            bars = (list(value), list(range(len(value) + 1)))
            shown = self._library.Histogram(np_histogram=bars)
        self._run.log({tag: shown, "samples_seen": step})

    def close(self) -> None:
        """End this process's part of the run."""
        self._run.finish()


def pixels(chart: Chart) -> np.ndarray:
    """Return a chart as (height, width, 3) bytes."""
    from cl_prompts.experiments import figures  # here, since it loads Altair

    return np.asarray(Image.open(io.BytesIO(figures.png(chart))).convert("RGB"))


class Loggers:
    """Several loggers as one.

    Raises:
        RunError: a logger fails, whatever it raises.
    """

    def __init__(self, *loggers: Logger) -> None:
        self._loggers = loggers

    def write(self, tag: str, value: Value, step: int) -> None:
        """Show a value on all."""
        for logger in self._loggers:
            with _told(logger):
                logger.write(tag, value, step)

    def close(self) -> None:
        """Close all."""
        for logger in self._loggers:
            with _told(logger):
                logger.close()


@contextmanager
def _told(logger: Logger) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a library of others may raise anything
        raise RunError(
            f"the tracker {type(logger).__name__} failed ({type(error).__name__}: {error}): the run"
            " can be resumed, with tracker: null in its config.yaml without it"
        ) from error


def logger_class(name: str) -> Any:
    """What makes a logger, given folder, settings and start, by the name of a tracker or
    ``"package.module:Class"``.

    Raises:
        InputError: an unknown name, no class of a logger, or a library that is not installed.
    """
    if name in _ONLINE:
        extra(name, name, f"tracker={name}")
        return lambda folder, settings, start: OnlineLogger(name, folder, settings)
    if not is_dotted(name):
        raise unknown("tracker", name, _ONLINE)
    found = load_object("tracker", name)
    if not all(callable(getattr(found, method, None)) for method in ("write", "close")):
        raise InputError(f"tracker {name!r} does not have the methods write and close")
    return found
