"""Write the folder of a run: created once, locked while written, always valid."""

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
from cl_prompts.backbones.devices import pick_device
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.checkpoint import CHECKPOINT_FILE, Checkpoint, Checkpoints
from cl_prompts.experiments.run_folder.checksums import SUMS_FILE, sums
from cl_prompts.experiments.run_folder.files import (
    METRICS_FILE,
    FolderFiles,
    MetricsFile,
    Row,
    json_text,
    reason_of,
)
from cl_prompts.experiments.run_folder.identity import IDENTITY_FILE, changes, settings_identity
from cl_prompts.experiments.run_folder.plans import check_begun
from cl_prompts.experiments.run_folder.runs import TIME
from cl_prompts.user_code import Trust

KEYS_FILE = "keys.npz"
LEARNED_FILE = "learned.safetensors"
_PACKAGES = ("torch", "torchvision", "timm", "avalanche-lib", "numpy")


def environment(device: str, command: str) -> dict[str, Any]:
    """Return versions, machine and source revision of a run.

    Args:
        device: setting of the run; "auto" is resolved, and the model of a GPU recorded.
        command: command line that made the run.

    Raises:
        InputError: the device does not exist.
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
    """Return the git revision of the source tree, marked if it has uncommitted changes; None for
    an installed package."""
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
        InputError: the file is damaged, or names untrusted code or weights that would be
            downloaded.
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
        path: existing folder.

    Attributes:
        warnings: sentences for the summary, for example about a damaged checkpoint.
        identity: identity of the run.
        command: command line that made the run.

    Raises:
        InputError: another process writes to the folder.
        RunError: the folder is not writable.
    """

    def __init__(self, path: Path) -> None:
        """Lock the folder, and remove half-written files of a killed process."""
        super().__init__(path)
        self.warnings: list[str] = []
        self.identity: Mapping[str, Any] = {}
        self.command = ""
        self._checkpoints = Checkpoints(path)
        self._metrics = MetricsFile(path)
        # The system releases this lock when the process is killed.
        self._lock = FileLock(path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"another process is writing to run folder {path}") from error
        except OSError as error:
            raise RunError(f"cannot write to run folder {path}: {reason_of(error)}") from error
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
            path: folder to create.
            settings: settings of the run.
            identity: identity of the run.
            command: command line that made the run.

        Raises:
            InputError: the folder contains a run, or another process writes to it.
            RunError: the disk is full or read-only.
        """
        files.make_folder(path, exist_ok=True)
        folder = cls(path)
        with folder.closed_on_error():
            if (path / "config.yaml").exists():
                raise InputError(
                    f"run folder {path} exists already: choose another, or resume it with"
                    f" --resume {quote(str(path))}"
                )
            folder.write_json("environment.json", environment(settings.device, command))
            folder.write_json(IDENTITY_FILE, identity)
            folder.identity, folder.command = identity, command
            # Last: a folder with this file can be resumed.
            folder.write_text("config.yaml", settings.to_yaml())
        return folder

    @classmethod
    def resume(cls, path: Path, trust_code: Trust = False) -> tuple[RunFolder, RunConfig]:
        """Open the folder of an unfinished run, and read its settings.

        Args:
            path: folder of the run.
            trust_code: whether code named in its settings may be imported, or which code.

        Raises:
            InputError: there is no unfinished run, another process writes to it, a file is damaged,
                its settings name untrusted code, or its identity changed.
            RunError: the folder is not writable.
        """
        check_begun(path)
        # Before the lock: a folder that is not a run or not trusted must not change.
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
        """Add changes since the last process, such as library versions, to ``environment.json``."""
        made = self.read_json("environment.json")
        self.command = made["command"]
        last = dict(made)
        for changed in made.get("resumed_with", ()):
            last |= changed
        now = environment(device, self.command)
        changed = {key: value for key, value in now.items() if value != last.get(key)}
        changed.pop("time", None)
        if changed:
            resumed = [*made.get("resumed_with", ()), changed]
            self.write_json("environment.json", {**made, "resumed_with": resumed})

    def check(self, identity: Mapping[str, Any]) -> None:
        """Refuse to resume a run whose identity differs from that in ``identity.json``.

        Raises:
            InputError: something changed.
        """
        for change in changes(self.identity, identity):
            raise InputError(
                f"run folder {self.path} cannot be resumed: {change}. Undo the change, or start a"
                " new run."
            )

    @contextmanager
    def closed_on_error(self) -> Iterator[None]:
        """Release the lock if the block fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def write_end(self, summary: Mapping[str, Any]) -> None:
        """Write the final ``summary.json``, and before it ``SHA256SUMS`` of a finished run.

        Raises:
            RunError: a file cannot be written.
        """
        content = json_text(summary).encode()
        if summary["status"] == "finished":
            self.write_text(SUMS_FILE, sums(self.path, {"summary.json": content}))
        self.replace("summary.json", [content])

    def export(self, model: Any) -> None:
        """Write the learned part of a :class:`ContinualModel` to ``learned.safetensors``."""
        self.replace(LEARNED_FILE, [model.exported()])

    def summary(self) -> dict[str, Any]:
        """Return the last summary; empty if there is none.

        Raises:
            InputError: the file is damaged.
        """
        return self.read_json("summary.json") if (self.path / "summary.json").is_file() else {}

    def add_metrics(self, rows: list[Row]) -> None:
        """Append (samples_seen, metric, scope, value) rows to ``metrics.csv``.

        Raises:
            RunError: the file cannot be written.
        """
        with self.writing(METRICS_FILE):
            self._metrics.add(rows)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; the old one becomes ``checkpoint.previous``.

        Args:
            state: nested dictionaries, lists and tuples of tensors and plain values.

        Raises:
            InputError: the state contains other objects.
            RunError: the checkpoint cannot be written; the old one does not change.
        """
        with self.writing(CHECKPOINT_FILE):
            # State and metrics of the same time belong together.
            self._checkpoints.save(Checkpoint(state, self._metrics.record()))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the state of the last intact checkpoint, or None; drop later metrics.

        Raises:
            InputError: no checkpoint is intact, or ``metrics.csv`` is damaged.
        """
        found, warning = self._checkpoints.load()
        if warning is not None:
            self.warnings.append(warning)
        self._metrics.restore(None if found is None else found.metrics)
        return None if found is None else found.state

    def continue_metrics(self, record: Mapping[str, Any], parent: Path) -> None:
        """Start ``metrics.csv`` with the rows of a parent up to its checkpoint."""
        self.replace(METRICS_FILE, [(parent / METRICS_FILE).read_bytes()])
        self._metrics.restore(record)
