"""Report: one self-contained HTML page with tables and pictures, made from run folders alone.

Only finished runs count; of two runs of the same settings and seeds only the newer one does.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.columns import at
from cl_prompts.experiments.names import labels_of
from cl_prompts.experiments.pictures import strategy_styles
from cl_prompts.experiments.report_views import Gallery, section_view
from cl_prompts.experiments.results import sections
from cl_prompts.experiments.runs import Run, collect

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def write_report(paths: Iterable[Path | str], out: Path | None = None) -> Path:
    """Write ``report.html`` on all runs in ``paths``, with its pictures in ``report_files``.

    Args:
        paths: run folders or folders above them, see ``collect``.
        out: folder to write to, or a file name that ends in ``.html``; default: the folder common
            to all paths.

    Returns:
        The HTML file. An older report there is replaced together with its pictures.

    Raises:
        InputError: see ``collect``; or ``out`` cannot be written to.
        RunError: the disk is full or broken.
    """
    places = [Path(path) for path in paths]
    runs = collect(places)
    if out is None:
        out = Path(os.path.commonpath([place.resolve() for place in places]))
    page = out if out.suffix == ".html" else out / "report.html"
    gallery = Gallery()
    html = _render(runs, places, page.parent, gallery)
    folder = page.with_name(f"{page.stem}_files")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.png"):
            old.unlink(missing_ok=True)  # another report may be written there
        for name, png in gallery.files.items():
            (folder / name).write_bytes(png)
        draft = page.with_suffix(f".html.{os.getpid()}.part")
        draft.write_text(html, encoding="utf-8")
        draft.replace(page)
    except OSError as error:
        kind = RunError if error.errno in _FULL else InputError
        raise kind(f"cannot write the report to {page}: {error.strerror or error}") from error
    return page


def new_page(folder: Path) -> Path:
    """Name of a new report ``report-<time>.html``, with ``-2`` and so on if it is taken, also by a
    process that ends in the same second."""
    name = f"report-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        page = folder / (f"{name}.html" if number == 1 else f"{name}-{number}.html")
        try:
            page.with_name(f"{page.stem}_files").mkdir(parents=True)
        except FileExistsError:
            continue
        return page
    raise AssertionError("numbers do not end")


def _render(runs: list[Run], paths: list[Path], base: Path, gallery: Gallery) -> str:
    parts = sections(runs)
    styles = strategy_styles(label for part in parts for label in part.groups)
    counted = {run.folder for part in parts for run in part.runs}
    labels = labels_of(str(run.summary["strategy"]) for run in runs)
    jinja = Environment(
        loader=PackageLoader("cl_prompts.experiments"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    commands = [str(run.summary.get("command") or "") for run in runs]
    return jinja.get_template("report.html").render(
        title=", ".join(dict.fromkeys(str(run.summary["recipe"]) for run in runs)),
        sections=[section_view(part, styles, gallery) for part in parts],
        multi_label=any(run.multi_label for run in runs),
        forward_transfer=any(at("results", "fwt")(run.summary) is not None for run in runs),
        runs=[
            {
                "run": run,
                "strategy": labels[str(run.summary["strategy"])],
                "folder": os.path.relpath(run.folder.resolve(), base.resolve()),
                "counted": run.folder in counted,
            }
            for run in runs
        ],
        n_finished=sum(run.finished for run in runs),
        environments=_environments(runs),
        commands=list(dict.fromkeys(filter(None, commands))),
        left_out=_left_out(runs),
        report_command="cl-prompts report " + shlex.join(map(str, paths)),
    )


def _left_out(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Per data set with such files: the images skipped, and the unread files by suffix."""
    found = {}
    for run in runs:
        skipped = list(run.summary.get("skipped_images") or ())
        unread = dict(run.summary.get("unread_files") or {})
        if skipped or unread:
            entry = {"dataset": run.summary["dataset"], "skipped": skipped, "unread": unread}
            found[json.dumps(entry, sort_keys=True)] = entry
    return list(found.values())


def _environments(runs: Sequence[Run]) -> list[tuple[int, dict[str, Any]]]:
    """Environments that differ in more than the time, each after its number of finished runs."""
    finished = [dict(run.environment) for run in runs if run.finished]
    for environment in finished:
        environment.pop("time", None)
        environment.pop("command", None)
    counts = Counter(json.dumps(environment) for environment in finished)
    return [(n, json.loads(text)) for text, n in counts.items()]
