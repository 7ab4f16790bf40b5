"""Errors are sentences."""

import pytest

from cl_prompts.errors import InputError, RunError, unknown

STRATEGIES = ["mvp", "norga", "coda_prompt", "er"]


@pytest.mark.parametrize(
    ("name", "known", "end"),
    [
        ("cifar10", ["cifar100", "voc"], "did you mean 'cifar100'?"),
        ("xyz", ["b", "a"], "choose from a, b"),
        ("xyz", [], "there is none"),
        ("xyz", [f"name{i:03d}" for i in range(60)], "name019 and 40 more"),
        ("mvq", STRATEGIES, "did you mean 'mvp'?"),
        ("coda", STRATEGIES, "did you mean 'coda_prompt'?"),
        ("norg", STRATEGIES, "did you mean 'norga'?"),
        ("lerning_rate", ["lr", "head"], "did you mean 'lr'?"),
    ],
)
def test_an_unknown_name_offers_the_nearest_one(name: str, known: list[str], end: str) -> None:
    error = unknown("word", name, known)
    assert isinstance(error, InputError)
    assert str(error).startswith(f"unknown word '{name}': ")
    assert str(error).endswith(end)


def test_bad_input_is_a_value_error_and_a_fault_in_a_run_is_not() -> None:
    with pytest.raises(ValueError, match="bad"):
        raise InputError("bad")
    assert not issubclass(RunError, ValueError)


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_any_message_becomes_one_line_of_bounded_length(kind: type[Exception]) -> None:
    assert str(kind("no such\nfile")) == "no such file"
    assert len(str(kind("word " * 200_000))) < 1000
    path = "/home/" + "folder/" * 40  # of usual length
    assert path in str(kind(f"there is no {path}, look there"))


def test_a_loader_process_wraps_a_sentence_in_a_traceback() -> None:
    wrapped = (
        "Caught RunError in DataLoader worker process 0.\nOriginal Traceback (most recent call"
        ' last):\n  File "a.py", line 3\ncl_prompts.errors.RunError: image a.png cannot be read'
    )
    assert str(RunError(wrapped)) == "image a.png cannot be read"
