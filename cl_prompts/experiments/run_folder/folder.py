"""Folder of a run: created once, locked while written, always valid."""

from __future__ import annotations

import errno
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from cl_prompts import __version__
from cl_prompts.backbones.devices import pick_device
from cl_prompts.errors import InputError, RunError, typed
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.checkpoint import Checkpoint, taking_up
from cl_prompts.experiments.run_folder.checkpoint_files import CHECKPOINT_FILE, CheckpointFiles
from cl_prompts.experiments.run_folder.checksums import (
    BEFORE_FILE,
    CONFIDENCE_FILE,
    COPIES,
    IMAGES_FILE,
    SUMS_FILE,
    sums,
)
from cl_prompts.experiments.run_folder.files import (
    TEMPORARY,
    FolderFiles,
    json_text,
    reason_of,
)
from cl_prompts.experiments.run_folder.identity import (
    IDENTITY_FILE,
    check_identity,
    settings_identity,
)
from cl_prompts.experiments.run_folder.metrics_file import METRICS_FILE, MetricsFile, Row
from cl_prompts.experiments.run_folder.plans import check_begun
from cl_prompts.experiments.run_folder.runs import TIME
from cl_prompts.own_code import Trust
from cl_prompts.reading import TABLE, conform, content

EXAMPLES_FILE = "examples.npz"
KEYS_FILE = "keys.npz"
LEARNED_FILE = "learned.safetensors"
#: files that some runs write, each of them before it ends
_WRITTEN_ANEW = (BEFORE_FILE, KEYS_FILE, EXAMPLES_FILE, CONFIDENCE_FILE, IMAGES_FILE)
_RESERVED = 2**16  # bytes
_NOT_ALWAYS = ("gpu",)  # in an environment
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


def _precedes_a_run(file: Path) -> bool:
    """Whether a file is one that a process left which was killed before ``config.yaml``, with
    which a run begins: files of somebody else may have the same names."""
    if file.is_symlink() or not file.is_file():
        return False
    if file.name == ".lock":
        return file.stat().st_size == 0
    if file.name == ".reserve":
        return not any(content(file, _RESERVED))
    return file.match(TEMPORARY) or file.name in ("environment.json", IDENTITY_FILE)


def settings_of(folder: Path, trust_code: Trust = False) -> Settings:
    """The settings in the ``config.yaml`` of a folder; where the run that it goes on from has moved
    with it, in a folder of runs as a whole, they name its new place.

    Raises:
        InputError: it is damaged, or names code that may not be imported or weights that would be
            fetched.
    """
    name = "config.yaml"
    try:
        settings = Settings.of_folder(FolderFiles(folder).read_text(name), trust_code=trust_code)
    except InputError as error:
        raise InputError(f"{folder / name} cannot be used: {error}") from error
    if settings.parent and not (Path(settings.parent["run"]) / name).is_file():
        # RECIPE/STRATEGY/RUN each; whether it is the same run, its checksums say.
        moved = folder.resolve().joinpath("../../..", *Path(settings.parent["run"]).parts[-3:])
        if (moved / name).is_file():
            settings.parent["run"] = str(moved.resolve())
    return settings


def record_loss(path: Path, error: str) -> None:
    """Write into the summary of a run that it has failed, where it says that it is running and the
    process that wrote it is gone."""
    # A process that was killed closes its connections first and gives up its lock a moment later.
    for wait in (0.0, 0.1, 0.4):
        time.sleep(wait)
        with suppress(InputError):
            folder = RunFolder(path)
            break
    else:  # that process is there, and writes how the run ended
        return
    try:
        summary = folder.summary()
        if summary.get("status") == "running":
            folder.write_end({**summary, "status": "failed", "error": error})
    finally:
        folder.close()


class RunFolder(FolderFiles):
    """Writer of a run's files, each replaced in one step or only appended to.

    Use :meth:`create` or :meth:`resume`, :meth:`claim` it for a run, and :meth:`close` it when
    done. A few bytes are reserved while it is open, so that how a run ended can be written on a
    full disk.

    Args:
        path: of the folder, which exists.

    Attributes:
        remarks: sentences on what was found damaged and made good again.
        identity: of the run.

    Raises:
        InputError: another process writes it.
        RunError: nothing can be written to it.
    """

    def __init__(self, path: Path) -> None:
        """Lock the folder, and remove what a killed process has left half written."""
        super().__init__(path)
        self.remarks: list[str] = []
        self.identity: Mapping[str, Any] = {}
        self._found: Checkpoint | None = None
        self._checkpoints = CheckpointFiles(path)
        # Opening it would make a file elsewhere, and with older filelock empty one.
        lock = path / ".lock"
        if lock.is_symlink() or (lock.exists() and lock.stat().st_nlink > 1):
            raise InputError(f"run folder {path} holds a link called .lock: remove it")
        self._lock = FileLock(path / ".lock")
        # Of the system, so that it is free when its process is killed.
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"run folder {path} is being written by another process") from error
        except OSError as error:
            raise RunError(
                f"nothing can be written to run folder {path}: {reason_of(error)}"
            ) from error
        with self.closed_on_error():
            with self.writing(".reserve"):
                # Behind a link lie the files of others.
                copies = [] if (path / COPIES).is_symlink() else [path / COPIES]
                # What a killed process left: nobody else writes here now, since the lock is ours.
                half_written = [file for at in (path, *copies) for file in at.glob(TEMPORARY)]
                for left in [*half_written, path / ".reserve"]:
                    files.remove(left)
                files.create(path / ".reserve", [bytes(_RESERVED)])
            self._metrics = MetricsFile(path)

    @classmethod
    def create(
        cls,
        path: Path,
        settings: Settings,
        identity: Mapping[str, Any],
        command: str,
        varied: Sequence[str] = (),
    ) -> RunFolder:
        """Create a folder with environment, identity and configuration.

        Args:
            path: of the folder.
            settings: of the run.
            identity: of the run.
            command: what was typed to make it.
            varied: settings in which the runs of that command differ.

        Raises:
            InputError: the folder cannot be made, another process writes it, or it holds anything
                but what a process leaves that was killed before its run had begun.
            RunError: the disk is full or read-only.
        """
        taken = InputError(
            f"run folder {path} exists already: choose another, or continue it with --resume"
            f" {typed(path)}"
        )
        try:
            free = not path.exists() or all(map(_precedes_a_run, path.iterdir()))
        except (OSError, InputError) as error:  # no such file is one of ours
            raise taken from error
        if not free:
            raise taken
        files.make_folder(path, exist_ok=True)
        folder = cls(path)
        with folder.closed_on_error():
            if (path / "config.yaml").exists():  # of a process that held the lock until now
                raise taken
            about = environment(settings.device, command)
            folder.write_json("environment.json", {**about, "varied": list(varied)})
            folder.write_json(IDENTITY_FILE, identity)
            folder.identity = identity
            # Last: with it a folder is one that can be resumed.
            folder.write_text("config.yaml", settings.to_yaml())
        return folder

    @classmethod
    def resume(cls, path: Path, trust_code: Trust = False) -> tuple[RunFolder, Settings]:
        """Open the folder of an unfinished run, and read its settings.

        Args:
            path: of the folder.
            trust_code: names in its settings that may be used, see :meth:`Settings.to_trust`.

        Raises:
            InputError: there is no run, it is finished, another process writes it, a file of it is
                damaged, its settings name other code or a tracker that sends, or they or the
                version of the package are others than at its checkpoint.
            RunError: nothing can be written to it.
        """
        check_begun(path)
        # Nothing is locked or removed in a folder that is no run's, or is not trusted.
        settings = settings_of(path, trust_code)
        settings.check_sending(trust_code)
        folder = cls(path)
        with folder.closed_on_error():
            if folder.summary().get("status") == "finished":
                raise InputError(f"run folder {path} is finished: there is nothing to resume")
            folder.identity = folder.read_json(IDENTITY_FILE)
            folder.check(settings_identity(settings))
            folder._note_changes(settings.device)
        return folder, settings

    def _note_changes(self, device: str) -> None:
        """Add to ``environment.json`` what is other now than when the run last went on, such as the
        version of a library."""
        made = self.read_json("environment.json")
        last = dict(made)
        for changed in made.get("resumed_with", ()):
            last |= changed
        now = environment(device, made.get("command", ""))
        keys = dict.fromkeys([*now, *_NOT_ALWAYS])
        changed = {key: now.get(key) for key in keys if now.get(key) != last.get(key)}
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
        if self._lock.is_locked:
            # While the lock is still ours: afterwards the file may be the lock of another process.
            for name in (".reserve", ".lock"):
                try:
                    files.remove(self.path / name)
                except OSError as error:
                    if error.errno not in files.REFUSING:
                        raise
        self._lock.release()

    def write_end(self, summary: Mapping[str, Any]) -> None:
        """Replace ``summary.json`` at the end of a run, with the reserved bytes on a full disk;
        before it ``SHA256SUMS``, if the run is finished.

        In a folder that has become read-only the file is written over, which may still be allowed.
        """
        content = json_text(summary).encode()
        try:
            # Frees enough of a full disk for the two files that follow.
            with self.writing("summary.json"):
                files.remove(self.path / ".reserve")
            if summary["status"] == "finished":
                self.write_text(SUMS_FILE, sums(self.path, {"summary.json": content}))
            self.replace("summary.json", [content])
        except RunError as error:
            if getattr(error.__cause__, "errno", None) not in (errno.EACCES, errno.EPERM):
                raise
            with self.writing("summary.json"):
                files.overwrite(self.path / "summary.json", content)

    def remove_unknown(self) -> None:
        """Remove files that a run writes anew if it has them at all: nothing says that what lies
        there is this run's.

        Raises:
            RunError: one cannot be removed.
        """
        for name in _WRITTEN_ANEW:
            if os.path.lexists(self.path / name):
                with self.writing(name):
                    files.remove(self.path / name)

    def keep_stream(self, text: str) -> None:
        """Write ``stream.json``, or compare it with what the stream is and mend it."""
        file = self.path / "stream.json"
        if not file.is_file():
            self.write_text(file.name, text)
        elif content(file, TABLE) != text.encode():
            self.remarks.append(f"{file} was damaged and was written anew")
            self.write_text(file.name, text)

    def export(self, model: Any) -> None:
        """Write ``learned.safetensors``, the learned part of a :class:`ContinualModel`."""
        self.replace(LEARNED_FILE, [model.exported()])

    def summary(self) -> dict[str, Any]:
        """Summary as last written, empty if there is none.

        Raises:
            InputError: it is damaged.
        """
        file = self.path / "summary.json"
        if not file.is_file():
            return {}
        found = self.read_json(file.name)
        try:
            conform(found, {"status?": str, "remarks?": ([str], None)})
        except ValueError as error:
            raise InputError(f"{file} is damaged: {error}") from error
        return found

    def command(self) -> str:
        """Command line that made this run, and perhaps others at the same time."""
        return str(self.read_json("environment.json").get("command"))

    def varied(self) -> list[str]:
        """Dotted names of the settings in which the runs of that command differ."""
        return list(self.read_json("environment.json").get("varied", ()))

    # ------------------------------------------------------------------ metrics and checkpoints

    def add_metrics(self, rows: list[Row]) -> None:
        """Append (samples_seen, metric, scope, value) rows to ``metrics.csv``.

        Raises:
            RunError: it cannot be written.
        """
        with self.writing("metrics.csv"):
            self._metrics.add(rows)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, once the new one was read back and found good; the one before
        becomes ``checkpoint.previous``.

        Args:
            state: nested dictionaries, lists and tuples of tensors, arrays and plain values.

        Raises:
            RunError: it cannot be written; the checkpoint stays as it is.
        """
        with self.writing(CHECKPOINT_FILE):
            # Metrics up to here go with the state, so that both are of one moment.
            record, rows = self._metrics.record()
            attached = {"record": json.dumps(record).encode()}
            if rows is not None:
                attached["metrics"] = rows
            self._checkpoints.save(Checkpoint(state, self.identity, attached))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """State of the last intact checkpoint, or None; rows of ``metrics.csv`` after it are
        dropped, and rows lost are brought back.

        Raises:
            InputError: there are checkpoints, and none is intact; it is that of another run; or
                ``metrics.csv`` is damaged and cannot be rebuilt.
            RunError: ``metrics.csv`` cannot be written.
        """
        if self._found is None:
            self._find_checkpoint()
        # Taken out, so that a large state is not kept beside the one that was loaded.
        found = self._found
        self._found = None
        with self.writing("metrics.csv"):
            self._restore_metrics({} if found is None else found.attached)
        return None if found is None else found.state

    def take_over(self, attached: Mapping[str, bytes], parent: Path) -> None:
        """Begin ``metrics.csv`` with the rows of the run that this one goes on from."""
        with self.writing(METRICS_FILE):
            self.replace(METRICS_FILE, [content(parent / METRICS_FILE, TABLE)])
            self._restore_metrics(attached)

    def _restore_metrics(self, attached: Mapping[str, bytes]) -> None:
        """Bring ``metrics.csv`` back to what it was at a checkpoint, or to nothing."""
        if not attached:
            self._metrics.clear()
            return
        with taking_up(self.path):
            record = json.loads(attached["record"])
            remark = self._metrics.restore(record, attached.get("metrics"))
        if remark is not None:
            self.remarks.append(remark)

    def _find_checkpoint(self) -> None:
        self._found, remark = self._checkpoints.find()
        if remark is not None:
            self.remarks.append(remark)
