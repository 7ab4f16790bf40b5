"""Functions that carry out the commands of the command line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.progress import Progress
from rich.segment import Segment
from rich.table import Table

from cl_prompts.checks import one_of, whole_number
from cl_prompts.errors import (
    InputError,
    RunError,
    first_of,
    printable,
    say,
    typed,
    unbroken,
)
from cl_prompts.experiments.recipes.recipe_files import recipe_label
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.runs import check_folders, unfinished
from cl_prompts.experiments.runner.executors import MOST_JOBS
from cl_prompts.experiments.runner.interruption import Stopped, stop_says
from cl_prompts.reading import RECIPE, content

# Columns of the report that a terminal of 80 columns has no room for.
_HIDDEN_COLUMNS = (
    *("BWT\u00a0%", "FWT\u00a0%", "trainable", "images/s", "F train", "F eval"),
    "device MB",
)


class _Console(Console):
    """A console on which all that is drawn is printable, whatever names stand in it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(emoji=False, **settings)  # a name such as :cat: is no picture

    def print(self, *objects: Any, **how: Any) -> None:
        """Print texts, tables and so on."""
        # Before rich breaks lines by the width of texts, and leaves some characters out.
        super().print(*(printable(o) if isinstance(o, str) else o for o in objects), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Draw a table, a text or the like."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable(segment.text)
            yield segment._replace(text=text)


def _print_line(console: Console, text: str) -> None:
    # Rich would colour and break names of folders, and take brackets in them for marks.
    console.print(unbroken(text), highlight=False, soft_wrap=True, markup=False)


def ls(args: argparse.Namespace) -> None:
    """Print the lists of recipes, strategies, scenarios and so on."""
    from cl_prompts.experiments.cli.listing import listed

    say(listed(args.listed))


def show(args: argparse.Namespace) -> None:
    """Print a recipe, or settings with their sentences."""
    from cl_prompts.experiments.cli.listing import shown_text

    say(shown_text(args.shown).rstrip("\n"))


@contextmanager
def _files_opened(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Draw how many image files have been opened, of how many."""
    console = _Console(stderr=True, quiet=quiet)
    with Progress(console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task("image files opened", visible=False)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        yield report


def init(args: argparse.Namespace) -> None:
    """Look at images of one's own, and write a recipe for them."""
    from cl_prompts.experiments.cli.proposal import expectations, recipe_for
    from cl_prompts.experiments.runner.own_images import name_of, survey

    name = name_of(args.place) if args.out is None else recipe_label(str(args.out))
    out = args.out or Path(f"{name}.yaml")
    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out} is no name of a recipe: it should end in .yaml")
    older = os.path.lexists(out)
    if older:
        if not args.force:
            raise InputError(f"{out} exists already: give --out another name, or --force")
        _check_proposed(out)
    else:
        files.check_place(out)
    if args.backbone is not None:
        from cl_prompts.backbones.weights import check_backbone

        check_backbone(args.backbone)
    if args.weights is not None and not args.weights.is_file():
        raise InputError(f"there is no file {args.weights} of weights")
    with _files_opened(args.quiet) as report:
        found = survey(
            args.place,
            test_percent=args.test_percent,
            seed=args.seed,
            tables=out.with_name(f"{name}_split"),
            progress=report,
        )
    for line in found.lines():
        say(unbroken(line))
    if not args.quiet:
        for line in expectations(found, args.backbone, args.weights):
            say(unbroken(line))
    if older:
        _check_proposed(out)  # again, as the look at all images takes a while
    found.keep()
    write = files.replace if older else files.write_new
    write(out, [recipe_for(found, name, args.backbone, args.weights).encode()])
    say(unbroken(f"wrote {out}; next: cl-prompts run {typed(out)}"))


def _check_proposed(out: Path) -> None:
    """Refuse to replace what is not a recipe that ``init`` itself proposed."""
    from cl_prompts.experiments.cli.proposal import MADE_BY_INIT

    if not (out.is_file() and MADE_BY_INIT.encode() in content(out, RECIPE)):
        raise InputError(
            f"{out} is no recipe that init proposed: remove it, or give --out another name"
        )


def validate(args: argparse.Namespace) -> None:
    """Build and check all parts of a recipe."""
    from cl_prompts.experiments.recipes.names import labels_of
    from cl_prompts.experiments.recipes.settings import plan

    runs = plan(args.recipe, args.settings)
    from cl_prompts.experiments.cli.streams_shown import streams_text
    from cl_prompts.experiments.runner.building import Builder

    with _files_opened(args.quiet) as report:
        builder = Builder(report, quick=args.quick)
        parts, remarks = builder.check(runs)
        streams = streams_text(runs, builder, parts.data)
    say(parts.data)
    for file in parts.data.skipped:
        say(unbroken(f"left out: {file}"))
    say(streams)
    for remark in remarks:
        say(unbroken(f"note: {remark}"))
    strategies = ", ".join(labels_of(settings.strategy for settings in runs).values())
    say(unbroken(f"{args.recipe} is valid: {len(runs)} runs ({strategies})"))


def run(args: argparse.Namespace) -> None:
    """Run a recipe, or resume, and report."""
    if (args.recipe is None) == (args.resume is None):
        raise InputError("give a recipe to run, such as digits, or --resume FOLDER, and not both")
    if args.trust_code and args.resume is None:
        raise InputError("--trust-code is for --resume: a recipe that you name is trusted")
    if args.out is not None and args.resume is not None:
        raise InputError("--out is for new runs: one that is resumed stays in its folder")
    if args.jobs is not None:
        whole_number("--jobs", args.jobs, 1, MOST_JOBS)
    again = "stopped before a run was begun"
    if args.resume is not None:
        again = "stopped; the same command goes on"
    with stop_says(again):
        _run(args)


def _run(args: argparse.Namespace) -> None:
    from cl_prompts.experiments.recipes.settings import plan
    from cl_prompts.experiments.run_folder.plans import check_begun

    # Before the imports, which take seconds: a wrong name or key is said at once.
    runs = []
    if args.resume is None:
        runs = plan(args.recipe, args.settings)
    elif not list(args.resume.glob("plan-*.json")):
        check_begun(args.resume)
    from cl_prompts.experiments.runner.running import resume, run_all

    console = console_of(args.quiet)
    out = args.out or Path("runs")
    if args.resume is not None:
        folders = resume(args.resume, console=console, trust_code=args.trust_code, jobs=args.jobs)
        single = (args.resume / "config.yaml").is_file()
        stem = None if single else args.resume
    else:
        folders = run_all(
            runs,
            out=out,
            console=console,
            command=args.command_line,
            jobs=args.jobs,
        )
        stem = out / runs[0].recipe
    finished: list[Path] = []
    try:
        for folder in folders:
            finished.append(folder)
    except (RunError, KeyboardInterrupt):
        if finished:  # earlier runs are not lost
            # One more signal ends the report; what is said is why the runs ended.
            with suppress(Stopped):
                _conclude(finished, stem, console)
        raise
    _conclude(finished, stem, console)


@stop_says("stopped; the same command goes on")
def sweep(args: argparse.Namespace) -> None:
    """Run all combinations of settings that are not finished yet, or search for good ones."""
    from cl_prompts.experiments.recipes.grid import grid
    from cl_prompts.experiments.runner.executors import Launching
    from cl_prompts.experiments.sweeps.objective import SearchOptions

    given = {name: getattr(args, name) for name in ("trials", "objective", "search_seed")}
    options = None
    if args.sampler is not None:
        options = SearchOptions.of(args.sampler, *given.values())
    for name, value in given.items():
        if options is None and value is not None:
            raise InputError(f"--{name.replace('_', '-')} is for a search: add --sampler tpe")
    how = Launching(args.launcher, args.jobs, args.cpus, args.gpus)
    how.check_installed()
    console = console_of(args.quiet)
    where: Any = {"out": args.out, "console": console, "how": how, "command": args.command_line}
    runs = grid(args.recipe, args.settings) if options is None else []
    if options is not None:
        from cl_prompts.experiments.sweeps.search_space import SearchSpace

        # Before the import, which takes seconds: a wrong key is said at once.
        # Both ends of every range have to be valid settings, and each of several values.
        space = SearchSpace.of(args.settings)
        for end in space.ends:
            grid(args.recipe, [*space.fixed, *end])
        from cl_prompts.experiments.sweeps.search import Search

        search = Search(args.recipe, args.settings, options, **where)
        search.execute()
        search.conclude()
        return
    from cl_prompts.experiments.sweeps.sweep import Sweep

    sweep = Sweep(runs, **where)
    sweep.check()
    try:
        sweep.execute()
    finally:
        if sweep.finished:
            _conclude(sweep.finished, args.out / runs[0].recipe, console)
    sweep.conclude()


def console_of(quiet: bool) -> Console:
    """The console that a command prints to."""
    # Text that goes to a file need not be broken at 80 columns.
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return _Console(quiet=quiet, width=None if has_width else 140)


def _conclude(folders: Sequence[Path], above: Path | None, console: Console) -> None:
    """Print the table of finished runs and write their report, into a folder above them."""
    place = typed(folders[0] if above is None else above)
    again = f"stopped before the report was made, which this does: cl-prompts report {place}"
    page: Path | None = None
    with stop_says(again):
        from cl_prompts.experiments.report.page import new_page, write_report

        try:
            # Claimed before it is drawn, so that no other command writes to the same name.
            page = None if above is None else new_page(above)
            written = write_report(folders, page)
        except KeyboardInterrupt:
            if page is not None:
                page.unlink()  # it says that it is being written
            raise
    with stop_says(f"stopped when the report was made: {written}"):
        for table in tables(folders):
            console.print(table)
    say(unbroken(f"report: {written}"))


def learn(args: argparse.Namespace) -> None:
    """Train the model of a finished run on further images, as a run of its own."""
    check_folders([args.parent])
    from cl_prompts.experiments.trained.learning import prepared, taught

    with _files_opened(args.quiet) as report:
        lesson = prepared(
            args.parent,
            args.place,
            args.settings,
            out=args.out,
            test_percent=args.test_percent,
            seed=args.seed,
            trust_code=args.trust_code,
            progress=report,
        )
    console = console_of(args.quiet)
    for line in lesson.lines:
        _print_line(console, line)
    if args.dry_run:
        return
    folder = taught(lesson, out=args.out, console=console, command=args.command_line)
    _conclude([folder], None, console)
    console.print(_before_after(folder))


def push(args: argparse.Namespace) -> None:
    """Push a finished run to the Hugging Face hub."""
    from cl_prompts.experiments.trained.hub import push as pushed

    address, names = pushed(args.run, args.name, public=args.public)
    say(f"pushed {', '.join(names)}")
    say("these name the images, the command and folders of this machine: look at them there")
    say(f"commit: {address}; in Python: load_run({'hf://' + args.name!r})")


def _before_after(folder: Path) -> Table:
    """Scores of a run that learned on, before it did and after."""
    from cl_prompts.experiments.results.before_after import before_after
    from cl_prompts.experiments.run_folder.runs import collect

    (run,) = collect([folder])
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("test images of", "before", "after", "change"):
        table.add_column(heading, justify="left" if heading == "test images of" else "right")
    for row in before_after(run):
        values = (row.before, row.after)
        texts = ["" if value is None else f"{100 * value:.1f} %" for value in values]
        change = "" if row.change is None else f"{100 * row.change:+.1f}"
        table.add_row(escape(printable(row.name)), *texts, change)
    return table


def report(args: argparse.Namespace) -> None:
    """Write a report on run folders."""
    check_folders(args.runs)
    from cl_prompts.experiments.report.page import write_report

    page = write_report(args.runs, args.out, reference=args.reference, figures=args.figures)
    say(unbroken(f"report: {page}"))


def compare(args: argparse.Namespace) -> None:
    """Print or write a comparison of runs."""
    from cl_prompts.experiments.results.comparison_text import Format, written

    one_of("format", args.format, Format)
    if args.out is not None:
        files.check_place(args.out)
    check_folders(args.runs)
    from cl_prompts.experiments.results.comparison import compare as compared

    found = compared(
        args.runs,
        by=args.by,
        reference=args.reference,
        rows=_names(args.rows),
        metrics=_names(args.metrics),
    )
    _print_or_write(written(found, args.format), args.out)
    if left := unfinished(args.runs):
        note = f"note: not finished, and in no table: {first_of(map(str, left), 3)}"
        say(unbroken(note), sys.stderr)


def predict(args: argparse.Namespace) -> None:
    """Print or write labels of images in CSV."""
    from cl_prompts.experiments.trained.predicting import (
        check_rate,
        image_files,
        predictions_csv,
    )

    if args.unknown is not None:
        check_rate(args.unknown)
    if args.out is not None:
        files.check_place(args.out)
    images = image_files(args.images)
    # Wrong paths are refused before this slow import.
    from cl_prompts.experiments.trained.loading import load_run

    trained = load_run(args.run, trust_code=args.trust_code)
    found = trained.predict(images, unknown=args.unknown)
    _print_or_write(predictions_csv(images, found, all_scores=args.all_scores), args.out)


def export(args: argparse.Namespace) -> None:
    """Write the model of a run as a file of its own."""
    out = args.out or args.run / ("model.onnx" if args.onnx else "model.pt")
    if args.out is not None or args.run.is_dir():
        files.check_place(out)
    from cl_prompts.experiments.trained.exporting import export_onnx, export_torch, script
    from cl_prompts.experiments.trained.loading import load_run

    trained = load_run(args.run, trust_code=args.trust_code)
    recorded, scored = (export_onnx if args.onnx else export_torch)(trained, out)
    scores = f"{100 * scored:.2f} % on the test set, and {100 * recorded:.2f} % in the run"
    say(unbroken(f"{out}: {scores}"))
    kind = "an image of 8 bits a colour, without transparency"
    say(f"To label {kind}, with it:\n\n{script(trained, out, 'onnx' if args.onnx else 'torch')}")


def completion(args: argparse.Namespace) -> None:
    """Print the completion script of a shell."""
    from cl_prompts.experiments.cli.completion import completion_script

    say(completion_script(args.shell), end="")


def _names(text: str | None) -> list[str]:
    from cl_prompts.experiments.recipes.grid import divided

    # A row such as "mvp (lr=0.1, alpha=0.5)" is one.
    return [name for name in divided(text or "") if name]


def _print_or_write(text: str, out: Path | None) -> None:
    if out is None:
        say(text)
    else:
        # Names of files and classes need not be UTF-8.
        files.write_new(out, [f"{text}\n".encode(errors="backslashreplace")])


def tables(folders: Sequence[Path]) -> Iterator[Table]:
    """One table for runs that may be compared, with its title where there are several."""
    from cl_prompts.experiments.results.sections import sections
    from cl_prompts.experiments.run_folder.runs import collect

    found = sections(collect(folders))
    for section in found:
        headings = section.headings
        shown = [i for i, name in enumerate(headings) if name not in _HIDDEN_COLUMNS]
        title = escape(printable(section.title)) if len(found) > 1 else None
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        for i in shown:
            table.add_column(escape(printable(headings[i])))
        for label, entries in section.table().items():
            texts = [f"[bold]{e.text}[/bold]" if e.best else e.text for e in entries]
            cells = [escape(printable(label)), str(len(section.groups[label])), *texts]
            table.add_row(*(cells[i] for i in shown))
        yield table


_ALL = (
    ls,
    show,
    init,
    validate,
    run,
    sweep,
    learn,
    report,
    compare,
    predict,
    export,
    push,
)
#: command -> function
ACTIONS: dict[str, Callable[[argparse.Namespace], None]] = {
    action.__name__.replace("_", "-"): action for action in (*_ALL, completion)
}
