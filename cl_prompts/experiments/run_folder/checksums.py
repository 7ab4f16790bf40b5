"""Write and check ``SHA256SUMS``, the checksums of a finished run (``sha256sum -c SHA256SUMS``)."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from cl_prompts.checks import sha256
from cl_prompts.errors import InputError

SUMS_FILE = "SHA256SUMS"
#: scores of the parent's model, in the folder of a continual run
BEFORE_FILE = "before.json"
#: folder of the model
MODEL = "model"
#: files that a report reads
READ = (
    "config.yaml",
    "environment.json",
    "identity.json",
    "stream.json",
    "metrics.csv",
    "keys.npz",
    BEFORE_FILE,
    "summary.json",
)
#: beginnings of the names of other files: TensorBoard's, the lock, and this one
_NOT_SUMMED = ("events.", ".", SUMS_FILE)


def sums(folder: Path, written: Mapping[str, bytes]) -> str:
    """Return the content of ``SHA256SUMS``; ``written`` are the files about to be written."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file()]
    found = {file.name: sha256(file) for file in files if not file.name.startswith(_NOT_SUMMED)}
    model = sorted((folder / MODEL).iterdir())
    found |= {f"{MODEL}/{file.name}": sha256(file) for file in model}
    found |= {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
    return "".join(f"{digest}  {name}\n" for name, digest in found.items())


def check_sums(folder: Path, names: Collection[str] = READ) -> None:
    """Compare files of a finished run with its ``SHA256SUMS``.

    Args:
        folder: of the run.
        names: files to compare; a file may be missing in both.

    Raises:
        InputError: ``SHA256SUMS`` is missing, or a file was changed, added or removed.
    """
    file = folder / SUMS_FILE
    if not file.is_file():
        raise InputError(f"{folder} has no {SUMS_FILE}: repeat the run or leave its folder out")
    words = file.read_bytes().decode(errors="replace").split()
    known = dict(zip(words[1::2], words[::2], strict=False))
    for name in names:
        path = folder / name
        found = sha256(path) if path.is_file() else None
        if found != known.get(name):
            raise InputError(
                f"{path} changed since the run ended (see {SUMS_FILE}): restore it, repeat the run"
                " or leave its folder out"
            )
