"""Command-line parser: each command is a function, each parameter an argument."""

import argparse
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from cl_prompts.checks import fits, words_of
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.parameters import argument_sentences
from cl_prompts.versions import __version__

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


class Parser(argparse.ArgumentParser):
    """Parser whose errors are one sentence."""

    def error(self, message: str) -> NoReturn:
        """Refuse a command line."""
        raise InputError(f"{' '.join(message.split())}: see {self.prog} --help")


def parser_of(commands: Sequence[Callable[..., None]]) -> tuple[Parser, Any]:
    """Return the parser, and the action with the parsers of the commands.

    Args:
        commands: functions. Docstrings describe commands and arguments; keyword-only parameters are
            options.
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


def parsed(
    commands: Sequence[Callable[..., None]], arguments: Sequence[str]
) -> tuple[Callable[..., None], dict[str, object]]:
    """Parse a command line into a command and its arguments.

    Raises:
        InputError: an unknown command or argument.
    """
    parser, choices = parser_of(commands)
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
