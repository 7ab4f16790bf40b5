"""Further ranks of a job, which train with rank 0 and write nothing.

Rank 0 does what a single process does, and tells the others of each run before it starts.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cl_prompts.backbones import ranks
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.run_folder.checkpoint_files import CheckpointFiles
from cl_prompts.experiments.run_folder.files import FolderFiles
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.run_folder.identity import check_identity
from cl_prompts.experiments.run_folder.metrics_file import Row
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.interruption import stop_requests
from cl_prompts.experiments.runner.task_loop import TaskLoop


class FollowedFolder(RunFolder):
    """A run folder that rank 0 writes: only its checkpoint is read.

    Args:
        path: of the folder.

    Example:
        >>> folder = FollowedFolder(Path("runs/none"))
        >>> folder.write_text("notes", "nothing is written")
        >>> folder.load_checkpoint() is None
        True
    """

    def __init__(self, path: Path) -> None:
        FolderFiles.__init__(self, path)
        self.remarks: list[str] = []
        self._identity: Mapping[str, Any] = {}
        self._checkpoints = CheckpointFiles(path)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The state that rank 0 goes on from."""
        found, _ = self._checkpoints.find()
        if found is None:
            return None
        check_identity(found.identity, self._identity, str(self.path))
        return found.state

    def command(self) -> str:
        """Nothing: it is for the summary."""
        return ""

    def replace(self, name: str, parts: Iterable[bytes]) -> None:
        """Write nothing."""

    def write_end(self, summary: Mapping[str, Any]) -> None:
        """Write nothing."""

    def keep_stream(self, text: str) -> None:
        """Write nothing."""

    def export(self, model: Any) -> None:
        """Write nothing."""

    def add_metrics(self, rows: list[Row]) -> None:
        """Write nothing."""

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Nothing is locked."""


def announce(folder: Path, settings: Settings) -> None:
    """On rank 0: tell the others which run comes next."""
    if ranks.is_distributed():
        ranks.broadcast_text(
            json.dumps({"folder": str(folder.resolve()), "settings": settings.to_yaml()})
        )


def announce_end() -> None:
    """On rank 0: tell the others that no run is left."""
    if ranks.is_distributed():
        ranks.broadcast_text(json.dumps({}))


def follow() -> None:
    """On the other ranks: take part in each run that rank 0 announces.

    Raises:
        InputError: the run cannot be built here, or resumed.
        RunError: a fault during a run, here or on another rank.
    """
    builder = Builder()
    while message := json.loads(ranks.broadcast_text(None)):
        parts = builder.build(Settings.from_yaml(message["settings"]))
        run = TaskLoop(parts, FollowedFolder(Path(message["folder"])))
        run.restore()
        check_start(run)
        with stop_requests() as request:
            run.train(None, request)
        del parts, run
        gc.collect()


def check_start(run: TaskLoop) -> None:
    """On every rank: refuse to go on from different places.

    Raises:
        InputError: this rank, or another one, has not found the checkpoint.
    """
    here = run.parts.strategy.samples_seen
    furthest, least = ranks.highest(here, -here)
    if furthest != -least:
        raise InputError(
            f"rank {ranks.rank()} would go on from sample {here}, and another from"
            f" {-least if here == furthest else furthest}: to be resumed, run folder"
            f" {run.folder.path} must lie where all machines can read it"
        )
