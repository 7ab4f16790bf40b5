"""The commands, a function each: its parameters are the arguments of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from cl_prompts.checks import one_of, whole_number
from cl_prompts.errors import InputError, RunError, first_of
from cl_prompts.experiments.recipes.recipe_files import check_recipe_code, recipe_label
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.runner.executors import MOST_JOBS
from cl_prompts.experiments.runner.interruption import Stopped, stop_says

# Columns of the report that a terminal of 80 columns has no room for.
_HIDDEN_COLUMNS = (
    *("BWT\u00a0%", "FWT\u00a0%", "trainable", "images/s", "F train", "F eval"),
    "device MB",
)


def ls(listed: Sequence[str] = ()) -> None:
    """List recipes, strategies, plugins, scenarios, data sets and backbones.

    Args:
        listed: one of the lists, and words to look for.
    """
    from cl_prompts.experiments.cli.listing import listed as text_of

    print(text_of(listed))


def show(shown: Sequence[str]) -> None:
    """Print a recipe, or the settings of a strategy.

    Args:
        shown: a recipe, or strategy NAME, plugin NAME, scenario NAME, dataset NAME, backbone,
            evaluation.
    """
    from cl_prompts.experiments.cli.listing import shown_text

    print(shown_text(shown).rstrip("\n"))


def init(
    place: Path,
    *,
    backbone: str | None = None,
    weights: Path | None = None,
    test_percent: float = 20,
    seed: int = 0,
    out: Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> None:
    """Look at a folder or table of your images, and write a recipe for it.

    Args:
        place: train/<class>/* and test/<class>/*, <class>/* alone, or a table of path,label;label.
        backbone: in the place of the proposed one.
        weights: file of the backbone's weights (default: from the hub).
        test_percent: share of test images, where there is no test part (default: 20).
        seed: of their choice (default: 0).
        out: file to write (default: NAME.yaml, as the folder).
        force: write over a recipe that exists.
        quiet: print nothing but errors.
    """
    from cl_prompts.experiments.cli.proposal import recipe_for, warnings_on
    from cl_prompts.experiments.runner.own_images import name_of, survey

    name = name_of(place) if out is None else recipe_label(str(out))
    out = out or Path(f"{name}.yaml")
    _check_proposed(out, force)
    if backbone is not None:
        from cl_prompts.backbones.weights import check_backbone

        check_backbone(backbone)
    if weights is not None and not weights.is_file():
        raise InputError(f"there is no file {weights} of weights")
    tables = out.with_name(f"{name}_split")
    with _files_opened(quiet) as progress:
        found = survey(place, tables, test_percent=test_percent, seed=seed, progress=progress)
    for line in (*found.lines(), *warnings_on(found, backbone)):
        print(line)
    older = _check_proposed(out, force)  # again, as the look at all images takes a while
    write = files.replace if older else files.write_new
    write(out, [recipe_for(found, name, backbone, weights).encode()])
    print(f"wrote {out}; next: cl-prompts run {quote(str(out))}")


def _check_proposed(out: Path, force: bool) -> bool:
    """Refuse to replace what is not a recipe of ``init``'s; whether there is one."""
    from cl_prompts.experiments.cli.proposal import MADE_BY_INIT

    if out.suffix not in (".yaml", ".yml"):
        raise InputError(f"{out} is no name of a recipe: it should end in .yaml")
    if not os.path.lexists(out):
        files.check_place(out)
        return False
    if not force:
        raise InputError(f"{out} exists already: give --out another name, or --force")
    if not (out.is_file() and MADE_BY_INIT.encode() in out.read_bytes()):
        raise InputError(
            f"{out} is no recipe that init proposed: remove it, or give --out another name"
        )
    return True


def validate(
    recipe: str,
    settings: Sequence[str] = (),
    *,
    quick: bool = False,
    trust_code: bool = False,
    quiet: bool = False,
) -> None:
    """Build and check all parts of a recipe without running it.

    Args:
        recipe: a recipe of the package or a YAML file.
        settings: settings to change, such as seed=1-3 classes=20 scenario.n_tasks=10
            mvp.pool_size=5.
        quick: open no image file.
        trust_code: import the code that a recipe's file names, which runs it.
        quiet: print nothing but errors.
    """
    from cl_prompts.experiments.recipes.names import labels_of
    from cl_prompts.experiments.recipes.settings import plan

    check_recipe_code(recipe, settings, trust_code)
    runs = plan(recipe, settings)
    from cl_prompts.experiments.runner.building import Builder, split_of

    with _files_opened(quiet) as progress:
        builder = Builder(progress, quick=quick)
        parts, remarks = builder.check(runs)
        # Strategies share the stream of a seed, and some scenarios have one for all seeds.
        streams = {split_of(run, builder.data(run)).describe(): run.stream_seed for run in runs}
    print(parts.data)
    for file in parts.data.skipped:
        print(f"left out: {file}")
    for text, stream_seed in streams.items():
        print(f"stream of seed {stream_seed}: {text}" if len(streams) > 1 else text)
    for remark in remarks:
        print(f"note: {remark}")
    strategies = ", ".join(labels_of(run.strategy for run in runs).values())
    print(f"{recipe} is valid: {len(runs)} runs ({strategies})")


def run(
    recipe: str | None = None,
    settings: Sequence[str] = (),
    *,
    resume: Path | None = None,
    jobs: int | None = None,
    trust_code: bool = False,
    out: Path | None = None,
    quiet: bool = False,
    command_line: str = "",
) -> None:
    """Run a recipe, every strategy with every seed, and write a report.

    Args:
        recipe: a recipe of the package or a YAML file.
        settings: settings to change, such as seed=1-3 classes=20 scenario.n_tasks=10
            mvp.pool_size=5.
        resume: continue the unfinished run in this folder at its last checkpoint, or all unfinished
            runs of a plan.
        jobs: runs at the same time (default: as many as there are cores for, where several take a
            tiny ViT on the CPU, and otherwise 1).
        trust_code: import the code that a recipe's file or the folder names, which runs it.
        out: parent of the run folders (default: runs).
        quiet: print nothing but errors.
        command_line: as it was typed.
    """
    if (recipe is None) == (resume is None):
        raise InputError("give a recipe to run, such as digits, or --resume FOLDER, and not both")
    if out is not None and resume is not None:
        raise InputError("--out is for new runs: one that is resumed stays in its folder")
    if jobs is not None:
        whole_number("--jobs", jobs, 1, MOST_JOBS)
    console = console_of(quiet)
    if resume is not None:
        with stop_says("stopped; the same command goes on"):
            _resume(resume, jobs, trust_code, console)
    else:
        with stop_says("stopped before a run was begun"):
            check_recipe_code(str(recipe), settings, trust_code)
            _run(str(recipe), settings, jobs, out or Path("runs"), console, command_line)


def _run(
    recipe: str,
    settings: Sequence[str],
    jobs: int | None,
    out: Path,
    console: Console,
    command: str,
) -> None:
    from cl_prompts.experiments.recipes.settings import plan

    # Before the imports, which take seconds: a wrong name or key is said at once.
    runs = plan(recipe, settings)
    from cl_prompts.experiments.runner.running import run_all

    folders = run_all(runs, out=out, console=console, command=command, jobs=jobs)
    _collect(folders, out / runs[0].recipe, console)


def _resume(folder: Path, jobs: int | None, trust_code: bool, console: Console) -> None:
    from cl_prompts.experiments.run_folder.plans import check_begun

    if not list(folder.glob("plan-*.json")):
        check_begun(folder)
    from cl_prompts.experiments.runner.running import resume

    folders = resume(folder, console=console, trust_code=trust_code, jobs=jobs)
    _collect(folders, None if (folder / "config.yaml").is_file() else folder, console)


def _collect(folders: Iterator[Path], above: Path | None, console: Console) -> None:
    """Let runs finish, and report on those that did, also where one fails."""
    finished: list[Path] = []
    try:
        for folder in folders:
            finished.append(folder)
    except (RunError, KeyboardInterrupt):
        if finished:  # earlier runs are not lost
            # One more signal ends the report; what is said is why the runs ended.
            with suppress(Stopped):
                _conclude(finished, above, console)
        raise
    _conclude(finished, above, console)


@stop_says("stopped; the same command goes on")
def sweep(
    recipe: str,
    settings: Sequence[str] = (),
    *,
    jobs: int | None = None,
    launcher: str = "local",
    cpus: int | None = None,
    gpus: float | None = None,
    sampler: str | None = None,
    trials: int | None = None,
    objective: str | None = None,
    search_seed: str | None = None,
    trust_code: bool = False,
    out: Path = Path("runs"),
    quiet: bool = False,
    command_line: str = "",
) -> None:
    """Run every combination of values, but for what is finished; go on with what was begun.

    Args:
        recipe: a recipe of the package or a YAML file.
        settings: settings, each with one value or several, such as strategy=er,mvp seed=1-5
            lr=1e-3,1e-2.
        jobs: runs at the same time (default: 1, and elsewhere as many as there is room for).
        launcher: local, ray or slurm: processes of this machine, or tasks on a cluster.
        cpus: of each run on Ray or Slurm (default: 1).
        gpus: of each run on Ray or Slurm, such as 0.5 (default: 1 where device asks for one).
        sampler: search for good settings, such as lr=1e-4..1e-1, by Optuna: tpe or random.
        trials: settings to try in a search (default: 20).
        objective: number of summary.json that a search makes best (default: a_auc).
        search_seed: of the runs of a search, none of which is reported (default: 1000).
        trust_code: import the code that a recipe's file names, which runs it.
        out: parent of the run folders (default: runs).
        quiet: print nothing but errors.
        command_line: as it was typed.
    """
    from cl_prompts.experiments.recipes.grid import grid
    from cl_prompts.experiments.runner.executors import Launching
    from cl_prompts.experiments.sweeps.objective import SearchOptions

    check_recipe_code(recipe, settings, trust_code)
    given = {"trials": trials, "objective": objective, "search_seed": search_seed}
    for name, value in given.items():
        if sampler is None and value is not None:
            raise InputError(f"--{name.replace('_', '-')} is for a search: add --sampler tpe")
    how = Launching(launcher, jobs, cpus, gpus)
    where: Any = {"out": out, "console": console_of(quiet), "how": how, "command": command_line}
    if sampler is not None:
        _search(recipe, settings, SearchOptions.of(sampler, *given.values()), where)
        return
    runs = grid(recipe, settings)
    from cl_prompts.experiments.sweeps.sweep import Sweep

    sweep = Sweep(runs, **where)
    sweep.check()
    try:
        sweep.execute()
    finally:
        if sweep.finished:
            _conclude(sweep.finished, out / runs[0].recipe, where["console"])
    sweep.conclude()


def _search(recipe: str, settings: Sequence[str], options: Any, where: Any) -> None:
    from cl_prompts.experiments.recipes.grid import grid
    from cl_prompts.experiments.sweeps.search_space import SearchSpace

    # Before the import, which takes seconds: both ends of every range have to be valid settings.
    space = SearchSpace.of(settings)
    for end in space.ends:
        grid(recipe, [*space.fixed, *end])
    from cl_prompts.experiments.sweeps.search import Search

    search = Search(recipe, settings, options, **where)
    search.execute()
    search.conclude()


def learn(
    parent: Path,
    place: Path,
    settings: Sequence[str] = (),
    *,
    test_percent: float = 20,
    seed: int = 0,
    dry_run: bool = False,
    trust_code: bool = False,
    out: Path = Path("runs"),
    quiet: bool = False,
    command_line: str = "",
) -> None:
    """Train the model of a finished run on further images, as a new run.

    Args:
        parent: folder of a finished run.
        place: further images, of known and of new classes, laid out as for init.
        settings: settings to change, such as lr=1e-3.
        test_percent: share of test images, where there is no test part (default: 20).
        seed: of their choice (default: 0).
        dry_run: say what would grow, and train nothing.
        trust_code: import the code of your own that the folder names, which runs it.
        out: parent of the run folders (default: runs).
        quiet: print nothing but errors.
        command_line: as it was typed.
    """
    _check_folders([parent])
    from cl_prompts.experiments.trained.learning import prepared, taught

    with _files_opened(quiet) as progress:
        lesson = prepared(
            parent,
            place,
            settings,
            out=out,
            test_percent=test_percent,
            seed=seed,
            trust_code=trust_code,
            progress=progress,
        )
    for line in lesson.lines:
        print(line)
    if not dry_run:
        console = console_of(quiet)
        folder = taught(lesson, out=out, console=console, command=command_line)
        _conclude([folder], None, console)
        console.print(_before_after(folder))


def report(
    runs: Sequence[Path],
    *,
    out: Path | None = None,
    reference: str | None = None,
    figures: bool = False,
    quiet: bool = False,
) -> None:
    """Write an HTML report on run folders.

    Args:
        runs: run folders, or folders above them; rows come in this order.
        out: file to write (default: report.html in their common folder).
        reference: row that paired differences refer to (default: the first one).
        figures: write the pictures as PNG, too, to a folder beside the page.
        quiet: print nothing but errors.
    """
    _check_folders(runs)
    from cl_prompts.experiments.report.page import write_report

    page = write_report(runs, out, reference=reference, figures=figures)
    print(f"report: {page}")


def compare(
    runs: Sequence[Path],
    *,
    by: str | None = None,
    reference: str | None = None,
    rows: str = "",
    metrics: str = "",
    format: str = "markdown",
    out: Path | None = None,
) -> None:
    """Compare strategies over seeds: means, paired differences, ranks.

    Args:
        runs: run folders, or folders above them; rows come in this order.
        by: setting whose values have tables of their own, such as scenario.blurry_percent,
            dataset or recipe.
        reference: row that the others are compared with (default: the first one).
        rows: rows to show, divided by commas, in this order.
        metrics: such as a_auc,a_last_by_task (see summary.json).
        format: markdown, latex, csv or json.
        out: file to write instead.
    """
    from cl_prompts.experiments.results.comparison_text import Format, written

    one_of("format", format, Format)
    _check_out(out)
    _check_folders(runs)
    from cl_prompts.experiments.recipes.grid import divided
    from cl_prompts.experiments.results.comparison import compare as compared

    # A row such as "mvp (lr=0.1, alpha=0.5)" is one.
    chosen = {"rows": [*filter(None, divided(rows))], "metrics": [*filter(None, divided(metrics))]}
    found = compared(runs, by=by, reference=reference, **chosen)
    text = written(found, format)  # type: ignore[arg-type]  # one_of has checked it
    _print_or_write(text, out)
    from cl_prompts.experiments.run_folder.runs import unfinished

    if left := unfinished(runs):
        note = f"note: not finished, and in no table: {first_of(map(str, left), 3)}"
        print(note, file=sys.stderr)


def predict(
    run: Path,
    images: Sequence[Path],
    *,
    all_scores: bool = False,
    unknown: float | None = None,
    trust_code: bool = False,
    out: Path | None = None,
) -> None:
    """Label images with the model of a finished run.

    Args:
        run: folder of a finished run.
        images: image files, or folders of images.
        all_scores: a column for each class.
        unknown: label images of low confidence 'unknown', and with them this share of those of
            known classes, such as 0.05.
        trust_code: import the code of your own that the folder names, which runs it.
        out: CSV file to write instead.
    """
    from cl_prompts.experiments.trained.predicting import check_rate, image_files, predictions_csv

    if unknown is not None:
        check_rate(unknown)
    _check_out(out)
    found = image_files(images)
    # Wrong paths are refused before this slow import.
    from cl_prompts.experiments.trained.loading import load_run

    trained = load_run(run, trust_code=trust_code)
    labels = trained.predict(found, unknown=unknown)
    _print_or_write(predictions_csv(found, labels, all_scores=all_scores), out)


def export(
    run: Path,
    *,
    torch: bool = False,
    onnx: bool = False,
    trust_code: bool = False,
    out: Path | None = None,
    quiet: bool = False,
) -> None:
    """Write the model of a finished run as a file without cl-prompts.

    Args:
        run: folder of a finished run.
        torch: as TorchScript, for torch.jit.load.
        onnx: as ONNX, for onnxruntime; needs the extra onnx.
        trust_code: import the code of your own that the folder names, which runs it.
        out: file to write (default: model.pt or model.onnx, there).
        quiet: print nothing but errors.
    """
    if torch == onnx:
        raise InputError("give one of --torch and --onnx")
    _check_folders([run])
    out = out or run / ("model.onnx" if onnx else "model.pt")
    files.check_place(out)
    from cl_prompts.experiments.trained.exporting import export_onnx, export_torch, script
    from cl_prompts.experiments.trained.loading import load_run

    trained = load_run(run, trust_code=trust_code)
    recorded, scored = (export_onnx if onnx else export_torch)(trained, out)
    scores = f"{100 * scored:.2f} % on the test set, and {100 * recorded:.2f} % in the run"
    print(f"{out}: {scores}")
    kind = "an image of 8 bits a colour, without transparency"
    print(f"To label {kind}, with it:\n\n{script(trained, out, 'onnx' if onnx else 'torch')}")


def push(run: Path, name: str, *, public: bool = False) -> None:
    """Push a finished run to the Hugging Face hub, with a model card.

    Args:
        run: folder of a finished run.
        name: of the repository, such as user/digits-mvp.
        public: let everybody see a repository that is made (by default it is private).
    """
    from cl_prompts.experiments.trained.hub import push as pushed

    address, names = pushed(run, name, public=public)
    print(f"pushed {', '.join(names)}")
    print("these name the images, the command and folders of this machine: look at them there")
    print(f"commit: {address}; in Python: load_run({'hf://' + name!r})")


def completion(shell: str) -> None:
    """Print a script that completes command lines in a shell.

    Args:
        shell: bash, zsh or fish.
    """
    from cl_prompts.experiments.cli.completion import completion_script

    print(completion_script(COMMANDS, shell), end="")


COMMANDS: tuple[Callable[..., None], ...] = (
    *(ls, show, init, validate, run, sweep, learn),
    *(report, compare, predict, export, push, completion),
)


@contextmanager
def _files_opened(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Draw how many image files have been opened, of how many."""
    console = Console(stderr=True, quiet=quiet)
    with Progress(console=console, transient=True, disable=quiet) as progress:
        task = progress.add_task("image files opened", visible=False)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        yield report


def console_of(quiet: bool) -> Console:
    """The console that a command prints to."""
    # Text that goes to a file need not be broken at 80 columns; :cat: in a name is no picture.
    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(quiet=quiet, emoji=False, width=None if has_width else 140)


def _check_folders(folders: Sequence[Path]) -> None:
    from cl_prompts.experiments.run_folder.runs import check_folders  # loads NumPy

    check_folders(folders)


def _check_out(out: Path | None) -> None:
    if out is not None:
        files.check_place(out)


def _print_or_write(text: str, out: Path | None) -> None:
    if out is None:
        print(text)
    else:
        # Names of files and classes need not be UTF-8.
        files.write_new(out, [f"{text}\n".encode(errors="backslashreplace")])


def _conclude(folders: Sequence[Path], above: Path | None, console: Console) -> None:
    """Print the table of finished runs and write their report, into a folder above them."""
    place = quote(str(folders[0] if above is None else above))
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
    print(f"report: {written}")


def tables(folders: Sequence[Path]) -> Iterator[Table]:
    """One table for runs that may be compared, with its title where there are several."""
    from cl_prompts.experiments.results.sections import sections
    from cl_prompts.experiments.run_folder.runs import collect

    found = sections(collect(folders))
    for section in found:
        headings = section.headings
        shown = [i for i, name in enumerate(headings) if name not in _HIDDEN_COLUMNS]
        title = escape(section.title) if len(found) > 1 else None
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        for i in shown:
            table.add_column(escape(headings[i]))
        for label, entries in section.table().items():
            texts = [f"[bold]{e.text}[/bold]" if e.best else e.text for e in entries]
            cells = [escape(label), str(len(section.groups[label])), *texts]
            table.add_row(*(cells[i] for i in shown))
        yield table


def _before_after(folder: Path) -> Table:
    """Scores of a run that learned on, before it did and after."""
    from cl_prompts.experiments.results.before_after import before_after
    from cl_prompts.experiments.run_folder.runs import collect

    (run,) = collect([folder])
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for heading in ("test images of", "before", "after", "change"):
        table.add_column(heading, justify="left" if heading == "test images of" else "right")
    for row in before_after(run):
        texts = ["" if v is None else f"{100 * v:.1f} %" for v in (row.before, row.after)]
        change = "" if row.change is None else f"{100 * row.change:+.1f}"
        table.add_row(escape(row.name), *texts, change)
    return table
