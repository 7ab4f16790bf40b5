"""Report: one self-contained HTML page with tables and pictures, made from run folders alone.

Only finished runs count; of two runs of the same settings and seeds only the newer one does.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from cl_prompts.errors import InputError, RunError, short, unknown
from cl_prompts.experiments.figures import strategy_styles
from cl_prompts.experiments.report import task_tables
from cl_prompts.experiments.report.downloads import csv_uri
from cl_prompts.experiments.report.findings import opening
from cl_prompts.experiments.report.gallery import Gallery
from cl_prompts.experiments.report.section_views import section_view
from cl_prompts.experiments.results.columns import at
from cl_prompts.experiments.results.comparison import named_rows, reference_row
from cl_prompts.experiments.results.sections import Section, sections, strategy_names
from cl_prompts.experiments.run_folder.files import replace
from cl_prompts.experiments.run_folder.runs import Run, collect
from cl_prompts.reading import TABLE, content, opened

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
#: what every report says of itself in its head
_MARK = '<meta name="generator" content="cl-prompts report">'
#: what stands in a page until it is written
_BEING_WRITTEN = (
    f'<!DOCTYPE html><html lang="en">{_MARK}<title>Report</title><p>This report is being written,'
    " or what wrote it was stopped.</p></html>"
)
#: where a report names the pictures beside it, which are all that it may replace
_PICTURES = re.compile(rb'<meta name="pictures" content="((?:[a-z0-9-]+\.png ?)*)">')
#: entries of environment.json that each run has for itself
_OF_ONE_RUN = {"time", "command", "settings", "sha256"}


def write_report(
    paths: Iterable[Path | str],
    out: Path | None = None,
    *,
    reference: str | None = None,
    figures: bool = False,
) -> Path:
    """Write ``report.html`` on all runs in ``paths``: one file that needs no other.

    Args:
        paths: run folders or folders above them, see ``collect``; rows come in this order.
        out: folder to write to, or a file name that ends in ``.html``; default: the folder common
            to all paths.
        reference: row of the tables that paired differences refer to, a label or the name of a
            strategy, see :func:`~cl_prompts.experiments.results.comparison.reference_row`.
        figures: whether to write all pictures to ``report_files`` beside the page, as PNG.

    Returns:
        The HTML file. An older report there is replaced together with the pictures that it names.

    Raises:
        InputError: see ``collect``; no table has that reference; ``out`` is a page that is no
            report of ours, or cannot be written to; a picture would replace one of others.
        RunError: the disk is full or broken.
    """
    places = [Path(path) for path in paths]
    runs = collect(places)
    if out is None:
        out = Path(os.path.commonpath([place.resolve() for place in places]))
    page = out if out.suffix == ".html" else out / "report.html"
    folder = page.with_name(f"{page.stem}_files")
    _check_ours(page, folder)
    older = _pictures(page)
    gallery = Gallery(figures)
    html = _render(runs, places, page.parent, gallery, reference)
    for name in gallery.files:
        if name not in older and os.path.lexists(folder / name):
            raise InputError(
                f"{short(folder / name)} is of no report here: remove it, or give another --out"
            )
    _check_ours(page, folder)  # again, as drawing takes a while
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        for name in older:
            (folder / name).unlink(missing_ok=True)  # another report may be written there
        # Before its pictures: what stops in between leaves none that no page names.
        replace(page, [html.encode(errors="backslashreplace")])
        _write_files(folder, gallery.files)
        if older and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    except OSError as error:
        kind = RunError if error.errno in _FULL else InputError
        raise kind(f"cannot write the report to {page}: {error.strerror or error}") from error
    return page


def _check_ours(page: Path, folder: Path) -> None:
    """Refuse to replace a page, or pictures beside it, that no report of ours is."""
    if os.path.lexists(page):
        if page.is_symlink() or not page.is_file() or _MARK not in _head(page):
            raise InputError(
                f"{short(page)} does not say that it is a report of cl-prompts: remove it, or give"
                " --out another name"
            )
    elif any(folder.glob("*.png")):
        raise InputError(f"{short(folder)} is of no report here: remove it, or give another --out")
    if folder.is_symlink():
        raise InputError(f"{short(folder)} is a link: remove it, or give another --out")


def _head(page: Path) -> str:
    with opened(page, TABLE) as file:
        return file.read(1000).decode(errors="replace")


def _pictures(page: Path) -> list[str]:
    """File names of the pictures that an older report says are its own."""
    named = _PICTURES.search(content(page, TABLE)) if page.is_file() else None
    return [] if named is None else named[1].decode().split()


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the pictures of a report."""
    if files:
        folder.mkdir(exist_ok=True)
    for name, png in files.items():
        replace(folder / name, [png])


def new_page(folder: Path) -> Path:
    """Claim a new report ``report-<time>.html``, with ``-2`` and so on if it is taken, also by a
    process that ends in the same second."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"report-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        page = folder / (f"{name}.html" if number == 1 else f"{name}-{number}.html")
        try:
            with page.open("x", encoding="utf-8") as file:
                file.write(_BEING_WRITTEN)
        except FileExistsError:
            continue
        return page
    raise AssertionError("numbers do not end")


def _render(
    runs: list[Run], paths: list[Path], base: Path, gallery: Gallery, reference: str | None
) -> str:
    labels = strategy_names(runs)
    parts = sections(runs, labels)
    styles = strategy_styles(label for part in parts for label in part.groups)
    counted = {run.folder for part in parts for run in part.runs}
    references = _references(parts, reference)
    gallery.choose(group for part in parts for group in part.groups.values())
    link = partial(_link, base=base.resolve())
    jinja = Environment(
        loader=PackageLoader("cl_prompts.experiments.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    commands = [str(run.summary.get("command") or "") for run in runs]
    table = [
        {
            "run": run,
            "strategy": labels[str(run.summary["strategy"])],
            "folder": os.path.relpath(run.folder.resolve(), base.resolve()),
            "link": link(run.folder),
            "settings": link(run.folder / "config.yaml"),
            "counted": run.folder in counted,
        }
        for run in runs
    ]
    views = [
        section_view(part, styles, row, gallery, link)
        for part, row in zip(parts, references, strict=True)
    ]
    gallery.draw()
    return jinja.get_template("report.html").render(
        title=", ".join(dict.fromkeys(str(run.summary["recipe"]) for run in runs)),
        sections=views,
        pictures=" ".join(gallery.files),
        multi_label=any(run.multi_label for run in runs),
        forward_transfer=any(at("results", "fwt")(run.summary) is not None for run in runs),
        shades=task_tables.shades(),
        inks=task_tables.inks(),
        runs=table,
        runs_csv=csv_uri(_runs_rows(table)),
        opening=opening(runs),
        n_finished=sum(run.finished for run in runs),
        environments=_environments(runs),
        commands=list(dict.fromkeys(filter(None, commands))),
        left_out=_left_out(runs),
        report_command="cl-prompts report "
        + shlex.join(map(str, paths))
        + ("" if reference is None else f" --reference {shlex.quote(reference)}"),
    )


def _references(parts: Sequence[Section], name: str | None) -> list[str]:
    """Row that differences refer to in each table."""
    known = [label for part in parts for label in part.groups]
    if name is not None and parts and not named_rows(name, known):
        raise unknown("row of these runs", name, known)
    return [reference_row([part], list(part.groups), name) for part in parts]


def _link(path: Path, base: Path) -> str:
    """Address of a file or folder on a page in ``base``."""
    return quote(Path(os.path.relpath(path.resolve(), base)).as_posix())


def _runs_rows(table: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """The list of runs, for a file."""
    keys = ("status", "seconds", "peak_memory_mb", "error")
    rows: list[list[Any]] = [["folder", "strategy", "seed", "stream_seed", "counted", *keys]]
    for entry in table:
        summary = entry["run"].summary
        seeds = [summary["seed"], summary["stream_seed"]]
        facts = [summary.get(key) for key in keys]
        rows.append([entry["folder"], entry["strategy"], *seeds, entry["counted"], *facts])
    return rows


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
    """Environments that differ in more than time and settings, each after its number of finished
    runs."""
    counts: Counter[str] = Counter()
    for run in runs:
        if run.finished:
            shared = {k: v for k, v in run.environment.items() if k not in _OF_ONE_RUN}
            counts[json.dumps(shared)] += 1
    return [(n, json.loads(text)) for text, n in counts.items()]
