"""Charts of a report: specifications for the page and, where asked for, PNG files."""

from __future__ import annotations

import json
import re
from typing import Any

from markupsafe import Markup

from cl_prompts.experiments import figures

Fields = dict[str, Any]
_LONGEST_STEM = 150  # of the name of a file


class Charts:
    """Charts of a page by the name of their file."""

    def __init__(self) -> None:
        """Start empty."""
        self.by_file: dict[str, figures.Chart] = {}

    def add(self, name: str, chart: figures.Chart, alt: str, caption: str = "") -> Fields:
        """Add a chart.

        Args:
            name: of its file, but for characters that files should not have.
            chart: what to draw.
            alt: alternative text.
            caption: text below it.

        Returns:
            For the template ``json``, ``alt`` and ``caption``.
        """
        stem = re.sub(r"[^a-z0-9]+", "-", name.lower())[-_LONGEST_STEM:].strip("-")
        file = f"{stem}.png"
        if file in self.by_file:
            file = f"{stem}-{len(self.by_file)}.png"
        self.by_file[file] = chart
        return {"json": script_json(figures.spec(chart, alt)), "alt": alt, "caption": caption}


def script_json(data: Any) -> Markup:
    """Return JSON that may stand in a script element."""
    # A name may hold </script>, which would end the element.
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c"))
