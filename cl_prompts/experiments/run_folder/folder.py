"""Folder of a run: created once, locked while written, always valid."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from shlex import quote
from typing import Any

import torch
from filelock import FileLock, Timeout

from cl_prompts import __version__
from cl_prompts.backbones.vit import pick_device
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.checkpoint import CHECKPOINT_FILE, Checkpoint, Checkpoints
from cl_prompts.experiments.run_folder.checksums import SUMS_FILE, sums
from cl_prompts.experiments.run_folder.files import FolderFiles, json_text, reason_of
from cl_prompts.experiments.run_folder.identity import (
    IDENTITY_FILE,
    check_identity,
    settings_identity,
)
from cl_prompts.experiments.run_folder.metrics_file import METRICS_FILE, MetricsFile, Row
from cl_prompts.experiments.run_folder.plans import check_begun
from cl_prompts.experiments.run_folder.runs import TIME
from cl_prompts.user_code import Trust

KEYS_FILE = "keys.npz"
LEARNED_FILE = "learned.safetensors"
_PACKAGES = ("torch", "torchvision", "timm", "avalanche-lib", "numpy")


def environment(device: str, command: str) -> dict[str, Any]:
    """Versions, machine and source revision of a run.

    Args:
        device: as asked for; what is recorded is the one that "auto" finds, and a GPU's model.
        command: what was typed to make the run.

    Raises:
        InputError: there is no such device.
    """
    used = pick_device(device)
    gpu = {"gpu": torch.cuda.get_device_name(used)} if used.type == "cuda" else {}
    return {
        "command": command,
        "time": time.strftime(TIME),
        "cl_prompts": __version__,
        "git_revision": _revision(),
        "python": sys.version.split()[0],
        # The package of Avalanche is called avalanche-lib.
        **{name.removesuffix("-lib"): version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "device": str(used),
        **gpu,
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


@cache
def _revision() -> str | None:
    """Git revision of the source tree as it was when this process first asked, marked if it has
    changes; None for an installed package, which may lie in a repository of something else."""
    source = Path(__file__).parents[3]
    if not (source / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def settings_of(folder: Path, trust_code: Trust = False) -> RunConfig:
    """Return the settings in the ``config.yaml`` of a folder.

    Raises:
        InputError: it is damaged, or names code that may not be imported or weights that would be
            fetched.
    """
    text = FolderFiles(folder).read_text("config.yaml")
    try:
        return RunConfig.of_folder(text, trust_code=trust_code)
    except InputError as error:
        raise InputError(f"{folder / 'config.yaml'} cannot be used: {error}") from error


class RunFolder(FolderFiles):
    """Writer of a run's files, each replaced in one step or only appended to.

    Use :meth:`create` or :meth:`resume`, and :meth:`close` it when done.

    Args:
        path: of the folder, which exists.

    Attributes:
        warnings: sentences for the summary, such as that a checkpoint was damaged.
        identity: of the run.

    Raises:
        InputError: another process writes it.
        RunError: nothing can be written to it.
    """

    def __init__(self, path: Path) -> None:
        """Lock the folder, and remove what a killed process has left half written."""
        super().__init__(path)
        self.warnings: list[str] = []
        self.identity: Mapping[str, Any] = {}
        self._checkpoints = Checkpoints(path)
        self._metrics = MetricsFile(path)
        # A lock of the system, so that it is free when its process is killed.
        self._lock = FileLock(path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"run folder {path} is being written by another process") from error
        except OSError as error:
            raise RunError(
                f"nothing can be written to run folder {path}: {reason_of(error)}"
            ) from error
        for half_written in path.glob(files.TEMPORARY):
            half_written.unlink()

    @classmethod
    def create(
        cls,
        path: Path,
        settings: RunConfig,
        identity: Mapping[str, Any],
        command: str,
    ) -> RunFolder:
        """Create a folder with environment, identity and configuration.

        Args:
            path: of the folder.
            settings: of the run.
            identity: of the run.
            command: what was typed to make it.

        Raises:
            InputError: it holds a run already, or another process writes it.
            RunError: the disk is full or read-only.
        """
        files.make_folder(path, exist_ok=True)
        folder = cls(path)
        with folder.closed_on_error():
            if (path / "config.yaml").exists():
                raise InputError(
                    f"run folder {path} exists already: choose another, or continue it with"
                    f" --resume {quote(str(path))}"
                )
            folder.write_json("environment.json", environment(settings.device, command))
            folder.write_json(IDENTITY_FILE, identity)
            folder.identity = identity
            # Last: with it a folder is one that can be resumed.
            folder.write_text("config.yaml", settings.to_yaml())
        return folder

    @classmethod
    def resume(cls, path: Path, trust_code: Trust = False) -> tuple[RunFolder, RunConfig]:
        """Open the folder of an unfinished run, and read its settings.

        Args:
            path: of the folder.
            trust_code: whether names of code in its settings may be imported, or which.

        Raises:
            InputError: there is no run, it is finished, another process writes it, a file of it is
                damaged, its settings name other code, or its identity changed.
            RunError: nothing can be written to it.
        """
        check_begun(path)
        # Nothing is locked or removed in a folder that is no run's, or is not trusted.
        settings = settings_of(path, trust_code)
        folder = cls(path)
        with folder.closed_on_error():
            if folder.summary().get("status") == "finished":
                raise InputError(f"run folder {path} is finished: there is nothing to resume")
            folder.identity = folder.read_json(IDENTITY_FILE)
            folder.check(settings_identity(settings))
            folder._note_changes(settings.device)
        return folder, settings

    def _note_changes(self, device: str) -> None:
        """Add to ``environment.json`` what changed since the run was last continued, such as the
        version of a library."""
        made = self.read_json("environment.json")
        last = dict(made)
        for changed in made.get("resumed_with", ()):
            last |= changed
        now = environment(device, made["command"])
        changed = {key: value for key, value in now.items() if value != last.get(key)}
        changed.pop("time", None)
        if changed:
            resumed = [*made.get("resumed_with", ()), changed]
            self.write_json("environment.json", {**made, "resumed_with": resumed})

    def check(self, identity: Mapping[str, Any]) -> None:
        """Refuse to continue under another identity than that in ``identity.json``.

        Raises:
            InputError: says what changed.
        """
        check_identity(self.identity, identity, str(self.path))

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Release the lock if the run cannot be begun."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def write_end(self, summary: Mapping[str, Any]) -> None:
        """Replace ``summary.json`` at the end of a run; before it ``SHA256SUMS``, if the run is
        finished.

        Raises:
            RunError: it cannot be written.
        """
        content = json_text(summary).encode()
        if summary["status"] == "finished":
            self.write_text(SUMS_FILE, sums(self.path, {"summary.json": content}))
        self.replace("summary.json", [content])

    def export(self, model: Any) -> None:
        """Write ``learned.safetensors``, the learned part of a :class:`ContinualModel`."""
        self.replace(LEARNED_FILE, [model.exported()])

    def summary(self) -> dict[str, Any]:
        """Summary as last written, empty if there is none.

        Raises:
            InputError: it is damaged.
        """
        return self.read_json("summary.json") if (self.path / "summary.json").is_file() else {}

    def command(self) -> str:
        """Command line that made this run, and perhaps others at the same time."""
        return str(self.read_json("environment.json")["command"])

    def add_metrics(self, rows: list[Row]) -> None:
        """Append (samples_seen, metric, scope, value) rows to ``metrics.csv``.

        Raises:
            RunError: it cannot be written.
        """
        with self.writing(METRICS_FILE):
            self._metrics.add(rows)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; the one before becomes ``checkpoint.previous``.

        Args:
            state: nested dictionaries, lists and tuples of tensors and plain values.

        Raises:
            InputError: the state holds something else.
            RunError: it cannot be written; the checkpoint stays as it is.
        """
        with self.writing(CHECKPOINT_FILE):
            # Metrics up to here go with the state, so that both are of one moment.
            self._checkpoints.save(Checkpoint(state, self._metrics.record()))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """State of the last intact checkpoint, or None; rows of ``metrics.csv`` after it are
        dropped.

        Raises:
            InputError: there are checkpoints, and none is intact; or ``metrics.csv`` is damaged.
        """
        found, warning = self._checkpoints.load()
        if warning is not None:
            self.warnings.append(warning)
        self._metrics.restore(None if found is None else found.metrics)
        return None if found is None else found.state

    def continue_metrics(self, record: Mapping[str, Any], parent: Path) -> None:
        """Begin ``metrics.csv`` with the rows of a parent, up to its checkpoint."""
        self.replace(METRICS_FILE, [(parent / METRICS_FILE).read_bytes()])
        self._metrics.restore(record)
