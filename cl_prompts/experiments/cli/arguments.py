"""Command lines taken apart: the commands, their arguments and options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cl_prompts import __version__
from cl_prompts.errors import InputError

_RECIPE = "a recipe of the package or a YAML file"
_KEYS = "settings to change, such as seed=1-3 classes=20 scenario.n_tasks=10 mvp.pool_size=5"
_RUNS = "run folders, or folders above them"


class Parser(argparse.ArgumentParser):
    """Parser whose complaints are one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Refuse a command line."""
        raise InputError(f"{' '.join(message.split())}: see {self.prog} --help")


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command, with its name as ``action``.

    >>> parsed(["show", "strategy", "mvp"]).words
    ['strategy', 'mvp']

    Raises:
        InputError: there is no such command, or it takes no such arguments.
    """
    parser, _ = _parser()
    args, late = parser.parse_known_args(arguments)
    # argparse takes positional arguments in one stretch only; settings may also stand behind an
    # option.
    takes_late = hasattr(args, "settings")
    if late and not (takes_late and all("=" in text and text[0] != "-" for text in late)):
        parser.error(f"unrecognized arguments: {' '.join(late)}")
    if late:
        args.settings = [*args.settings, *late]
    return args


def command_options() -> dict[str, list[str]]:
    """Options of each command.

    >>> command_options()["export"]
    ['--help', '--torch', '--onnx', '--out', '--quiet']
    """
    return {
        name: list(dict.fromkeys(re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE)))
        for name, text in _help().items()
    }


def options_with_value() -> list[str]:
    """Options that take the word behind them.

    >>> found = options_with_value()
    >>> "--out" in found, "--quiet" in found
    (True, False)
    """
    return sorted(
        {
            option
            for text in _help().values()
            for option in re.findall(r"^  (--[\w-]+) \S", text, re.MULTILINE)
        }
    )


def _help() -> dict[str, str]:
    """The help of each command: the only public text that holds its options."""
    _, commands = _parser()
    return {name: command.format_help() for name, command in commands.choices.items()}


def _parser() -> tuple[Parser, Any]:
    """The parser, and the action that holds those of the commands."""
    parser = Parser(
        prog="cl-prompts",
        description="Prompt-based continual learning on frozen Vision Transformers.",
    )
    parser.add_argument("--version", action="version", version=f"cl-prompts {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        *(_ls, _show, _init, _validate, _run, _sweep, _report, _compare),
        *(_predict, _export, _warm_up, _completion),
    ):
        add(commands)
    return parser, commands


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.set_defaults(action=name)
    return command


def _quiet(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quiet", action="store_true", help="print nothing but errors")


def _ls(commands: Any) -> None:
    ls = _command(commands, "ls", "list recipes, strategies, scenarios, data sets and backbones")
    ls.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="one of the lists (recipes, strategies, scenarios, datasets, backbones), and words to"
        " look for",
    )


def _show(commands: Any) -> None:
    show = _command(commands, "show", "print a recipe, or the settings of a strategy")
    show.add_argument(
        "words",
        nargs="+",
        metavar="NAME",
        help="a recipe, or strategy NAME, scenario NAME, dataset NAME, backbone, evaluation",
    )


def _validate(commands: Any) -> None:
    validate = _command(
        commands, "validate", "build and check all parts of a recipe without running it"
    )
    validate.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    validate.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=_KEYS)
    validate.add_argument("--quick", action="store_true", help="open no image file")
    _quiet(validate)


def _run(commands: Any) -> None:
    run = _command(
        commands, "run", "run a recipe, every strategy with every seed, and write a report"
    )
    run.add_argument("recipe", nargs="?", metavar="RECIPE", help=_RECIPE)
    run.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=_KEYS)
    run.add_argument(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="continue an unfinished run at its last checkpoint, or all unfinished runs of a plan",
    )
    run.add_argument(
        "--out", type=Path, default=Path("runs"), help="parent of the run folders (default: runs)"
    )
    _quiet(run)


def _sweep(commands: Any) -> None:
    sweep = _command(
        commands,
        "sweep",
        "run every combination of values, but for what is finished; go on with what was begun",
    )
    sweep.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    sweep.add_argument(
        "settings",
        nargs="*",
        metavar="KEY=VALUE,...",
        help="settings, each with one value or several, such as strategy=er,mvp seed=1-5"
        " lr=1e-3,1e-2",
    )
    sweep.add_argument(
        "--jobs",
        type=int,
        metavar="K",
        help="runs at the same time (default: 1, and elsewhere as many as there is room for)",
    )
    sweep.add_argument(
        "--launcher",
        default="local",
        metavar="WORD",
        help="local, ray or slurm: processes of this machine, or tasks on a cluster",
    )
    sweep.add_argument(
        "--cpus", type=int, metavar="N", help="of each run on Ray or Slurm (default: 1)"
    )
    sweep.add_argument(
        "--gpus",
        type=float,
        metavar="N",
        help="of each run on Ray or Slurm, such as 0.5 (default: 1 where device asks for one)",
    )
    search = sweep.add_argument_group("search for good settings, such as lr=1e-4..1e-1")
    search.add_argument(
        "--sampler", metavar="WORD", help="of Optuna, which chooses settings: tpe or random"
    )
    search.add_argument("--trials", type=int, metavar="N", help="settings to try (default: 20)")
    search.add_argument(
        "--objective", metavar="KEY", help="number of summary.json to make best (default: a_auc)"
    )
    search.add_argument(
        "--search-seed",
        metavar="SEED,...",
        help="of the runs and streams of the search, none of which is reported (default: 1000)",
    )
    sweep.add_argument(
        "--out", type=Path, default=Path("runs"), help="parent of the run folders (default: runs)"
    )
    _quiet(sweep)


def _report(commands: Any) -> None:
    report = _command(commands, "report", "write an HTML report on run folders")
    report.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=_RUNS)
    report.add_argument(
        "--out", type=Path, help="file to write (default: report.html in their common folder)"
    )
    report.add_argument(
        "--reference",
        metavar="NAME",
        help="row that paired differences refer to (the linear probe, or the first one)",
    )
    report.add_argument(
        "--figures",
        action="store_true",
        help="write the pictures as PNG, too, to a folder beside the page",
    )
    _quiet(report)


def _compare(commands: Any) -> None:
    compare = _command(
        commands, "compare", "compare strategies over seeds: means, paired differences, ranks"
    )
    compare.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help=f"{_RUNS}; rows come in this order"
    )
    compare.add_argument(
        "--by",
        metavar="KEY",
        help="setting whose values stand side by side, such as scenario.blurry_percent, dataset or"
        " recipe",
    )
    compare.add_argument(
        "--reference", metavar="NAME", help="row that the others are compared with (the first one)"
    )
    compare.add_argument("--rows", metavar="NAME,...", help="rows to show, in this order")
    compare.add_argument(
        "--metrics", metavar="KEY,...", help="such as a_auc,a_last_by_task (see summary.json)"
    )
    compare.add_argument(
        "--format", default="markdown", metavar="WORD", help="markdown, latex, csv or json"
    )
    compare.add_argument("--out", type=Path, metavar="FILE", help="file to write instead")


def _predict(commands: Any) -> None:
    predict = _command(commands, "predict", "label images with the model of a finished run")
    predict.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    predict.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of images"
    )
    predict.add_argument("--all-scores", action="store_true", help="a column for each class")
    predict.add_argument("--out", type=Path, metavar="FILE", help="CSV file to write instead")


def _export(commands: Any) -> None:
    export = _command(
        commands, "export", "write the model of a finished run as a file without cl-prompts"
    )
    export.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument("--torch", action="store_true", help="as TorchScript, for torch.jit.load")
    form.add_argument("--onnx", action="store_true", help="as ONNX (not offered)")
    export.add_argument("--out", type=Path, metavar="FILE", help="default: model.pt in the folder")
    _quiet(export)


def _init(commands: Any) -> None:
    init = _command(
        commands, "init", "look at a folder or table of your images, and write a recipe for it"
    )
    init.add_argument(
        "place",
        type=Path,
        metavar="FOLDER|CSV",
        help="train/<class>/* and test/<class>/*, <class>/* alone, or a table of path,label;label",
    )
    init.add_argument("--backbone", metavar="NAME", help="in the place of the proposed one")
    init.add_argument(
        "--test-percent",
        type=float,
        default=20,
        metavar="P",
        help="share of test images, where there is no test part (default: 20)",
    )
    init.add_argument("--seed", type=int, default=0, help="of their choice (default: 0)")
    init.add_argument("--out", type=Path, metavar="FILE", help="default: NAME.yaml, as the folder")
    init.add_argument("--force", action="store_true", help="write over a recipe that exists")
    _quiet(init)


def _warm_up(commands: Any) -> None:
    warm = _command(
        commands, "warm-up", "learn initial prompts for MISA on data that no stream holds"
    )
    warm.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    warm.add_argument("settings", nargs="*", metavar="KEY=VALUE", help=_KEYS)
    warm.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    warm.add_argument("--tasks", type=int, default=10, help="tasks of the sequence")
    warm.add_argument("--epochs", type=int, default=3, help="passes over each task")
    warm.add_argument("--lr", type=float, default=1e-4, help="learning rate of Adam")
    warm.add_argument("--held-out", type=float, default=0.1, help="share of classes held out")


def _completion(commands: Any) -> None:
    completion = _command(
        commands, "completion", "print a script that completes command lines in a shell"
    )
    completion.add_argument("shell", metavar="SHELL", help="bash, zsh or fish")
