"""Do listed images exist, and are they listed once? Answered by one listing a folder instead of one
look a file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from cl_prompts.datasets.readers import LayoutError
from cl_prompts.errors import InputError


class Folders:
    """The files of folders, each folder listed when it is first asked for."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> str | None:
        """The real path of a file, links followed; None where there is no such file."""
        folder, name = os.path.split(path)
        if folder not in self._files:
            self._files[folder] = _files(folder)
        return self._files[folder].get(name)

    def find_all(self, paths: Sequence[str], listing: str) -> list[str]:
        """The real path of each file.

        Raises:
            LayoutError: some do not exist (how many, and the first); ``listing`` is where they are
                listed.
        """
        found = [self.find(path) for path in paths]
        missing = [path for path, real in zip(paths, found, strict=True) if real is None]
        if missing:
            raise LayoutError(
                f"{listing} lists {len(missing)} images that are missing, the first is {missing[0]}"
            )
        return [real for real in found if real is not None]


def _files(folder: str) -> dict[str, str]:
    if not os.path.isdir(folder):
        return {}
    real = os.path.realpath(folder)
    with os.scandir(folder) as entries:
        return {
            entry.name: os.path.realpath(entry.path)
            if entry.is_symlink()
            else os.path.join(real, entry.name)
            for entry in entries
            if entry.is_file()
        }


def check_apart(
    train: Sequence[object], test: Sequence[object], train_list: str, test_list: str
) -> None:
    """Make sure that no image is both a training and a test image; images are told apart by id or
    real path."""
    both = set(train).intersection(test)
    if both:
        first = next(image for image in test if image in both)
        raise InputError(
            f"{len(both)} images are in both {train_list} and {test_list}, the first is {first}: "
            "no test image may be seen in training"
        )
