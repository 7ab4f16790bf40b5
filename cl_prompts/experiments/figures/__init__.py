"""Charts of the report, of papers and of TensorBoard: one Altair chart for each picture.

Every function takes plain numbers and returns a chart. Accuracies come in as fractions, 0 to 1, and
are drawn in percent; NaN means "not measured". ``spec`` gives what a page draws, ``png`` a file.
"""

from cl_prompts.experiments.figures.curves import curve_chart
from cl_prompts.experiments.figures.maps import (
    class_chart,
    key_chart,
    stream_chart,
    task_chart,
    usage_chart,
)
from cl_prompts.experiments.figures.style import Chart, png, spec, theme

__all__ = [
    "Chart",
    "class_chart",
    "curve_chart",
    "key_chart",
    "png",
    "spec",
    "stream_chart",
    "task_chart",
    "theme",
    "usage_chart",
]
