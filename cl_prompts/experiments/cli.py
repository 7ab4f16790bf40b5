"""Command line: ``cl-prompts ls | show | validate | run | report | warm-up``."""

from __future__ import annotations

import argparse
import errno
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from cl_prompts.checks import short
from cl_prompts.errors import InputError, RunError

# Columns of the report that a terminal of 80 columns has no room for.
#: errors of the system that say that a path is wrong
_OF_PATHS = {
    *(errno.ENAMETOOLONG, errno.ENOENT, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.ELOOP),
}
_HIDDEN_COLUMNS = ("BWT\u00a0%", "FWT\u00a0%", "trainable", "images/s", "F train", "F eval")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Modules in the current folder can be imported by their names, for strategies, scenarios and data
    sets of one's own.

    Returns:
        Exit code: 0 done, 1 a fault during a run, 2 bad input, 128 + n stopped by signal n
        (130 by Ctrl-C).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    _quieten_libraries()
    try:
        args = _parsed(arguments)
        args.command_line = "cl-prompts " + shlex.join(arguments)
        args.action(args)
    except InputError as error:
        print(f"cl-prompts: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"cl-prompts: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        # A path that cannot be used is bad input; a disk that is full or broken is a fault.
        reason = error.strerror or error
        place = f"{short(error.filename)}: " if error.filename else ""
        print(f"cl-prompts: {place}{reason}", file=sys.stderr)
        return 2 if error.errno in _OF_PATHS else 1
    except KeyboardInterrupt as error:
        print(f"cl-prompts: {error or 'stopped'}", file=sys.stderr)
        return int(getattr(error, "exit_code", 130))
    return 0


class _Parser(argparse.ArgumentParser):
    """Parser whose complaints are one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Refuse a command line."""
        raise InputError(f"{' '.join(message.split())}: see {self.prog} --help")


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    args, late = parser.parse_known_args(arguments)
    # argparse takes positional arguments in one stretch only; settings may also stand behind an
    # option.
    takes_late = hasattr(args, "settings")
    if late and not (takes_late and all("=" in text and text[0] != "-" for text in late)):
        parser.error(f"unrecognized arguments: {' '.join(late)}")
    if late:
        args.settings = [*args.settings, *late]
    return args


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="cl-prompts",
        description="Prompt-based continual learning on frozen Vision Transformers.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    ls = commands.add_parser(
        "ls", help="list recipes, strategies, data sets, scenarios and backbones"
    )
    ls.set_defaults(action=_ls)

    show = commands.add_parser("show", help="print a recipe")
    show.add_argument("recipe", metavar="RECIPE")
    show.set_defaults(action=_show)

    recipe = "a recipe of the package or a YAML file"
    keys = "settings to change, such as seed=1,2,3 classes=20 scenario.n_tasks=10 mvp.pool_size=5"
    validate = commands.add_parser(
        "validate", help="build and check all parts of a recipe without running it"
    )
    validate.add_argument("recipe", metavar="RECIPE", help=recipe)
    validate.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=keys)
    validate.add_argument("--quick", action="store_true", help="open no image file")
    validate.set_defaults(action=_validate)

    run = commands.add_parser(
        "run", help="run a recipe, every strategy with every seed, and write a report"
    )
    run.add_argument("recipe", nargs="?", metavar="RECIPE", help=recipe)
    run.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=keys)
    run.add_argument(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="continue an unfinished run at its last checkpoint, or all unfinished runs of a plan",
    )
    run.add_argument(
        "--out", type=Path, default=Path("runs"), help="parent of the run folders (default: runs)"
    )
    run.add_argument("--quiet", action="store_true", help="print no progress and no table")
    run.set_defaults(action=_run)

    report = commands.add_parser("report", help="write an HTML report on run folders")
    report.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders above them"
    )
    report.add_argument(
        "--out", type=Path, help="file to write (default: report.html in their common folder)"
    )
    report.set_defaults(action=_report)

    warm = commands.add_parser(
        "warm-up", help="learn initial prompts for MISA on data that no stream holds"
    )
    warm.add_argument("recipe", metavar="RECIPE", help=recipe)
    warm.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=keys)
    warm.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    warm.add_argument("--tasks", type=int, default=10, help="tasks of the sequence")
    warm.add_argument("--epochs", type=int, default=3, help="passes over each task")
    warm.add_argument("--lr", type=float, default=1e-4, help="learning rate of Adam")
    warm.add_argument("--held-out", type=float, default=0.1, help="share of classes held out")
    warm.set_defaults(action=_warm_up)
    return parser


def _ls(args: argparse.Namespace) -> None:
    from cl_prompts.backbones.weights import BACKBONES
    from cl_prompts.datasets.registry import DATASETS
    from cl_prompts.experiments.recipe_files import recipe_names
    from cl_prompts.scenarios.registry import SCENARIOS
    from cl_prompts.strategies import STRATEGIES

    own = "your own, by package.module:"
    lists: dict[str, dict[str, str]] = {
        "recipes": {**recipe_names(), "...": "your own, by the name of a YAML file"},
        "strategies": {
            **{name: entry.description for name, entry in STRATEGIES.items()},
            "...": own + "Class",
        },
        "scenarios": {
            **{name: scenario.description for name, scenario in SCENARIOS.items()},
            "...": own + "function",
        },
        "data sets": {
            **{name: entry.description for name, entry in DATASETS.items()},
            "...": own + "function",
        },
        "backbones": {
            **BACKBONES,
            "...": "any plain timm ViT with a class token, by its timm name",
        },
    }
    width = max(len(name) for entries in lists.values() for name in entries)
    for title, entries in lists.items():
        print(title)
        for name, about in entries.items():
            print(f"  {name:{width}}  {about}")
        print()


def _show(args: argparse.Namespace) -> None:
    from cl_prompts.experiments.recipe_files import recipe_text

    print(recipe_text(args.recipe), end="")


def _validate(args: argparse.Namespace) -> None:
    from cl_prompts.experiments.building import Builder
    from cl_prompts.experiments.names import labels_of
    from cl_prompts.experiments.settings import plan

    runs = plan(args.recipe, args.settings)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("image files opened", visible=False)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        parts, remarks = Builder(report, quick=args.quick).check(runs)
    print(parts.data)
    for file in parts.data.skipped:
        print(f"left out: {file}")
    print(parts.split.describe())
    for remark in remarks:
        print(f"note: {remark}")
    strategies = ", ".join(labels_of(settings.strategy for settings in runs).values())
    print(f"{args.recipe} is valid: {len(runs)} runs ({strategies})")


def _run(args: argparse.Namespace) -> None:
    if (args.recipe is None) == (args.resume is None):
        raise InputError("give a recipe to run, or --resume FOLDER, and not both")
    from cl_prompts.experiments.runner import resume, run_all
    from cl_prompts.experiments.settings import plan

    # Text that goes to a file need not be broken at 80 columns.
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(quiet=args.quiet, width=None if has_width else 140)
    if args.resume is not None:
        folders = resume(args.resume, console=console)
        single = (args.resume / "config.yaml").is_file()
        stem = None if single else args.resume
    else:
        runs = plan(args.recipe, args.settings)
        folders = run_all(runs, out=args.out, console=console, command=args.command_line)
        stem = args.out / runs[0].recipe
    finished: list[Path] = []
    try:
        for folder in folders:
            finished.append(folder)
    except (RunError, KeyboardInterrupt):
        if finished:  # what was finished before is not lost
            _conclude(finished, stem, console)
        raise
    _conclude(finished, stem, console)


def _conclude(folders: Sequence[Path], above: Path | None, console: Console) -> None:
    """Print the table of finished runs and write their report, into a folder above them."""
    from cl_prompts.experiments.report import new_page, write_report

    written = write_report(folders, None if above is None else new_page(above))
    for table in _tables(folders):
        console.print(table)
    print(f"report: {written}")


def _report(args: argparse.Namespace) -> None:
    from cl_prompts.experiments.report import write_report

    print(f"report: {write_report(args.runs, args.out)}")


def _warm_up(args: argparse.Namespace) -> None:
    from cl_prompts.experiments.warm_up import WarmUp, warm_up_recipe

    settings = WarmUp(args.tasks, args.epochs, args.lr, held_out=args.held_out)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("warm-up")

        def report(done: int, total: int, loss: float) -> None:
            progress.update(task, completed=done, total=total, description=f"loss {loss:.3f}")

        warm_up_recipe(args.recipe, args.settings, args.out, settings, report)
    print(f"prompts: {args.out}")


def _tables(folders: Sequence[Path]) -> Iterator[Table]:
    """One table for runs that may be compared, with its title where there are several."""
    from cl_prompts.experiments.results import sections
    from cl_prompts.experiments.runs import collect

    found = sections(collect(folders))
    for section in found:
        headings = section.headings
        shown = [i for i, name in enumerate(headings) if name not in _HIDDEN_COLUMNS]
        title = escape(section.title) if len(found) > 1 else None
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        for i in shown:
            table.add_column(headings[i])
        for row in section.rows():
            bold = [f"[bold]{c}[/bold]" if i in row.best else c for i, c in enumerate(row.cells)]
            table.add_row(*(bold[i] for i in shown))
        yield table


def _quieten_libraries() -> None:
    """Silence warnings of dependencies that users of this command can do nothing about."""
    for message in ("no QP solver", ".*wandb.*", "No loggers specified"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)


if __name__ == "__main__":
    sys.exit(main())
