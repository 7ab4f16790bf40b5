"""Command lines taken apart: a command is a function, and its parameters are arguments."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from cl_prompts import __version__
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.parameters import argument_sentences

_EXAMPLES = """\
examples:
  cl-prompts run digits strategy=ncm seed=1    a first run, and its report
  cl-prompts show strategy mvp                 what can be set, with defaults
  cl-prompts init FOLDER                       a recipe for images of your own

cl-prompts ls lists recipes, strategies, scenarios and data sets, and cl-prompts show NAME tells
more of each."""
#: how the help calls arguments that are called otherwise in code
_SHOWN = {
    **{"settings": "KEY=VALUE", "place": "FOLDER|CSV", "listed": "WORD", "shown": "NAME"},
    **{"runs": "RUN", "images": "IMAGE", "parent": "RUN", "resume": "FOLDER"},
}
#: parameters that are no arguments
GIVEN = ("command_line",)


class Parser(argparse.ArgumentParser):
    """Parser whose complaints are one sentence, as all others are."""

    def error(self, message: str) -> NoReturn:
        """Refuse a command line."""
        raise InputError(f"{' '.join(message.split())}: see {self.prog} --help")


def parser_of(commands: Sequence[Callable[..., None]]) -> tuple[Parser, Any]:
    """The parser, and the action that holds those of the commands.

    Args:
        commands: functions; the first line of a docstring says what a command does, its ``Args``
            what each argument is. Parameters that have to be named become options.
    """
    parser = Parser(
        prog="cl-prompts",
        description="Prompt-based continual learning on frozen Vision Transformers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"cl-prompts {__version__}")
    choices = parser.add_subparsers(required=True, metavar="COMMAND")
    for function in commands:
        doc = inspect.getdoc(function) or ""
        line = doc.splitlines()[0]
        command = choices.add_parser(function.__name__, help=line, description=line)
        command.set_defaults(action=function)
        hints = get_type_hints(function)
        sentences = argument_sentences(doc)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in GIVEN:
                help_text = sentences[parameter.name].replace("%", "%%")
                _add(command, parameter, hints[parameter.name], help_text)
    return parser, choices


def _add(command: Any, parameter: inspect.Parameter, kind: Any, sentence: str) -> None:
    """Add an argument or option to a command."""
    name = parameter.name
    required = parameter.default is parameter.empty
    given: dict[str, Any] = {"help": sentence, "default": None if required else parameter.default}
    if kind is bool:
        command.add_argument(f"--{name.replace('_', '-')}", action="store_true", **given)
        return
    # Of "Path | None" and "Sequence[Path]" the type of one value.
    given["type"] = (*(member for member in get_args(kind) if member is not NoneType), kind)[0]
    given["metavar"] = _SHOWN.get(name, name.upper())
    if parameter.kind is parameter.KEYWORD_ONLY:
        command.add_argument(f"--{name.replace('_', '-')}", **given)
    elif get_origin(kind) is Sequence:
        command.add_argument(name, nargs="+" if required else "*", **given)
    else:
        command.add_argument(name, nargs=None if required else "?", **given)


def parsed(
    commands: Sequence[Callable[..., None]], arguments: Sequence[str]
) -> tuple[Callable[..., None], dict[str, Any]]:
    """The command of a command line, and what it is called with.

    Raises:
        InputError: there is no such command, or it takes no such arguments.
    """
    parser, choices = parser_of(commands)
    args, late = parser.parse_known_args(arguments)
    found = vars(args)
    command = found.pop("action")
    # argparse takes positional arguments in one stretch only; settings may also stand behind an
    # option.
    takes_late = "settings" in found
    if takes_late and all("=" in text and not text.startswith("-") for text in late):
        found["settings"] = [*found["settings"], *late]
    elif late:
        hint = "; a setting is written without dashes, as in seed=1" if takes_late else ""
        name = command.__name__
        choices.choices[name].error(f"unrecognized arguments: {' '.join(late)}{hint}")
    return command, found
