"""A run is a folder: created once, locked while written, always valid, enough to resume and to
report from."""

from __future__ import annotations

import csv
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
from cl_prompts.errors import InputError
from cl_prompts.experiments.settings import Settings

CHECKPOINT = "checkpoint.pt"


class RunFolder:
    """Writes a run's files; every one of them is replaced atomically or only appended to.

    Use :meth:`create` or :meth:`resume`; close it when done.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"run folder {path} is being written by another process") from error

    @classmethod
    def create(cls, path: Path, settings: Settings, command: str) -> RunFolder:
        """A new folder with configuration and environment.

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
            raise InputError(f"run folder {path} cannot be created: {error.strerror}") from error
        folder = cls(path)
        folder.write_text("config.yaml", settings.to_yaml())
        folder.write_json("environment.json", environment(settings.device, command))
        return folder

    @classmethod
    def resume(cls, path: Path) -> tuple[RunFolder, Settings]:
        """An unfinished run's folder and its settings.

        Raises:
            InputError: no run there, finished already, or being written.
        """
        if not (path / "config.yaml").is_file():
            raise InputError(f"{path} is not a run folder: it holds no config.yaml")
        folder = cls(path)
        if folder.summary().get("status") == "finished":
            folder.close()
            raise InputError(f"run folder {path} is finished: there is nothing to resume")
        return folder, Settings.from_yaml((path / "config.yaml").read_text())

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()
        (self.path / ".lock").unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a file in one step: readers see the old content or the new."""
        temporary = self.path / f".{name}.tmp"
        temporary.write_text(text)
        temporary.replace(self.path / name)

    def write_json(self, name: str, value: Any) -> None:
        """The same for JSON."""
        self.write_text(name, json.dumps(value, indent=1))

    def summary(self) -> dict[str, Any]:
        """The summary as last written, empty if there is none."""
        file = self.path / "summary.json"
        return json.loads(file.read_text()) if file.is_file() else {}

    def command(self) -> str:
        """What was typed to make this run (and maybe others at the same time)."""
        return str(json.loads((self.path / "environment.json").read_text())["command"])

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Tensors and plain values only: it loads without executing code."""
        temporary = self.path / f".{CHECKPOINT}.tmp"
        torch.save({**state, "metrics_size": self._metrics_size()}, temporary)
        temporary.replace(self.path / CHECKPOINT)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or None; metrics written after it are cut off.

        Raises:
            InputError: the file is damaged.
        """
        file = self.path / CHECKPOINT
        state: dict[str, Any] | None = None
        if file.is_file():
            try:
                state = torch.load(file, map_location="cpu", weights_only=True)
            except Exception as error:
                raise InputError(
                    f"{file} cannot be read ({type(error).__name__}): delete it to start this run"
                    " again"
                ) from error
        metrics = self.path / "metrics.csv"
        if metrics.is_file():
            os.truncate(metrics, 0 if state is None else state["metrics_size"])
        return state

    def add_metrics(self, rows: list[tuple[int, str, str, float]]) -> None:
        """Append (samples_seen, metric, scope, value) rows."""
        file = self.path / "metrics.csv"
        new = self._metrics_size() == 0
        with file.open("a", newline="") as out:
            writer = csv.writer(out)
            if new:
                writer.writerow(["samples_seen", "metric", "scope", "value"])
            writer.writerows(
                (n, metric, scope, repr(float(value))) for n, metric, scope, value in rows
            )

    def _metrics_size(self) -> int:
        file = self.path / "metrics.csv"
        return file.stat().st_size if file.is_file() else 0


def new_path(out: Path, settings: Settings) -> Path:
    """``out/<recipe>/<strategy>/<seed>-<time>``."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return out / settings.recipe / settings.strategy / f"{settings.seed}-{stamp}"


def environment(device: str, command: str) -> dict[str, Any]:
    """Versions, machine and revision that a run was made with."""
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
    """Git revision of the source tree, with a mark if it has changes; None for an installed
    package."""
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
