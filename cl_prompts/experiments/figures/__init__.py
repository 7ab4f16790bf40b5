"""Figures of TensorBoard and the report, drawn without pyplot and without global state.

Every function takes plain numbers and returns a new ``matplotlib.figure.Figure``. Accuracies come
in as fractions, 0 to 1, and are drawn in percent; NaN means "not measured" and is drawn grey.
"""

from cl_prompts.experiments.figures.curves import cost_figure, curve_figure
from cl_prompts.experiments.figures.diagnostics import buffer_figure, key_figure, usage_figure
from cl_prompts.experiments.figures.heatmaps import (
    class_forgetting_figure,
    class_heatmap_figure,
    task_heatmap_figure,
)
from cl_prompts.experiments.figures.multi_label import examples_figure, f1_figure
from cl_prompts.experiments.figures.streams import stream_figure
from cl_prompts.experiments.figures.style import CARD, png_bytes, strategy_styles, svg_text

__all__ = [
    "CARD",
    "buffer_figure",
    "class_forgetting_figure",
    "class_heatmap_figure",
    "cost_figure",
    "curve_figure",
    "examples_figure",
    "f1_figure",
    "key_figure",
    "png_bytes",
    "strategy_styles",
    "stream_figure",
    "svg_text",
    "task_heatmap_figure",
    "usage_figure",
]
