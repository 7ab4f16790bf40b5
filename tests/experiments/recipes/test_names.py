"""Short and dotted names."""

from __future__ import annotations

from cl_prompts.experiments.recipes.names import is_dotted, label_of, labels_of, one_line


def test_labels_are_short_unless_two_would_be_equal() -> None:
    assert not is_dotted("mvp")
    assert is_dotted("a.b:C")
    assert label_of("mvp") == "mvp"
    assert label_of("a.b:C") == "C"
    assert labels_of(["mvp", "a:C", "a:D", "mvp"]) == {"mvp": "mvp", "a:C": "C", "a:D": "D"}
    assert labels_of(["a:C", "b:C", "mvp"]) == {"a:C": "a:C", "b:C": "b:C", "mvp": "mvp"}
    assert labels_of(["mvp", "own:mvp"]) == {"mvp": "mvp", "own:mvp": "own:mvp"}


def test_no_sign_begins_a_line() -> None:
    assert one_line("a\n\r\x0b\x85\u2028\x1b\x00é") == "a       é"
