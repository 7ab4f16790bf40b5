"""The page: a self-contained HTML file with tables and charts, made from run folders alone."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cl_prompts.errors import InputError, short
from cl_prompts.experiments.figures.style import Format, figure, theme
from cl_prompts.experiments.recipes.values import yaml_text
from cl_prompts.experiments.report.charts import Charts, script_json
from cl_prompts.experiments.results import comparison, history
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.files import replace
from cl_prompts.experiments.run_folder.runs import RunRecord, collect
from cl_prompts.user_code import label_of

#: marks a page as a report of ours
_MARK = '<meta name="generator" content="cl-prompts report">'


def write_report(
    paths: Iterable[Path | str],
    out: Path | None = None,
    *,
    reference: str | None = None,
    figures: Format | None = None,
) -> Path:
    """Write ``report.html``, a self-contained page on all runs in ``paths``.

    Args:
        paths: run folders or folders above them, see ``collect``; rows come in this order.
        out: folder, or file name that ends in ``.html``; default: the folder common to all paths.
        reference: label or strategy that paired differences refer to, see
            :func:`~cl_prompts.experiments.results.groups.choose`.
        figures: "pdf", "svg" or "png" also writes each chart as a figure of one column's width to
            the folder ``report_figures`` beside the page.

    Returns:
        The HTML file. It replaces an older report.

    Raises:
        InputError: see ``collect``; an unknown reference; ``out`` exists and is not a report of
            cl-prompts.
        OSError: the report cannot be written.
    """
    places = [Path(path) for path in paths]
    runs = collect(places)
    if out is None:
        out = Path(os.path.commonpath([place.resolve() for place in places]))
    page = out if out.suffix == ".html" else out / "report.html"
    if page.is_file() and _MARK not in page.read_text(errors="replace")[:1000]:
        raise InputError(
            f"{short(page)} is not a report of cl-prompts: remove it, or give --out another name"
        )
    html, charts = _render(runs, places, page.parent, reference)
    page.parent.mkdir(parents=True, exist_ok=True)
    replace(page, [html.encode(errors="backslashreplace")])
    if figures is not None:
        folder = page.with_name(f"{page.stem}_figures")
        folder.mkdir(exist_ok=True)
        for name, chart in charts.by_file.items():
            replace(folder / f"{name}.{figures}", [figure(chart, figures)])
    return page


def _render(
    runs: list[RunRecord], paths: list[Path], base: Path, reference: str | None
) -> tuple[str, Charts]:
    parts = [part.ranked() for part in groups(runs, reference)]
    charts = Charts([*dict.fromkeys(row for part in parts for row in part.rows)])
    loader = PackageLoader("cl_prompts.experiments.report")
    env = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    options = [] if reference is None else ["--reference", reference]
    template = env.get_template("report.html")
    html = template.render(
        library=Markup(vl_convert.javascript_bundle()),  # type: ignore[call-arg]
        themes=script_json([theme(), theme(dark=True)]),
        parts=parts,
        charts=charts,
        comparison=comparison,
        history=history,
        yaml_text=yaml_text,
        runs=runs,
        place=lambda path: Path(os.path.relpath(path.resolve(), base.resolve())).as_posix(),
        label=label_of,
        left_out={
            run.summary["dataset"]: run.summary for run in runs if run.summary.get("skipped_images")
        },
        report_command=shlex.join(["cl-prompts", "report", *map(str, paths), *options]),
    )
    return html, charts
