"""Alternative texts with numbers."""

from __future__ import annotations

import numpy as np

from cl_prompts.experiments.report import picture_words


def test_streams() -> None:
    counts = [[5, 0]] * 9
    stream = {"counts": counts, "disjoint_classes": [], "blurry_classes": []}
    words = picture_words.of_stream(stream, [5] * 9, "labels")
    assert words == "45 labels of 1 class; 9 tasks of 5 to 5 images"
    one = picture_words.of_stream({"counts": [[5, 5]]}, [1000], "samples")
    assert one.endswith("; one task of 1,000 images")


def test_what_was_never_used_is_said() -> None:
    assert picture_words.of_usage([[0, 0]], [np.nan]) == "2 prompts, none used"
    assert picture_words.of_keys([[1.0]]) == "1 key"
    assert picture_words.of_buffer([[3, 0], [0, 0]], "samples") == "empty after the last task"
