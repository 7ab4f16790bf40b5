"""What all figures share."""

from __future__ import annotations

import subprocess
import sys

from cl_prompts.experiments.pictures.style import strategy_styles


def test_styles_are_told_apart_and_do_not_depend_on_order() -> None:
    names = [f"strategy {i:02}" for i in range(25)]
    styles = strategy_styles(names)
    assert len({(s["color"], str(s["linestyle"])) for s in styles.values()}) == 25
    assert strategy_styles(reversed(names)) == styles


def test_no_global_state_is_loaded() -> None:
    code = (
        "import sys; from cl_prompts.experiments.pictures import png_bytes, task_heatmap_figure; "
    )
    code += "png_bytes(task_heatmap_figure([[1]])); print('matplotlib.pyplot' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
