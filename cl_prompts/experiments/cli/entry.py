"""Command line: ``cl-prompts ls | show | validate | run | report`` and so on.

Each command is a function, each parameter an argument.
"""

import argparse
import inspect
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import cache
from io import TextIOWrapper
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from cl_prompts.checks import fits, words_of
from cl_prompts.errors import InputError, RunError, one_sentence, unknown
from cl_prompts.experiments.cli.actions import COMMANDS
from cl_prompts.experiments.executors.signals import Interrupted
from cl_prompts.experiments.recipes.parameters import argument_sentences
from cl_prompts.versions import __version__

#: notes that this command has printed, each once
_NOTED: set[str] = set()
#: system errors of wrong paths
_OF_PATHS = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
_EXAMPLES = """\
examples:
  cl-prompts train FOLDER                      a model of your images, to predict and to learn on
  cl-prompts run digits strategy=ncm seed=1    a first run of a comparison, and its report
  cl-prompts show strategy mvp                 what can be set, with defaults

cl-prompts ls lists recipes, strategies, scenarios and data sets, cl-prompts show NAME their
settings, cl-prompts ls runs your runs. Where a command takes a MODEL, latest is the newest model
in ./models or of a run in ./runs; where it takes a RUN, the newest finished run."""
#: names of arguments in the help, where they differ from the code
_SHOWN = {
    **{"settings": "KEY=VALUE", "place": "FOLDER|CSV", "listed": "LIST", "shown": "NAME"},
    "class_": "NAME",
    **{"model": "MODEL", "models": "MODEL", "runs": "RUN", "images": "IMAGE"},
    "resume": "FOLDER",
}
#: sentences of arguments that several commands have
_SHARED = {
    "recipe": "a recipe of the package or a YAML file.",
    "settings": "settings to change, such as seed=1-3 classes=20 mvp.pool_size=5.",
    "model": "model folder, run folder, or latest.",
    "trust_code": "import the user code that the recipe or run folder names, which runs it.",
    "test_percent": "share of test images, if there is no test part (default: 20).",
    "seed": "of the choice of test images (default: 0).",
    "out": "parent of the run folders (default: runs).",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        Exit code: 0 success, 1 a fault during a run, 2 bad input, 128 + n signal n (130 Ctrl-C).
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for message in (".*wandb.*", "No loggers specified"):
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    _NOTED.clear()
    warnings.showwarning = _note
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may not be UTF-8
    try:
        carry_out(arguments)
        # At exit a closed pipe could not be caught.
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        stop = error if isinstance(error, Interrupted) else Interrupted(str(error))
        return _said(str(stop), 128 + stop.number)
    except BrokenPipeError:
        # The reader, such as head, has enough: nothing may be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (InputError, RunError) as error:
        return _said(str(error), 2 if isinstance(error, InputError) else 1)
    except OSError as error:
        # A wrong path is bad input, a full or broken disk a fault.
        place = f"{error.filename}: " if error.filename else ""
        return _said(f"{place}{error.strerror or error}", 2 if isinstance(error, _OF_PATHS) else 1)
    return 0


def carry_out(arguments: Sequence[str]) -> None:
    """Execute a command.

    Raises:
        InputError: bad input.
        RunError: a fault during a run.
    """
    command, given = parsed(arguments)
    if "command_line" in inspect.signature(command).parameters:
        given["command_line"] = f"cl-prompts {shlex.join(arguments)}"
    if not given.pop("quiet"):
        command(**given)
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        command(**given)


def _said(sentence: str, code: int) -> int:
    print(f"cl-prompts: {one_sentence(sentence)}", file=sys.stderr)
    return code


def _note(message: Warning | str, *place: object, **more: object) -> None:
    """Print a warning as users of a command need it, without its place in the code."""
    text = one_sentence(message)
    if text not in _NOTED:
        _NOTED.add(text)
        print(f"note: {text}", file=sys.stderr)


# --------------------------------------------------------------------------------- arguments


class Parser(argparse.ArgumentParser):
    """Parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Refuse a command line; a wrong command names the nearest one."""
        if wrong := re.search(r"argument COMMAND: invalid choice: '(.*?)'", message):
            raise unknown("command", wrong[1], [command.__name__ for command in COMMANDS])
        raise InputError(f"{' '.join(message.split())}: see {self.prog} --help")


@cache
def _parser() -> tuple[Parser, Any]:
    """Return the parser, and the action with the parsers of the commands.

    Docstrings describe commands and arguments; keyword-only parameters are options.
    """
    parser = Parser(
        prog="cl-prompts",
        description="Prompt-based continual learning on frozen Vision Transformers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cl-prompts {__version__}")
    choices = parser.add_subparsers(required=True, metavar="COMMAND")
    for function in COMMANDS:
        doc = inspect.getdoc(function) or ""
        line = doc.splitlines()[0]
        command = choices.add_parser(function.__name__, help=line, description=line)
        command.set_defaults(action=function)
        hints = get_type_hints(function)
        sentences = {**_SHARED, **argument_sentences(doc)}
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name != "command_line":  # which the entry point fills in
                help_text = sentences[parameter.name].replace("%", "%%")
                _add(command, parameter, hints[parameter.name], help_text)
        command.add_argument("--quiet", action="store_true", help="print nothing but errors.")
    return parser, choices


def _add(command: Any, parameter: inspect.Parameter, kind: object, sentence: str) -> None:
    """Add an argument or option to a command."""
    name = parameter.name
    required = parameter.default is parameter.empty
    given = {"help": sentence, "default": None if required else parameter.default}
    if kind is bool:
        command.add_argument(f"--{name.replace('_', '-')}", action="store_true", **given)
        return
    # Of "Path | None" and "Sequence[Path]" the type of one value.
    given["type"] = (*(member for member in get_args(kind) if member is not NoneType), kind)[0]
    given["metavar"] = _SHOWN.get(name, name.upper())
    if words := list(words_of(kind)):
        given |= {"type": str, "choices": words, "metavar": None}
    if parameter.kind is parameter.KEYWORD_ONLY:
        # An option may have the name of a keyword: --class is class_.
        command.add_argument(f"--{name.replace('_', '-').rstrip('-')}", dest=name, **given)
    elif get_origin(kind) is Sequence:
        command.add_argument(name, nargs="+" if required else "*", **given)
    else:
        command.add_argument(name, nargs=None if required else "?", **given)


def parsed(arguments: Sequence[str]) -> tuple[Callable[..., None], dict[str, object]]:
    """Parse a command line into a command and its arguments.

    Raises:
        InputError: an unknown command or argument.
    """
    parser, choices = _parser()
    args, late = parser.parse_known_args(arguments)
    found = vars(args)
    command = found.pop("action")
    # argparse does not accept positional arguments behind options; settings may stand there.
    takes_late = "settings" in found
    if takes_late and all("=" in text and not text.startswith("-") for text in late):
        found["settings"] = [*found["settings"], *late]
    elif late:
        hint = " (settings have no dashes: seed=1)" if takes_late else ""
        name = command.__name__
        choices.choices[name].error(f"unrecognized arguments: {' '.join(late)}{hint}")
    for name, kind in get_type_hints(command, include_extras=True).items():
        if type(found.get(name)) in (int, float):
            fits(f"--{name}", found[name], kind)
    if "latest" in arguments:
        found = {name: _latest(name, value) for name, value in found.items()}
    return command, found


def _latest(name: str, value: object) -> object:
    """Replace ``latest`` by the newest model or finished run."""
    if isinstance(value, list):
        return [_latest(name, one) for one in value]
    if value != Path("latest") or Path("latest").exists():
        return value
    from cl_prompts.experiments.cli import listing

    kind = _SHOWN.get(name)
    if kind == "MODEL":
        return listing.latest_model(Path("models"), Path("runs"))
    return listing.latest_run(Path("runs")) if kind == "RUN" else value
