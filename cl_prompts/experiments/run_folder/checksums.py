"""``SHA256SUMS`` of a finished run: what its files were when it ended.

``sha256sum -c SHA256SUMS`` checks them as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

from cl_prompts.checks import sha256
from cl_prompts.errors import InputError

SUMS_FILE = "SHA256SUMS"
#: scores of the parent's model, in the folder of a run that learned on
BEFORE_FILE = "before.json"
#: confidence in the held-out test images of known classes, at the end of a run
CONFIDENCE_FILE = "confidence.json"
#: what a report reads
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
#: what a run leaves, but for what TensorBoard reads
_SUMMED = (
    *READ,
    CONFIDENCE_FILE,
    "learned.safetensors",
    "checkpoint",
    "checkpoint.previous",
    "checkpoint.sha256",
)


def sums(folder: Path, written: Mapping[str, bytes]) -> str:
    """Return the content of ``SHA256SUMS``.

    >>> print(sums(Path("nowhere"), {"summary.json": b""}), end="")
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  summary.json
    """
    found = {name: sha256(folder / name) for name in _SUMMED if (folder / name).is_file()}
    # Files that are about to be written count as they will be.
    found |= {name: hashlib.sha256(data).hexdigest() for name, data in written.items()}
    return "".join(f"{digest}  {name}\n" for name, digest in found.items())


def check_sums(folder: Path, names: Collection[str] = READ) -> None:
    """Compare files of a finished run with its ``SHA256SUMS``.

    Args:
        folder: of the run.
        names: of the files that are about to be read; some may be missing in both.

    Raises:
        InputError: it is gone, or a file was changed, damaged, added or removed since.
    """
    file = folder / SUMS_FILE
    if not file.is_file():
        raise InputError(
            f"{folder} lacks the {SUMS_FILE} of a finished run: repeat the run or leave its folder"
            " out"
        )
    words = file.read_bytes().decode(errors="replace").split()
    known = dict(zip(words[1::2], words[::2], strict=False))
    for name in names:
        path = folder / name
        found = sha256(path) if path.is_file() else None
        if found != known.get(name):
            raise InputError(
                f"{path} is not what it was when the run ended, as its SHA-256 in {SUMS_FILE}"
                " tells: bring it back, repeat the run or leave its folder out"
            )
