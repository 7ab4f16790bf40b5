"""Errors are sentences."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError, RunError, one_sentence, unknown


def test_an_unknown_name_offers_the_nearest_one() -> None:
    error = unknown("recipe", "cifar10", ["cifar100", "voc"])
    assert isinstance(error, InputError)
    assert str(error) == "unknown recipe 'cifar10': did you mean 'cifar100'?"


def test_without_a_near_name_it_lists_all() -> None:
    assert str(unknown("word", "xyz", ["b", "a"])) == "unknown word 'xyz': choose from a, b"
    assert str(unknown("word", "xyz", [])) == "unknown word 'xyz': there is none"


@pytest.mark.parametrize(
    ("name", "near"),
    [("mvq", "mvp"), ("mpv", "mvp"), ("coda", "coda_prompt"), ("norg", "norga"), ("xyz", None)],
)
def test_a_short_name_with_a_slip_is_recognised(name: str, near: str | None) -> None:
    said = str(unknown("strategy", name, ["mvp", "norga", "coda_prompt", "er"]))
    assert said.endswith(
        f"did you mean {near!r}?" if near else "choose from coda_prompt, er, mvp, norga"
    )


def test_a_long_list_is_cut() -> None:
    many = [f"name{i:03d}" for i in range(60)]
    says = str(unknown("word", "xyz", many))
    assert says.endswith("name019 and 40 more")


def test_bad_input_is_a_value_error_and_a_fault_in_a_run_is_not() -> None:
    with pytest.raises(ValueError, match="bad"):
        raise InputError("bad")
    assert not issubclass(RunError, ValueError)


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_any_message_becomes_one_line_of_bounded_length(kind: type[Exception]) -> None:
    assert str(kind("no such\nfile")) == "no such file"
    assert len(str(kind("word " * 200_000))) < 1000


def test_a_path_of_usual_length_is_not_cut() -> None:
    path = "/home/" + "folder/" * 40
    assert path in one_sentence(f"there is no {path}, look there")


def test_a_loader_process_wraps_a_sentence_in_a_traceback() -> None:
    wrapped = (
        "Caught RunError in DataLoader worker process 0.\nOriginal Traceback (most recent call"
        ' last):\n  File "a.py", line 3\ncl_prompts.errors.RunError: image a.png cannot be read'
    )
    assert str(RunError(wrapped)) == "image a.png cannot be read"
