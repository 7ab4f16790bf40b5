"""The image of classes over samples."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from cl_prompts.experiments.report.class_maps import class_map, in_words
from cl_prompts.experiments.results.series import first_seen
from cl_prompts.experiments.run_folder.runs import Run


def a_run(*values: tuple[int, int, float], n_classes: int = 2) -> Run:
    """A run with (class, samples, accuracy) at anytime points."""
    series: dict[str, list[tuple[int, float]]] = {"seen": []}
    for c, samples, value in values:
        series.setdefault(f"class:{c}", []).append((samples, value))
        series["seen"].append((samples, value))
    series["seen"] = sorted(dict(series["seen"]).items())
    summary = {"n_classes": n_classes, "task_ends": [100, 200], "class_names": ["cat", "dog"]}
    return Run(Path("run"), summary, metrics={"anytime_accuracy": series})


RUN = a_run((1, 100, 1.0), (1, 200, 0.25), (0, 200, 0.5))


def test_classes_stand_in_the_order_in_which_they_are_seen() -> None:
    view = class_map(RUN, "words")
    assert view["names"] == ["dog", "cat"]
    assert (view["alt"], view["rows"]) == ("words", 2)
    assert view["lines"] == ["50.00"]
    assert first_seen(np.array([[np.nan, np.nan], [np.nan, 1], [1, 1]])).tolist() == [2, 1, 0]


def test_pixels_have_the_colours_of_their_values() -> None:
    data = base64.b64decode(class_map(RUN, "")["uri"].partition("base64,")[2])
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    assert image.shape[0] == 2
    assert image[0, 0, 3] == 0  # before the first point there is nothing
    assert image[1, image.shape[1] // 2, 3] == 0  # the cat was not seen yet
    assert image[0, image.shape[1] // 2].tolist() == [253, 231, 36, 255]
    assert image[0, -1].tolist() != image[1, -1].tolist()


def test_words_tell_the_extremes() -> None:
    assert in_words(RUN) == "at 200 samples from 25 % (dog) to 50 % (cat), mean 38 %"
    assert in_words(a_run((1, 100, 0.5), (5, 200, 0.5))) == "no class was measured at the end"
    seen = {"anytime_accuracy": {"seen": [(100, 0.5), (200, 0.5)]}}
    assert in_words(Run(Path("run"), RUN.summary, metrics=seen)) == "no class was measured"
