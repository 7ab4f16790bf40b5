"""Pictures of the report: addresses for its page and, where asked for, files."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Text

from cl_prompts.experiments import figures
from cl_prompts.experiments.report.forked import each_of
from cl_prompts.experiments.run_folder.runs import Run

View = dict[str, Any]

#: runs, and streams of a section, that get pictures of their own on one page
MOST_RUNS = 20
_LEAST_LETTERS = 9.0  # px, in a picture that was shrunk
_PX_PER_INCH = 96
_LONGEST_STEM = 150  # of the name of a file


@dataclass(frozen=True)
class _Picture:
    """A picture to draw, for a place on the page, for a file, or for both."""

    figure: Callable[[], Figure]
    view: View | None
    file: str | None

    def drawn(self) -> tuple[bytes, View]:
        """Its file, and what its place on the page lacks."""
        figure = self.figure()
        png = b"" if self.file is None else figures.png_bytes(figure)
        if self.view is None:
            return png, {}
        if png:
            figure.set_layout_engine("none")  # drawn a second time as it was laid out
        svg = figures.svg_text(figure).encode()
        width = self.view["width"]
        # Letters are measured in points, of which an inch has 72.
        shrunk = _LEAST_LETTERS / (_smallest_letters(figure) * _PX_PER_INCH / 72)
        return png, {
            "uri": "data:image/svg+xml;base64," + base64.b64encode(svg).decode(),
            "least": min(width, round(width * shrunk + 0.5)),
        }


class Gallery:
    """Pictures by file name, as PNG bytes, drawn before anything is written.

    Args:
        keep_files: whether to draw PNG files, too, which takes as long again as the page.
    """

    def __init__(self, keep_files: bool = False) -> None:
        """Start empty."""
        self.keep_files = keep_files
        self.files: dict[str, bytes] = {}
        self.most = MOST_RUNS
        self.chosen: set[Path] = set()
        self._waiting: list[_Picture] = []

    def choose(self, groups: Iterable[Sequence[Run]]) -> None:
        """Choose the runs that get pictures of their own: all where files are asked for, and
        otherwise a few, the first seed of each row before the second of any.

        Args:
            groups: runs of each row.
        """
        in_turn = itertools.chain(*itertools.zip_longest(*groups))
        found = [run.folder for run in in_turn if run is not None]
        self.most = len(found) if self.keep_files else MOST_RUNS
        self.chosen = set(found[: self.most])

    def add(self, name: str, figure: Figure, alt: str) -> View:
        """Add a figure to the page, and to the files.

        Args:
            name: its file name, but for characters that files should not have.
            figure: what to draw.
            alt: alternative text.

        Returns:
            For the template ``alt``, ``width`` in CSS pixels, 96 per inch, and from :meth:`draw` on
            ``uri`` and ``least``, the width to which it can shrink until its smallest letters are
            9 px high. Pages show SVG, which follows their theme; files are PNG on white.
        """
        view = {"alt": alt, "width": round(_PX_PER_INCH * figure.get_figwidth())}
        self._waiting.append(_Picture(lambda: figure, view, self._file(name)))
        return view

    def add_file(self, name: str, draw: Callable[[], Figure]) -> None:
        """Add a figure to the files alone, if there are to be any."""
        if self.keep_files:
            self._waiting.append(_Picture(draw, None, self._file(name)))

    def draw(self) -> None:
        """Draw what was added, on all cores."""
        drawn = each_of(self._waiting, _Picture.drawn)
        for picture, (png, lacked) in zip(self._waiting, drawn, strict=True):
            if picture.file is not None:
                self.files[picture.file] = png
            if picture.view is not None:
                picture.view.update(lacked)
        self._waiting.clear()

    def _file(self, name: str) -> str | None:
        """A name that no other picture has, if there are to be files."""
        if not self.keep_files:
            return None
        # Names of rows hold settings, those of files at most 255 letters.
        stem = re.sub(r"[^A-Za-z0-9]+", "-", name)[-_LONGEST_STEM:].strip("-").lower()
        file = f"{stem}.png"
        number = 1
        while file in self.files:
            number += 1
            file = f"{stem}-{number}.png"
        self.files[file] = b""  # until it is drawn
        return file


def _smallest_letters(figure: Figure) -> float:
    """Font size in points of its smallest text."""
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    return min((float(text.get_fontsize()) for text in texts), default=9.0)
