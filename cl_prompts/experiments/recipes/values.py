"""Values of settings as YAML and the command line write them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from cl_prompts.checks import shown, whole_number
from cl_prompts.errors import InputError

_DEEPEST = 50  # levels of nesting
_MOST = 10_000  # values, those that aliases repeat counted each time; seeds of one range
_LONGEST = 2**21  # letters; recipes are shorter, and what is filled in in them is a few more
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
#: types of YAML that no setting has, nor JSON
_OTHERS = [f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "binary", "set", "omap", "pairs")]
#: a number to some reader of YAML, 1.1 or 1.2
_NUMBER = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$", re.A)
_RANGE = re.compile(r"(\d{1,20})\s*-\s*(\d{1,20})")
#: what YAML takes for a comment, in a text outside of quotes and brackets
_COMMENT = re.compile(r"(?!\s*['\"\[{])(.*\s)?#", re.DOTALL)


class Loader(yaml.SafeLoader):
    """YAML loader for settings: every key a text, and given once.

    It reads ``5e-3`` as a number, which YAML 1.1 takes for text, and a whole number only as Python
    writes it: ``010``, ``1_0``, ``1:30`` and ``0x10``, other numbers in YAML 1.1, and dates are
    texts, since folders of classes are called so. Nesting, aliases that contain themselves and
    aliases that multiply are bounded, so that no short text becomes a large value.
    """

    _level = 0
    _composed = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, refusing to go too deep, or on for hours."""
        self._composed += 1
        if self._composed > _MOST:
            _refuse_more(self.peek_event().start_mark)
        self._level += 1
        if self._level > _DEEPEST:
            raise ComposerError(
                None, None, f"nested more than {_DEEPEST} levels deep", self.peek_event().start_mark
            )
        node = super().compose_node(parent, index)
        self._level -= 1
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Compose the document, refusing one that is too large."""
        node = super().get_single_node()
        if node is not None:
            _count(node, {}, set())
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping, refusing a key that is no text or stands there twice."""
        met = set()
        for key, _ in getattr(node, "value", ()) if isinstance(node, yaml.MappingNode) else ():
            # "<<" lays a mapping below this one, by design with the same keys.
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.tag != "tag:yaml.org,2002:str":
                what = f"key {shown(key.value)}" if isinstance(key.value, str) else "a key"
                raise ConstructorError(None, None, f"{what} is no text", key.start_mark)
            if key.value in met:
                raise ConstructorError(
                    None, None, f"key {shown(key.value)} is given twice", key.start_mark
                )
            met.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value; one that its type cannot hold is an error of the text."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError) as error:
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(
                None, None, f"{shown(node.value)} is no value of type {kind}", node.start_mark
            ) from error


def _count(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Count the values in a node; those of a node met before are counted again, not visited."""
    if id(node) in above:
        raise ComposerError(None, None, "a value contains itself", node.start_mark)
    if id(node) not in known:
        # An alias is the same node: counted each time, visited once, so that a text of nested
        # aliases costs no more than its length.
        parts = () if isinstance(node, yaml.ScalarNode) else node.value
        parts = itertools.chain(*parts) if isinstance(node, yaml.MappingNode) else parts
        inside = above | {id(node)}
        known[id(node)] = 1 + sum(_count(part, known, inside) for part in parts)
    if known[id(node)] > _MOST:
        _refuse_more(node.start_mark)
    return known[id(node)]


def _refuse_more(mark: Any) -> NoReturn:
    raise ComposerError(None, None, f"more than {_MOST} values", mark)


def _resolvers() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Types of bare texts by their first characters, with the numbers of :class:`Loader`."""
    found: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items():
        found[first] = [pair for pair in pairs if pair[0] not in (_INT, _FLOAT, *_OTHERS)]
    return found


Loader.yaml_implicit_resolvers = _resolvers()
Loader.yaml_constructors = {
    tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag not in _OTHERS
}
Loader.add_implicit_resolver(_INT, re.compile(r"^(0|-?[1-9]\d*)$", re.A), list("-0123456789"))
# Whole numbers are of the type above: here a number has a point or an exponent.
Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"^([-+]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][-+]?\d+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$",
        re.A,
    ),
    list("-+0123456789."),
)


class Dumper(yaml.SafeDumper):
    """YAML dumper that quotes each text that :class:`Loader`, or a common reader of YAML, takes for
    something else, such as a class called ``08`` or ``7e2``."""


Dumper.add_implicit_resolver(_FLOAT, _NUMBER, list("-+0123456789."))


def _text(dumper: Dumper, text: str) -> yaml.ScalarNode:
    # Without quotation marks, or with single ones, these line breaks are read as blanks.
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


Dumper.add_representer(str, _text)


def yaml_text(value: Any, **layout: Any) -> str:
    """A value as YAML, in the order of its keys, which :func:`yaml_of` reads as the same value.

    >>> yaml_text({"classes": ["08", "cat"], "every": 8})
    "classes:\\n- '08'\\n- cat\\nevery: 8\\n"

    Args:
        value: mappings, lists, texts, numbers, truth values and None.
        layout: arguments of PyYAML's ``dump``.
    """
    text: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, **layout)
    return text


def yaml_of(text: str) -> Any:
    """The value of a text in YAML, as :class:`Loader` reads it.

    Raises:
        yaml.YAMLError: the text is none, or too long.
    """
    if len(text) > _LONGEST:
        raise yaml.YAMLError(f"it has {len(text):,} letters, more than {_LONGEST:,}")
    return yaml.load(text, Loader=Loader)


def parsed(text: str) -> Any:
    """The YAML value of a text; the text itself where it is no YAML, or YAML would take the rest
    of it for a comment, which a command line has none of.

    >>> parsed("5e-3"), parsed("[1, two]"), parsed("holidays #2")
    (0.005, [1, 'two'], 'holidays #2')
    """
    if _COMMENT.match(text):
        return text.strip()
    try:
        return yaml_of(text)
    except yaml.YAMLError:
        return text


def as_list(value: Any) -> list[Any]:
    """A list as it is, the parts of a text ``a,b``, or any other value as a list of one."""
    if isinstance(value, str):
        return [parsed(part.strip()) for part in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


#: settings of a strategy that map names to settings
BY_NAME = ("prompt_form", "plugins")
#: groups of settings in those of a run, and groups in these; any other mapping is a value of a
#: setting, whose keys may have an order and dots
GROUPS: Mapping[Any, Any] = {
    **{key: {} for key in ("dataset", "scenario", "backbone", "evaluation")},
    "options": {"head": {}, **{key: {None: {}} for key in BY_NAME}},
    "parent": {"renamed": {}},
}


def by_name(where: str, value: Any) -> dict[str, Any]:
    """Settings by name, from a mapping, a list of names or a text ``a,b``; None stands for none.

    >>> by_name("plugins", "self_regulation,slow_heads")
    {'self_regulation': {}, 'slow_heads': {}}

    Raises:
        InputError: something else.
    """
    if isinstance(value, str | list | tuple):
        return {str(name): {} for name in as_list(value)}
    if value is None or isinstance(value, Mapping):
        # A name without settings leaves those that are given below it.
        return {str(name): {} if own is None else own for name, own in (value or {}).items()}
    raise InputError(f"{where} is {shown(value)}: it should map names to settings")


def with_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose plugins and forms are mappings, so that they can be laid over others."""
    return {
        key: by_name(key, value) if key in BY_NAME else value for key, value in settings.items()
    }


def as_names(key: str, value: Any) -> list[str]:
    """One name or several, from a list or a text ``a,b``.

    Raises:
        InputError: there is none, or one is no text.
    """
    names = as_list(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{key} is {shown(value)}: it should be a name, or several as a,b")
    return names


def in_one_line(error: Exception) -> str:
    """Message of a library's error, without line breaks and without the text that it cites."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return " ".join(f"{error.problem or error.context}{where}".split())
    return " ".join(str(error).split())


def as_seed(key: str, value: Any) -> int:
    """A whole number that fits 63 bits.

    Raises:
        InputError: anything else.
    """
    return whole_number(key, value, 0, 2**63 - 1, of="2^63 - 1")


def as_seeds(key: str, value: Any) -> list[int]:
    """Seeds from one, a list, a text ``1,2`` or ranges such as ``1-5``; each once.

    >>> as_seeds("seed", "1-3,7")
    [1, 2, 3, 7]

    Raises:
        InputError: anything else, or a range that runs backwards or is too long.
    """
    found: dict[int, None] = {}
    for part in as_list(value):
        ends = _RANGE.fullmatch(part) if isinstance(part, str) else None
        if ends is None:
            found[as_seed(key, part)] = None
            continue
        first, last = (as_seed(key, int(end)) for end in ends.groups())
        if not 0 <= last - first < _MOST:
            raise InputError(
                f"{key} has the range {shown(part)}: it should run upwards, over at most"
                f" {_MOST:,} seeds"
            )
        found.update(dict.fromkeys(range(first, last + 1)))
    return list(found)


def plain(value: Any) -> Any:
    """Tuples as lists and paths as text, which YAML can store."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def flat(
    config: Mapping[Any, Any], groups: Mapping[Any, Any] = GROUPS, above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Settings on one level, with dotted names; an empty group, such as a plugin without settings,
    is a value, and so are the order of several plugins, in which they act, and a mapping that a
    setting holds.

    >>> dict(flat({"seed": 1, "scenario": {"name": "disjoint", "n_tasks": 5}, "parent": {}}))
    {'seed': 1, 'scenario.name': 'disjoint', 'scenario.n_tasks': 5, 'parent': {}}

    Args:
        config: settings of a run, or those of a group.
        groups: groups that there may be in it; None stands for any name.
        above: what names begin with.
    """
    for key, value in config.items():
        inside = groups.get(key, groups.get(None))
        if isinstance(value, Mapping) and value and inside is not None:
            if key in BY_NAME and len(value) > 1:
                yield f"{above}{key}", ", ".join(map(str, value))
            yield from flat(value, inside, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
