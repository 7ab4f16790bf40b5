"""Checkpoints of a run folder: the newest, and the one before."""

from __future__ import annotations

from pathlib import Path

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    packed,
    read,
    verify,
)

CHECKPOINT_FILE = "checkpoint"
PREVIOUS_FILE = "checkpoint.previous"
DAMAGED_FILE = "checkpoint.damaged"


class CheckpointFiles:
    """Keeper of the two newest checkpoints of a folder.

    Example:
        >>> import tempfile
        >>> kept = CheckpointFiles(Path(tempfile.mkdtemp()))
        >>> for step in (1, 2):
        ...     kept.save(Checkpoint({"step": step}, {}, {}))
        >>> found, remark = kept.find()
        >>> found.state, remark
        ({'step': 2}, None)
        >>> _ = kept.newest.write_bytes(b"damaged")
        >>> found, remark = kept.find()
        >>> found.state, remark.partition(": ")[2]
        ({'step': 1}, 'the older checkpoint.previous is intact, and the run goes on from it')
    """

    def __init__(self, folder: Path) -> None:
        self.newest = folder / CHECKPOINT_FILE
        self.previous = folder / PREVIOUS_FILE
        self._newest_is_damaged = False

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the newest checkpoint, once the new one was read back and found good.

        The one before becomes ``checkpoint.previous``; one that was found damaged does not, but
        ``checkpoint.damaged``.

        Raises:
            OSError: the disk is full, and so on; all is left as it was.
            RunError: what was read back differs.
        """
        temporary = files.temporary_of(self.newest)
        try:
            files.create(temporary, packed(checkpoint))
            files.sync(temporary)
            # The older checkpoint is given up for this one only if the disk has kept it.
            verify(temporary)
        except OSError:
            files.remove(temporary)
            raise
        except DamagedCheckpoint as error:
            raise RunError(f"the disk does not keep what is written to it: {error}") from error
        # Between the two renames the older one stands under a name that find() looks for.
        if self.newest.exists():
            kept = DAMAGED_FILE if self._newest_is_damaged else PREVIOUS_FILE
            files.rename(self.newest, self.newest.with_name(kept))
        files.rename(temporary, self.newest)
        files.sync(self.newest.parent)
        self._newest_is_damaged = False

    def find(self) -> tuple[Checkpoint | None, str | None]:
        """Newest intact checkpoint, None if there is none at all; with a remark, if it is the older
        of two.

        Resuming from the older one ends at the same numbers, and only takes longer.

        Raises:
            InputError: none is intact.
        """
        damaged: list[DamagedCheckpoint] = []
        found: Checkpoint | None = None
        # A write that was cut off, or a bad sector, costs one of the two, not the run.
        for file in (self.newest, self.previous):
            if found is None and file.exists():
                try:
                    found = read(file)
                    name = file.name
                except DamagedCheckpoint as error:
                    damaged.append(error)
        self._newest_is_damaged = any(error.path == self.newest for error in damaged)
        reasons = " and ".join(map(str, damaged))
        if found is None and damaged:
            names = " and ".join(error.path.name for error in damaged)
            raise InputError(
                f"{reasons}: no checkpoint is intact, so delete {names} to start this run again"
            )
        if found is None or name == CHECKPOINT_FILE:
            return found, None
        reasons = reasons or f"there is no {self.newest}"
        return found, f"{reasons}: the older {name} is intact, and the run goes on from it"
