"""Files of the Hugging Face hub in the cache of its client, where no name that a server sends
becomes a path."""

from __future__ import annotations

import io
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import EntryNotFoundError, RevisionNotFoundError, build_hf_headers

from cl_prompts.errors import InputError, short
from cl_prompts.reading import sha256


def fetched(repository: str, files: Mapping[str, int], revision: str = "main") -> Path:
    """Folder in the cache of the hub's client that holds files of one commit of a repository.

    What is missing is fetched. The layout is the client's, so that each finds what the other has
    fetched, but the client calls a file what the server calls it: here it is called by the SHA-256
    of what came, and a commit by its hash, which must be one.

    Args:
        repository: of models, ``user/name``.
        files: name -> bytes that it may have. The repository must have the first of them, and may
            have the others. The first is put into the folder last: where it is, all are.
        revision: branch, tag or commit.

    Raises:
        InputError: the hub has no such file, or sends another one than it announced.
        Exception: of the hub's client, where it cannot be reached, or refuses, and the folder is
            not there.
    """
    if {"", ".", ".."} & set(revision.split("/")):
        raise InputError(f"{short(revision)} is no revision: name a branch, a tag or a commit")
    first = next(iter(files))
    cached = try_to_load_from_cache(repository, first, revision=revision)
    there = Path(cached.removesuffix(first)) if isinstance(cached, str) else None
    # A commit never changes; a branch may have moved on.
    if there is not None and _is_hash(revision, 40):
        return there
    try:
        commit, announced = _announced(repository, files, revision)
    except (InputError, RevisionNotFoundError):
        raise
    except Exception:  # of httpx or requests, the system's, or that the client is offline
        if there is None:
            raise
        return there
    folder = Path(constants.HF_HUB_CACHE) / "--".join(["models", *repository.split("/")])
    snapshot = folder / "snapshots" / commit
    for file in reversed(announced):
        if not (snapshot / file).exists():
            url = hf_hub_url(repository, file, revision=commit)
            _fetch(url, announced[file], files[file], folder / "blobs", snapshot / file)
    # As the client notes which commit a branch stands for.
    if try_to_load_from_cache(repository, first, revision=revision) != str(snapshot / first):
        reference = folder / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)
    return snapshot


def _is_hash(name: str, digits: int) -> bool:
    return bool(re.fullmatch(f"[0-9a-f]{{{digits}}}", name))


def _announced(
    repository: str, files: Mapping[str, int], revision: str
) -> tuple[str, dict[str, Any]]:
    """Commit of a revision, and what the hub says of those of the files that are in it."""
    found: dict[str, Any] = {}
    for file in files:
        try:
            about = get_hf_file_metadata(hf_hub_url(repository, file, revision=revision))
        except EntryNotFoundError as error:
            if not found:
                raise InputError(f"{repository} on the hub holds no {file}") from error
            continue
        if not found:
            revision = str(about.commit_hash)  # the other files are of the same one
            if not _is_hash(revision, 40):
                raise InputError(
                    f"the hub, {constants.ENDPOINT}, calls a commit of {repository}"
                    f" {short(revision)}, which is no hash: use another hub"
                )
        found[file] = about
    return revision, found


class _Bounded(io.BufferedWriter):
    """A new file of at most so many bytes."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(io.FileIO(path, "x"))
        self._most = most

    def write(self, part: Any) -> int:
        if self.tell() + len(part) > self._most:
            raise InputError(f"the hub sends more than the {self._most:,} bytes that it may")
        return super().write(part)


def _fetch(url: str, about: Any, most: int, blobs: Path, place: Path) -> None:
    """Fetch a file and link to it, in one step, once it is what the hub announced."""
    blobs.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = blobs / f"{secrets.token_hex(8)}.incomplete"
    link = temporary.with_suffix(".link")
    try:
        with _Bounded(temporary, min(most, about.size or most)) as file:
            headers = build_hf_headers()
            http_get(url, file, headers=headers, expected_size=about.size)
        digest = sha256(temporary)
        # The etag of a large file is its SHA-256, that of a small one a shorter hash of git's.
        announced = _is_hash(str(about.etag), 64)
        if announced and digest != about.etag:
            raise InputError(
                f"what the hub sends as {short(url)} is not the file that it announces: its SHA-256"
                f" is not {about.etag}"
            )
        # Weights count as the published ones by the hash that the hub has of them, never by ours.
        blob = blobs / (digest if announced else f"unannounced-{digest}")
        try:
            link.symlink_to(os.path.relpath(blob, place.parent))
        except OSError:  # a file system without links
            temporary.replace(place)
        else:
            temporary.replace(blob)
            link.replace(place)
    finally:
        temporary.unlink(missing_ok=True)
        link.unlink(missing_ok=True)
