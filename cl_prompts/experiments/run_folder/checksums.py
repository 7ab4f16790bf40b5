"""``SHA256SUMS`` of a finished run: what its files were when it ended.

``sha256sum -c SHA256SUMS`` checks them as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cl_prompts.errors import InputError
from cl_prompts.reading import TABLE, TEXT, content

SUMS_FILE = "SHA256SUMS"
#: scores of the parent's model, in the folder of a run that learned on
BEFORE_FILE = "before.json"
#: what a report reads beside ``summary.json``; checkpoints and weights hold checksums of their own
CHECKED = (
    "config.yaml",
    "environment.json",
    "stream.json",
    "metrics.csv",
    "keys.npz",
    "examples.npz",
    BEFORE_FILE,
)


def sums(folder: Path, written: Mapping[str, bytes]) -> str:
    """Content of ``SHA256SUMS``.

    Args:
        folder: of a run; what it lacks of :data:`CHECKED` is left out.
        written: files that are about to be written, by name.

    >>> print(sums(Path("nowhere"), {"summary.json": b""}), end="")
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  summary.json
    """
    contents = {n: content(folder / n, TABLE) for n in CHECKED if (folder / n).is_file()}
    lines = [f"{_sum(data)}  {name}\n" for name, data in {**contents, **written}.items()]
    return "".join(lines)


def check_sums(folder: Path) -> None:
    """Compare the files of a finished run with its ``SHA256SUMS``, if it has one.

    Raises:
        InputError: a file was changed, damaged or removed since the run ended.
    """
    file = folder / SUMS_FILE
    if not file.is_file():
        return
    try:
        lines = content(file, TEXT).decode("ascii").removesuffix("\n").split("\n")
        known = {name: digest for digest, name in (line.split("  ") for line in lines)}
    except ValueError as error:
        raise InputError(f"{file} is damaged: repeat the run or leave its folder out") from error
    for name, digest in known.items():
        path = folder / name
        found = _sum(content(path, TABLE)) if path.is_file() else None
        if found != digest:
            raise InputError(
                f"{path} is not what it was when the run ended, as its SHA-256 in {SUMS_FILE}"
                " tells: bring it back, repeat the run or leave its folder out"
            )


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
