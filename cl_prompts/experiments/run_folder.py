"""Folder of a run: created once, locked while written, always valid."""

from __future__ import annotations

import csv
import itertools
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from cl_prompts import __version__
from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.experiments.names import label_of
from cl_prompts.experiments.settings import Settings

CHECKPOINT_FILE = "checkpoint.pt"
EXAMPLES_FILE = "examples.npz"
KEYS_FILE = "keys.npz"
METRICS_FILE = "metrics.csv"
METRICS_HEADER = ["samples_seen", "metric", "scope", "value"]


class RunFolder:
    """Writer of a run's files, each replaced atomically or only appended to.

    Use :meth:`create` or :meth:`resume`, and :meth:`close` it when done.

    Args:
        path: of the folder, which exists.

    Raises:
        InputError: another process writes it.
    """

    def __init__(self, path: Path) -> None:
        """Lock the folder."""
        self.path = path
        self._lock = FileLock(path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"run folder {path} is being written by another process") from error

    @classmethod
    def create(cls, path: Path, settings: Settings, command: str) -> RunFolder:
        """Create a folder with configuration and environment.

        Raises:
            InputError: the folder holds something already, or cannot be made.
        """
        if path.exists() and any(path.iterdir()):
            raise InputError(
                f"run folder {path} exists already: choose another, or continue it with --resume"
                f" {path}"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _uncreatable(path, error) from error
        folder = cls(path)
        folder.write_text("config.yaml", settings.to_yaml())
        folder.write_json("environment.json", environment(settings.device, command))
        return folder

    @classmethod
    def resume(cls, path: Path) -> tuple[RunFolder, Settings]:
        """Open the folder of an unfinished run, and read its settings.

        Raises:
            InputError: there is no run, it is finished, or another process writes it.
        """
        if not (path / "config.yaml").is_file():
            raise InputError(f"{path} is not a run folder: it holds no config.yaml")
        folder = cls(path)
        try:
            if folder.summary().get("status") == "finished":
                raise InputError(f"run folder {path} is finished: there is nothing to resume")
            return folder, Settings.from_yaml((path / "config.yaml").read_text())
        except InputError:
            folder.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()
        (self.path / ".lock").unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Replace a file in one step: readers see the old content or the new one."""
        temporary = self.path / f".{name}.tmp"
        temporary.write_text(text)
        temporary.replace(self.path / name)

    def write_json(self, name: str, value: Any) -> None:
        """Replace a JSON file in one step."""
        self.write_text(name, json.dumps(value, indent=1))

    def summary(self) -> dict[str, Any]:
        """Summary as last written, empty if there is none."""
        file = self.path / "summary.json"
        return json.loads(file.read_text()) if file.is_file() else {}

    def command(self) -> str:
        """Command line that made this run, and perhaps others at the same time."""
        return str(json.loads((self.path / "environment.json").read_text())["command"])

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint; ``state`` holds tensors and plain values only."""
        temporary = self.path / f".{CHECKPOINT_FILE}.tmp"
        torch.save({**state, "metrics_size": self._metrics_size()}, temporary)
        temporary.replace(self.path / CHECKPOINT_FILE)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Last checkpoint, or None; metrics written after it are cut off.

        Raises:
            InputError: the file is damaged.
        """
        file = self.path / CHECKPOINT_FILE
        state: dict[str, Any] | None = None
        if file.is_file():
            try:
                state = torch.load(file, map_location="cpu", weights_only=True)
            except Exception as error:
                raise InputError(
                    f"{file} cannot be read ({type(error).__name__}): delete it to start this run"
                    " again"
                ) from error
        metrics = self.path / METRICS_FILE
        if metrics.is_file():
            os.truncate(metrics, 0 if state is None else state["metrics_size"])
        return state

    def add_metrics(self, rows: list[tuple[int, str, str, float]]) -> None:
        """Append (samples_seen, metric, scope, value) rows."""
        file = self.path / METRICS_FILE
        new = self._metrics_size() == 0
        with file.open("a", newline="") as out:
            writer = csv.writer(out)
            if new:
                writer.writerow(METRICS_HEADER)
            writer.writerows(
                (n, metric, scope, repr(float(value))) for n, metric, scope, value in rows
            )

    def _metrics_size(self) -> int:
        file = self.path / METRICS_FILE
        return file.stat().st_size if file.is_file() else 0


def new_path(out: Path, settings: Settings) -> Path:
    """Make the empty folder ``out/<recipe>/<strategy>/<seed>-<time>``, with ``-2`` and so on if it
    is taken, also by a process that starts at the same moment.

    Raises:
        InputError: the folder cannot be made.
    """
    above = out / settings.recipe / label_of(settings.strategy)
    name = f"{settings.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = above / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError as error:
            if not path.is_dir():  # one of the folders above is a file
                raise _uncreatable(path, error) from error
        except OSError as error:
            raise _uncreatable(path, error) from error
        else:
            return path
    raise AssertionError("numbers do not end")


def _uncreatable(path: Path, error: OSError) -> InputError:
    return InputError(f"run folder {shown(str(path))} cannot be created: {error.strerror}")


def environment(device: str, command: str) -> dict[str, Any]:
    """Versions, machine and source revision of a run."""
    return {
        "command": command,
        "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "cl_prompts": __version__,
        "git_revision": _revision(),
        "python": sys.version.split()[0],
        **{name: version(package) for name, package in _PACKAGES.items()},
        "platform": platform.platform(),
        "device": device,
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


_PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "avalanche": "avalanche-lib",
    "numpy": "numpy",
}


def _revision() -> str | None:
    """Git revision of the source tree, marked if it has changes; None for an installed package."""
    where = Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=where,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None
