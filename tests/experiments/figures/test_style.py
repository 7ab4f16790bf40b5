"""What all figures share."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from cl_prompts.experiments.figures.curves import cost_figure, curve_figure
from cl_prompts.experiments.figures.diagnostics import buffer_figure
from cl_prompts.experiments.figures.style import PALETTE, png_bytes, strategy_styles, svg_text
from cl_prompts.experiments.tracking.boards import TensorBoard
from tests.experiments.figures.drawing import band
from tests.forked import forked


def test_styles_are_told_apart_and_do_not_depend_on_order() -> None:
    names = [f"strategy {i:02}" for i in range(25)]
    styles = strategy_styles(names)
    assert len({(s["color"], str(s["linestyle"])) for s in styles.values()}) == 25
    assert strategy_styles(reversed(names)) == styles


def test_svg_has_a_colour_of_each_theme_and_no_ground() -> None:
    text = svg_text(curve_figure({"mvp": band(0.5, 0.6)}))
    assert text.startswith("<?xml")
    light, dark = text.split("@media (prefers-color-scheme: dark)")
    assert PALETTE[0].lower() in light.lower()
    assert "stroke: var(--c" in dark
    assert PALETTE[0].lower() not in dark.lower()
    assert "fill: #ffffff" not in text
    # Only drawn once more: the same picture, the same text.
    assert text == svg_text(curve_figure({"mvp": band(0.5, 0.6)}))


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path: Path) -> None:
    figure = Figure()
    figure.suptitle("cat \x07 \u732b \x1b[31m")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg_text(figure)
        png_bytes(figure)
        board = TensorBoard(tmp_path)
        board.picture("names", figure, 1)
        board.close()


def test_a_picture_holds_names_that_no_file_could() -> None:
    name = "a\x1b[31m\x00\udce9"
    shown = f"{name} {'x' * 200}"
    for figure in (
        buffer_figure([[3]], [name]),
        curve_figure({shown: band(0.5, 0.6)}),
        cost_figure({shown: (1.0, [0.5])}),
    ):
        text = svg_text(figure)
        ElementTree.fromstring(text)
        assert r"\x1b[31m" in text
        assert "x" * 61 not in text


def test_a_matplotlibrc_changes_nothing() -> None:
    picture = svg_text(curve_figure({"mvp": band(0.5, 0.6)}))
    with matplotlib.rc_context({"text.usetex": True, "axes.grid": True, "font.size": 30}):
        assert svg_text(curve_figure({"mvp": band(0.5, 0.6)})) == picture
        for module in ("curves", "diagnostics", "heatmaps", "multi_label", "streams"):
            found = import_module(f"cl_prompts.experiments.figures.{module}")
            for name, draw in vars(found).items():
                if name.endswith("_figure") and name != "new_figure":
                    assert hasattr(draw, "__wrapped__"), name


def test_every_line_has_a_colour_on_dark_pages() -> None:
    names = [str(i) for i in range(len(PALETTE))]
    text = svg_text(curve_figure({name: band(0.5, 0.6) for name in names}))
    drawn = text.split("</style>", 1)[1]
    assert not any(colour.lower() in drawn.lower() for colour in PALETTE)


def test_no_global_state_is_loaded() -> None:
    def work() -> int:
        # In a fork, which forgets what this process has imported of it.
        vars(matplotlib).pop("pyplot", None)
        for name in list(sys.modules):
            if name == "matplotlib.pyplot" or name.startswith("cl_prompts."):
                del sys.modules[name]
        figures = import_module("cl_prompts.experiments.figures")
        figures.png_bytes(figures.task_heatmap_figure([[1]]))
        return int("matplotlib.pyplot" in sys.modules)

    done = forked(work)
    assert done.code == 0, done.err
