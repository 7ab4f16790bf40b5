"""An extension of griffe, which reads docstrings: examples become blocks of code on the site."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: an example: a line with a prompt, and all lines up to the next blank one
EXAMPLE = re.compile(r"^( *)>>> .*(?:\n.*\S.*)*", re.MULTILINE)


class Examples(griffe.Extension):
    """Fences each example, which Markdown would take for a quotation."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of a module, class or function."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"\1```pycon\n\g<0>\n\1```", obj.docstring.value)
