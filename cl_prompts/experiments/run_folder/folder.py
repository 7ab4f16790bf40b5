"""Write the folder of a run: created once, locked while written, always valid.

A checkpoint holds tensors, plain values and containers of them. It is read with
``weights_only=True``, so reading it executes no code.
"""

from __future__ import annotations

import io
import os
import pickle
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from cl_prompts.backbones.devices import pick_device
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.files import SUMS_FILE, csv_text, json_text, sums
from cl_prompts.experiments.run_folder.identity import IDENTITY_FILE, changes, package_hash
from cl_prompts.experiments.run_folder.runs import METRICS_FILE
from cl_prompts.versions import __version__

Row = tuple[int, str, str, float]
METRICS_HEADER = "samples_seen,metric,scope,value\n"
ENVIRONMENT_FILE = "environment.json"
CHECKPOINT_FILE = "checkpoint"
_PACKAGES = ("torch", "torchvision", "timm", "avalanche-lib", "numpy")


def environment(device: str, command: str) -> dict[str, object]:
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
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cl_prompts": f"{__version__}+{package_hash()[:8]}",
        "git_revision": _revision(),
        "python": platform.python_version(),
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
        done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


class RunFolder:
    """Writer of a run's files, each replaced in one step or only appended to; see :meth:`opened`.

    Args:
        path: locked folder.
        command: command line that made the run.
    """

    def __init__(self, path: Path, command: str) -> None:
        self.path = path
        self.command = command

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, settings: RunConfig, identity: Mapping[str, object], command: str
    ) -> Iterator[RunFolder]:
        """Lock a folder; begin a run in it, or check that its unfinished run can be resumed.

        Args:
            path: run folder, made if it is missing.
            settings: settings of the run.
            identity: identity of the run.
            command: command line, for a new run.

        Raises:
            InputError: another process writes to the folder, its identity changed, or a file is
                damaged.
        """
        with files.locked(path, f"another process is writing to run folder {path}"):
            for half_written in path.rglob(files.TEMPORARY):
                half_written.unlink()
            file = path / ENVIRONMENT_FILE
            if (path / "config.yaml").exists():
                for change in changes(files.read_json(path / IDENTITY_FILE), identity):
                    raise InputError(
                        f"run folder {path} cannot be resumed: {change}. Undo the change, or start"
                        " a new run."
                    )
                made = files.read_json(file)
                command = made["command"]
                resumed = [*made.get("resumed_with", []), environment(settings.device, command)]
                files.write_json(file, {**made, "resumed_with": resumed})
            else:
                files.write_json(file, environment(settings.device, command))
                files.write_json(path / IDENTITY_FILE, identity)
                # Last: a folder with this file can be resumed.
                files.replace(path / "config.yaml", [settings.to_yaml().encode()])
            yield cls(path, command)

    def write_end(self, summary: Mapping[str, object]) -> None:
        """Write ``SHA256SUMS`` and the final ``summary.json`` of a finished run."""
        files.sync(self.path / METRICS_FILE)
        content = json_text(summary).encode()
        digests = sums(self.path, {"summary.json": content})
        files.replace(self.path / SUMS_FILE, [digests.encode()])
        files.replace(self.path / "summary.json", [content])

    def add_metrics(self, rows: Iterable[Row]) -> None:
        """Append (samples_seen, metric, scope, value) rows to ``metrics.csv``."""
        numbers = [(n, metric, scope, float(value)) for n, metric, scope, value in rows]
        files.append(self.path / METRICS_FILE, f"{csv_text(numbers)}\n".encode())

    def restore_metrics(self, state: Mapping[str, Any] | None) -> None:
        """Restore ``metrics.csv`` from the state of a checkpoint; None begins it."""
        text = METRICS_HEADER if state is None else state["metrics"]
        files.replace(self.path / METRICS_FILE, [text.encode()])

    def save_checkpoint(self, state: Mapping[str, object]) -> None:
        """Replace the checkpoint.

        Args:
            state: nested dictionaries, lists and tuples of tensors and plain values.

        Raises:
            InputError: the state contains other objects.
        """
        # State and metrics of the same time belong together.
        metrics = (self.path / METRICS_FILE).read_bytes().decode()
        save_state(self.path, {**state, "metrics": metrics})

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Return the state of the last checkpoint, or None; drop later metrics.

        Raises:
            InputError: the checkpoint is damaged.
        """
        state = load_state(self.path)
        self.restore_metrics(state)
        return state


# -------------------------------------------------------------------------------- checkpoints


def save_state(folder: Path, state: Mapping[str, object]) -> None:
    """Replace the checkpoint of a folder in one step.

    Args:
        folder: run folder.
        state: nested dictionaries, lists and tuples of tensors and plain values.

    Raises:
        InputError: the state contains other objects.
        OSError: the disk is full, for example; :func:`load_state` still returns the last state.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for step in (1, 2):
        ...     save_state(folder, {"step": step})
        >>> load_state(folder)
        {'step': 2}
    """
    buffer = io.BytesIO()
    torch.save(plain_state(state), buffer)
    files.replace(folder / CHECKPOINT_FILE, [buffer.getbuffer()])


def load_state(folder: Path) -> dict[str, Any] | None:
    """Return the state in the checkpoint of a folder; None without a checkpoint.

    Raises:
        InputError: the checkpoint is damaged.
    """
    file = folder / CHECKPOINT_FILE
    if not file.is_file():
        return None
    damaged = InputError(f"{file} is damaged: delete it to start this run again")
    try:
        # torch.load does not compare the checksums of the archive.
        with ZipFile(file) as archive:
            if archive.testzip() is not None:
                raise damaged
        state: dict[str, object] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, BadZipFile, pickle.UnpicklingError, LookupError) as error:
        raise damaged from error
    return state


def plain_state(value: Any, where: str = "state") -> object:
    """Return a state with its tensors on the CPU, each in its own memory.

    Raises:
        InputError: the state contains other objects than tensors, plain values and containers.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # torch.save writes the whole storage of a view.
        return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()
    if isinstance(value, Mapping):
        return {
            plain_state(key, where): plain_state(part, f"{where}.{key}")
            for key, part in value.items()
        }
    if type(value) in (list, tuple, torch.Size):
        parts = [plain_state(part, f"{where}[{place}]") for place, part in enumerate(value)]
        return parts if isinstance(value, list) else tuple(parts)
    raise InputError(
        f"{where} is of type {type(value).__name__}: use only tensors, numbers, texts, and"
        " dictionaries, lists and tuples of them"
    )
