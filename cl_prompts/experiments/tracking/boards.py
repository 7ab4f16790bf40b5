"""Boards that curves, pictures and results of a run are shown on: TensorBoard always, and beside it
one that the setting ``tracker`` names."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from cl_prompts.errors import InputError, RunError, unknown
from cl_prompts.experiments.recipes.names import is_dotted
from cl_prompts.experiments.run_folder.files import FolderFiles, digest_of_json
from cl_prompts.experiments.tracking.tensorboard_layout import add_layout, add_results
from cl_prompts.own_code import extra, load_object

if TYPE_CHECKING:
    from cl_prompts.experiments.figures import Chart

#: settings and results that a board compares
Values = Mapping[str, Any]


class Board:
    """Board of one run; a tracker of your own derives from it, and overrides what it shows.

    Tags and values are those of docs/tensorboard.md. A step is a number of stream samples seen, and
    never falls. Whatever a board raises ends the run, which can be resumed.

    Args:
        folder: of the run.
        start: samples seen when this process began: 0, or those of the checkpoint of a resumed run.

    Attributes:
        remedy: what may help where it fails, for the end of a sentence.

    Example:
        >>> class Printer(Board):
        ...     def scalar(self, tag, value, step):
        ...         print(tag, value, step)
        >>> Printer(Path("runs/mine")).scalar("accuracy/anytime", 0.5, 64)
        accuracy/anytime 0.5 64
    """

    remedy = ""

    def __init__(self, folder: Path, start: int = 0) -> None:
        self.folder = folder
        self.start = start

    def begin(self, settings: Values, measure: str) -> None:
        """Begin to show the run.

        Args:
            settings: all of them, as ``config.yaml`` has them.
            measure: "accuracy" or "map".
        """

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point to a curve."""

    def picture(self, tag: str, chart: Chart, step: int) -> None:
        """Show a picture."""

    def histogram(self, tag: str, counts: Sequence[float], step: int) -> None:
        """Show counts by the number of a prompt or class."""

    def results(self, settings: Values, final: Mapping[str, float], step: int) -> None:
        """Show the final numbers of a finished run, and the settings in which runs differ."""

    def close(self) -> None:
        """Write what is open."""


class TensorBoard(Board):
    """TensorBoard's files in the run folder.

    Example:
        >>> import tempfile
        >>> board = TensorBoard(Path(tempfile.mkdtemp()))
        >>> board.scalar("loss/train", 0.5, 64)
        >>> board.close()
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        """Open a file; points of an earlier process beyond ``start`` are taken back."""
        super().__init__(folder, start)
        # A name that cannot be foreseen: nobody has put a link there.
        self._writer = SummaryWriter(
            str(folder),
            purge_step=start + 1 if start else None,
            filename_suffix=f".{secrets.token_hex(8)}",
        )

    def begin(self, settings: Values, measure: str) -> None:
        """Lay the curves of all runs together."""
        if not self.start:
            add_layout(self._writer, measure)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        self._writer.add_scalar(tag, value, step)

    def picture(self, tag: str, chart: Chart, step: int) -> None:
        """Show a picture."""
        self._writer.add_image(tag, pixels(chart), step, dataformats="HWC")

    def histogram(self, tag: str, counts: Sequence[float], step: int) -> None:
        """Show a histogram with the number of a prompt or class as value, its count as height."""
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

    def results(self, settings: Values, final: Mapping[str, float], step: int) -> None:
        """Write the row of the tab "HParams"."""
        add_results(self._writer, self.folder, settings, final, step)

    def close(self) -> None:
        """Flush the file."""
        self._writer.close()


class WeightsAndBiases(Board):
    """A run of Weights & Biases, with the same tags; its files lie in ``wandb`` in the run folder.

    Project, entity, mode and the like are those of wandb's own variables (``WANDB_PROJECT``,
    ``WANDB_MODE=offline`` and so on); the project is "cl-prompts" by default. A resumed run goes on
    with the run of its first process.

    Raises:
        InputError: wandb is not installed.
    """

    remedy = ", or with WANDB_MODE=offline in the environment, which needs no account"

    def __init__(self, folder: Path, start: int = 0) -> None:
        super().__init__(folder, start)
        self._wandb = extra("wandb", "wandb", "tracker=wandb")
        self._run: Any = None

    def begin(self, settings: Values, measure: str) -> None:
        """Begin or resume the run."""
        if (self.folder / "wandb").is_symlink():
            raise InputError(
                f"{self.folder / 'wandb'} is a link, through which nothing is written: remove it"
            )
        # The folder's own mark, which a resumed run finds again, on another machine, too, and a
        # copied folder shares.
        about = FolderFiles(self.folder).read_json("environment.json")
        first = {key: about[key] for key in about if key not in ("resumed_with", "sha256")}
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "cl-prompts"),
            dir=str(self.folder),
            id=digest_of_json(first)[:16],
            name="/".join(self.folder.resolve().parts[-3:]),
            group=str(settings.get("recipe")),
            config=dict(settings),
            resume="allow",
            settings=self._wandb.Settings(console="off", silent=True),
        )
        # Its own steps count calls: curves get samples seen as their axis.
        self._run.define_metric("samples_seen")
        self._run.define_metric("*", step_metric="samples_seen")

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a point to a curve."""
        self._run.log({tag: value, "samples_seen": step})

    def picture(self, tag: str, chart: Chart, step: int) -> None:
        """Show a picture."""
        shown = self._wandb.Image(pixels(chart))
        self._run.log({tag: shown, "samples_seen": step})

    def histogram(self, tag: str, counts: Sequence[float], step: int) -> None:
        """Show a histogram."""
        bars = (list(counts), list(range(len(counts) + 1)))
        shown = self._wandb.Histogram(np_histogram=bars)
        self._run.log({tag: shown, "samples_seen": step})

    def results(self, settings: Values, final: Mapping[str, float], step: int) -> None:
        """Put the final numbers into the summary."""
        self._run.summary.update({f"final/{name}": value for name, value in final.items()})

    def close(self) -> None:
        """End this process's part of the run."""
        if self._run is not None:
            self._run.finish()
            self._run = None


def pixels(chart: Chart) -> np.ndarray:
    """Return a chart as (height, width, 3) grey levels."""
    from cl_prompts.experiments.figures import png  # here, since it loads Altair

    return np.asarray(Image.open(io.BytesIO(png(chart))).convert("RGB"))


class Boards:
    """The boards of a run: each call goes to TensorBoard, and to a further one.

    Args:
        first: TensorBoard.
        further: of the setting ``tracker``; None for none.

    Raises:
        RunError: the further board fails, whatever it raises.

    Example:
        >>> shown = Board(Path("runs/mine"))
        >>> Boards(shown, shown).scalar("loss/train", 0.5, 64)
    """

    def __init__(self, first: Board, further: Board | None = None) -> None:
        self._first = first
        self._further = further

    def __getattr__(self, name: str) -> Callable[..., None]:
        """A method of both, of those that :class:`Board` has."""
        if name.startswith("_") or not hasattr(Board, name):
            raise AttributeError(name)

        def called(*args: Any) -> None:
            getattr(self._first, name)(*args)
            if self._further is None:
                return
            try:
                getattr(self._further, name)(*args)
            except Exception as error:  # a library of others may raise anything
                kind = type(self._further).__name__
                raise RunError(
                    f"the tracker {kind} failed ({type(error).__name__}: {error}): the run can be"
                    " resumed, with tracker: null in its config.yaml without it"
                    f"{self._further.remedy}"
                ) from error

        return called


def _refuse_settings_here() -> None:
    # wandb obeys them, and they may lie in a folder of images that somebody downloaded.
    for file in (Path("wandb", "settings"), Path(".wandb", "settings")):
        if os.path.lexists(file):
            raise InputError(
                f"{file} in the current folder would decide where the run is sent to: remove it, or"
                " start elsewhere, with WANDB_ENTITY, WANDB_PROJECT, WANDB_MODE and the like in the"
                " environment"
            )


def board_class(name: str) -> type[Board]:
    """The class of a tracker by its name, or by ``"package.module:Class"``.

    Raises:
        InputError: an unknown name, a class that does not derive from :class:`Board`, a library
            that is not installed, or settings of wandb in the current folder.
    """
    if name == "wandb":
        extra("wandb", "wandb", "tracker=wandb")
        _refuse_settings_here()
        return WeightsAndBiases
    if not is_dotted(name):
        raise unknown("tracker", name, ["wandb"])
    found = load_object("tracker", name)
    if not (isinstance(found, type) and issubclass(found, Board)):
        raise InputError(
            f"tracker {name!r} is no class derived from {Board.__module__}.{Board.__name__}"
        )
    return found
