"""Strategies, scenarios and data sets by name: a short name of this package, or the dotted name
``package.module:name`` of one's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from unicodedata import category


def is_dotted(name: str) -> bool:
    """Whether ``name`` is of the form ``package.module:name``."""
    return ":" in name


def one_line(text: str) -> str:
    """A text with spaces in the place of line breaks and control characters.

    >>> one_line("mine\\n\\\\input{x}")
    'mine \\\\input{x}'
    """
    return "".join(" " if category(sign) in ("Cc", "Zl", "Zp") else sign for sign in text)


def label_of(name: str) -> str:
    """Short label of a name, for folders, tables and pictures: what follows the colon."""
    return name.rpartition(":")[2]


def labels_of(names: Iterable[str]) -> dict[str, str]:
    """Label of each name: the short one, or the whole name where two short ones are equal.

    >>> labels_of(["mvp", "mine:Method"])
    {'mvp': 'mvp', 'mine:Method': 'Method'}
    """
    distinct = list(dict.fromkeys(names))
    short = [label_of(name) for name in distinct]
    return {
        name: label if short.count(label) == 1 else name
        for name, label in zip(distinct, short, strict=True)
    }
