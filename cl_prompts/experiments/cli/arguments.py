"""Command lines taken apart: the commands, their arguments and options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from cl_prompts import __version__
from cl_prompts.errors import InputError, short

_RECIPE = "a recipe of the package or a YAML file"
_KEYS = "settings to change, such as seed=1-3 classes=20 scenario.n_tasks=10 mvp.pool_size=5"
_RUNS = "run folders, or folders above them"

#: words of other tools -> command that does it here
_OTHER_WORDS = {
    "train": "run",
    "fit": "run",
    "start": "run",
    "list": "ls",
    "check": "validate",
    "eval": "predict",
    "evaluate": "predict",
    "resume": "run --resume",
    "search": "sweep",
    "test": "predict",
    "help": "--help",
}
_EXAMPLES = """\
examples:
  cl-prompts run digits strategy=ncm seed=1    a first run, and its report
  cl-prompts show strategy mvp                 what can be set, with defaults
  cl-prompts init FOLDER                       a recipe for images of your own

cl-prompts ls lists recipes, strategies, scenarios and data sets, and cl-prompts show NAME tells
more of each."""

Command = argparse.ArgumentParser


class Parser(argparse.ArgumentParser):
    """Parser whose complaints are one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Refuse a command line."""
        raise InputError(f"{' '.join(message.split())}: see {self.prog} --help")


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command, with its name as ``action``.

    >>> parsed(["show", "strategy", "mvp"]).shown
    ['strategy', 'mvp']

    Raises:
        InputError: there is no such command, or it takes no such arguments.
    """
    if arguments and arguments[0] in _OTHER_WORDS:
        instead = " ".join(["cl-prompts", _OTHER_WORDS[arguments[0]], *arguments[1:]])
        raise InputError(f"there is no command {arguments[0]!r}: write {short(instead)}")
    parser, commands = parser_of()
    args, late = parser.parse_known_args(arguments)
    # argparse takes positional arguments in one stretch only; settings may also stand behind an
    # option.
    takes_late = hasattr(args, "settings")
    if late and not (takes_late and all("=" in text and text[0] != "-" for text in late)):
        hint = _as_setting(late, args.action) if takes_late else ""
        if hasattr(args, "run") and not late[0].startswith("-"):
            hint = "; it takes one RUN, and a pattern such as 1-* stands for all that it fits"
        if late[0] == "--dry-run":
            hint = "; cl-prompts validate checks all without running it"
        commands.choices[args.action].error(f"unrecognized arguments: {' '.join(late)}{hint}")
    if late:
        args.settings = [*args.settings, *late]
    return args


def _as_setting(late: Sequence[str], action: str) -> str:
    """Sentence for a setting that was given as an option, ``--seed 1`` or ``--seed=1``; empty
    for what is nearer to an option of the command."""
    name, equals, value = late[0].partition("=")
    if not equals and len(late) > 1:
        value = late[1]
    known = command_options()[action]
    # A word near to an option is a slip for it: --jbos 2 asks for --jobs.
    if not name.startswith("--") or not value or get_close_matches(name, known, 1, 0.7):
        return ""
    return f"; a setting is written without dashes: {name[2:].replace('-', '_')}={value}"


def command_options() -> dict[str, dict[str, str]]:
    """Options of each command, and the name of the value that each takes; empty for none.

    >>> command_options()["export"]
    {'--help': '', '--torch': '', '--onnx': '', '--trust-code': '', '--out': 'FILE', '--quiet': ''}
    """
    _, commands = parser_of()
    # The help of a command is the only public text that holds its options.
    option = re.compile(r"^  (?:-\w, )?(--[\w-]+)(?: (\S+))?", re.MULTILINE)
    return {
        name: dict(option.findall(command.format_help()))
        for name, command in commands.choices.items()
    }


def parser_of() -> tuple[Parser, Any]:
    """The parser, and the action that holds those of the commands."""
    parser = Parser(
        prog="cl-prompts",
        description="Prompt-based continual learning on frozen Vision Transformers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cl-prompts {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (sentence, add_arguments) in _COMMANDS.items():
        command = commands.add_parser(name, help=sentence, description=sentence)
        command.set_defaults(action=name)
        add_arguments(command)
        if name in _QUIET:
            command.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser, commands


def _recipe(command: Command) -> None:
    command.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    command.add_argument("settings", nargs="*", default=[], metavar="KEY=VALUE", help=_KEYS)


def _finished_run(command: Command) -> None:
    command.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")


def _rows_of_runs(command: Command) -> None:
    command.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help=f"{_RUNS}; rows come in this order"
    )


def _trust_code(command: Command) -> None:
    command.add_argument(
        "--trust-code",
        action="store_true",
        help="import the strategies, plugins, scenarios and data sets of your own that the folder"
        " names, which runs them",
    )


def _out_folder(command: Command) -> None:
    command.add_argument(
        "--out", type=Path, default=Path("runs"), help="parent of the run folders (default: runs)"
    )


def _ls(command: Command) -> None:
    lists = "recipes, strategies, plugins, scenarios, datasets, backbones"
    what = f"one of the lists ({lists}), and words to look for"
    command.add_argument("listed", nargs="*", metavar="WORD", help=what)


def _show(command: Command) -> None:
    named = "strategy NAME, plugin NAME, scenario NAME, dataset NAME, backbone, evaluation"
    command.add_argument("shown", nargs="+", metavar="NAME", help=f"a recipe, or {named}")


def _init(command: Command) -> None:
    command.add_argument(
        "place",
        type=Path,
        metavar="FOLDER|CSV",
        help="train/<class>/* and test/<class>/*, <class>/* alone, or a table of path,label;label",
    )
    command.add_argument("--backbone", metavar="NAME", help="in the place of the proposed one")
    command.add_argument(
        "--weights", type=Path, metavar="FILE", help="of the backbone (default: from the hub)"
    )
    _test_part(command)
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="default: NAME.yaml, as the folder"
    )
    command.add_argument("--force", action="store_true", help="write over a recipe that exists")


def _test_part(command: Command) -> None:
    command.add_argument(
        "--test-percent",
        type=float,
        default=20,
        metavar="P",
        help="share of test images, where there is no test part (default: 20)",
    )
    command.add_argument("--seed", type=int, default=0, help="of their choice (default: 0)")


def _validate(command: Command) -> None:
    _recipe(command)
    command.add_argument("--quick", action="store_true", help="open no image file")


def _run(command: Command) -> None:
    command.add_argument("recipe", nargs="?", metavar="RECIPE", help=_RECIPE)
    command.add_argument("settings", nargs="*", default=[], metavar="KEY=VALUE", help=_KEYS)
    command.add_argument(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help="continue an unfinished run at its last checkpoint, or all unfinished runs of a plan",
    )
    command.add_argument(
        "--jobs",
        type=int,
        metavar="K",
        help="runs at the same time (default: as many as there are cores for, where several take a"
        " tiny ViT on the CPU, and otherwise 1)",
    )
    _trust_code(command)
    _out_folder(command)
    command.set_defaults(out=None)  # so that it is known whether it was given


def _sweep(command: Command) -> None:
    command.add_argument("recipe", metavar="RECIPE", help=_RECIPE)
    command.add_argument(
        "settings",
        nargs="*",
        metavar="KEY=VALUE,...",
        help="settings, each with one value or several, such as strategy=er,mvp seed=1-5"
        " lr=1e-3,1e-2",
    )
    command.add_argument(
        "--jobs",
        type=int,
        metavar="K",
        help="runs at the same time (default: 1, and elsewhere as many as there is room for)",
    )
    command.add_argument(
        "--launcher",
        default="local",
        metavar="WORD",
        help="local, ray or slurm: processes of this machine, or tasks on a cluster",
    )
    command.add_argument(
        "--cpus", type=int, metavar="N", help="of each run on Ray or Slurm (default: 1)"
    )
    command.add_argument(
        "--gpus",
        type=float,
        metavar="N",
        help="of each run on Ray or Slurm, such as 0.5 (default: 1 where device asks for one)",
    )
    search = command.add_argument_group("search for good settings, such as lr=1e-4..1e-1")
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
    _out_folder(command)


def _learn(command: Command) -> None:
    command.add_argument("parent", type=Path, metavar="RUN", help="folder of a finished run")
    command.add_argument(
        "place",
        type=Path,
        metavar="FOLDER|CSV",
        help="further images, of known and of new classes, laid out as for init",
    )
    command.add_argument("settings", nargs="*", default=[], metavar="KEY=VALUE", help=_KEYS)
    _test_part(command)
    command.add_argument(
        "--dry-run", action="store_true", help="say what would grow, and train nothing"
    )
    _trust_code(command)
    _out_folder(command)


def _push(command: Command) -> None:
    _finished_run(command)
    command.add_argument("name", metavar="NAME", help="of the repository, such as user/digits-mvp")
    command.add_argument(
        "--public",
        action="store_true",
        help="let everybody see a repository that is made (by default it is private)",
    )


def _report(command: Command) -> None:
    _rows_of_runs(command)
    command.add_argument(
        "--out", type=Path, help="file to write (default: report.html in their common folder)"
    )
    command.add_argument(
        "--reference",
        metavar="NAME",
        help="row that paired differences refer to (the first one)",
    )
    command.add_argument(
        "--figures",
        action="store_true",
        help="write the pictures as PNG, too, to a folder beside the page",
    )


def _compare(command: Command) -> None:
    _rows_of_runs(command)
    command.add_argument(
        "--by",
        metavar="KEY",
        help="setting whose values stand side by side, such as scenario.blurry_percent, dataset or"
        " recipe",
    )
    command.add_argument(
        "--reference", metavar="NAME", help="row that the others are compared with (the first one)"
    )
    command.add_argument("--rows", metavar="NAME,...", help="rows to show, in this order")
    command.add_argument(
        "--metrics", metavar="KEY,...", help="such as a_auc,a_last_by_task (see summary.json)"
    )
    command.add_argument(
        "--format", default="markdown", metavar="WORD", help="markdown, latex, csv or json"
    )
    command.add_argument("--out", type=Path, metavar="FILE", help="file to write instead")


def _predict(command: Command) -> None:
    _finished_run(command)
    command.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="image files, or folders of images"
    )
    command.add_argument("--all-scores", action="store_true", help="a column for each class")
    command.add_argument(
        "--unknown",
        type=float,
        metavar="RATE",
        help="label images of low confidence 'unknown', and with them a share RATE of those of"
        " known classes, such as 0.05",
    )
    _trust_code(command)
    command.add_argument("--out", type=Path, metavar="FILE", help="CSV file to write instead")


def _export(command: Command) -> None:
    _finished_run(command)
    form = command.add_mutually_exclusive_group(required=True)
    form.add_argument("--torch", action="store_true", help="as TorchScript, for torch.jit.load")
    form.add_argument(
        "--onnx", action="store_true", help="as ONNX, for onnxruntime; needs the extra onnx"
    )
    _trust_code(command)
    command.add_argument(
        "--out", type=Path, metavar="FILE", help="default: model.pt, or model.onnx, there"
    )


def _completion(command: Command) -> None:
    command.add_argument("shell", metavar="SHELL", help="bash, zsh or fish")


#: name -> sentence, and the function that adds its arguments
_COMMANDS: dict[str, tuple[str, Callable[[Command], None]]] = {
    "ls": ("list recipes, strategies, plugins, scenarios, data sets and backbones", _ls),
    "show": ("print a recipe, or the settings of a strategy", _show),
    "init": ("look at a folder or table of your images, and write a recipe for it", _init),
    "validate": ("build and check all parts of a recipe without running it", _validate),
    "run": ("run a recipe, every strategy with every seed, and write a report", _run),
    "sweep": (
        "run every combination of values, but for what is finished; go on with what was begun",
        _sweep,
    ),
    "learn": ("train the model of a finished run on further images, as a new run", _learn),
    "report": ("write an HTML report on run folders", _report),
    "compare": ("compare strategies over seeds: means, paired differences, ranks", _compare),
    "predict": ("label images with the model of a finished run", _predict),
    "export": ("write the model of a finished run as a file without cl-prompts", _export),
    "push": ("push a finished run to the Hugging Face hub, with a model card", _push),
    "completion": ("print a script that completes command lines in a shell", _completion),
}
_QUIET = {"init", "validate", "run", "sweep", "learn", "report", "export"}
