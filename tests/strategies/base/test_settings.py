"""Settings: each declared once, checked at once, listed by name."""

from __future__ import annotations

from typing import Literal

import pytest

from cl_prompts.checks import Count, Share
from cl_prompts.errors import InputError
from cl_prompts.strategies.base.settings import Declared, sentences


class Base(Declared):
    """Two settings."""

    rate: Share = 0.5
    """How fast."""
    count: Count = 2
    """How many."""


class Child(Base):
    """Another default, a word, and one setting less."""

    withdrawn = ("count",)
    rate: Share = 0.25
    word: Literal["warm", "cold"] = "warm"
    """How it
    feels."""


def test_a_class_lists_what_it_and_its_bases_declare() -> None:
    assert {name: s.default for name, s in Base.settings().items()} == {"rate": 0.5, "count": 2}
    found = {name: s.default for name, s in Child.settings().items()}
    assert found == {"rate": 0.25, "word": "warm"}


def test_each_setting_has_the_sentence_below_it() -> None:
    assert sentences(Child) == {"rate": "How fast.", "word": "How it feels."}


def test_values_are_taken_or_refused() -> None:
    child = Child()
    child.take({"word": "cold"})
    assert (child.rate, child.word) == (0.25, "cold")
    for given, says in (
        ({"rate": 1.5}, "rate is 1.5: it must be between 0 and 1"),
        ({"word": "warn"}, "unknown word 'warn': did you mean 'warm'"),
        ({"count": 3}, "unknown setting of Child 'count'"),
        ({"ratte": 1}, "did you mean 'rate'"),
    ):
        with pytest.raises(InputError, match=says):
            Child().take(given)
