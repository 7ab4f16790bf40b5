"""Altair charts of the report, of papers and of TensorBoard.

Chart functions take plain numbers. Accuracies are fractions, 0 to 1, and are drawn in percent; NaN
means "not measured". ``spec`` returns the specification for a page, ``png`` an image, and
``figure`` a figure for a paper.
"""

from cl_prompts.experiments.figures.curves import curve_chart
from cl_prompts.experiments.figures.maps import (
    class_chart,
    key_chart,
    stream_chart,
    task_chart,
    usage_chart,
)
from cl_prompts.experiments.figures.style import Chart, Format, figure, png, spec, theme

__all__ = [
    "Chart",
    "Format",
    "class_chart",
    "curve_chart",
    "figure",
    "key_chart",
    "png",
    "spec",
    "stream_chart",
    "task_chart",
    "theme",
    "usage_chart",
]
