"""Settings: each declared once, checked at once, listed by name."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from cl_prompts.checks import Count, Share
from cl_prompts.errors import InputError
from cl_prompts.strategies import PLUGINS, Head, plugin_class
from cl_prompts.strategies.base.prompt_form import PROMPT_FORMS
from cl_prompts.strategies.base.settings import Settings, sentences
from tests.families.test_settings import out_of_range


class Base(Settings):
    rate: Share = 0.5
    """How fast."""
    count: Count = 2
    """How many."""


class Child(Base):
    """Another default, a word, and one setting less."""

    excluded = ("count",)
    rate: Share = 0.25
    word: Literal["warm", "cold"] = "warm"
    """How it
    feels."""


class Holder(Settings):
    """A setting whose value has settings of its own."""

    part: Base = Base(count=7)
    """A part."""


def test_a_class_lists_what_it_and_its_bases_declare() -> None:
    assert {name: s.default for name, s in Base.settings().items()} == {"rate": 0.5, "count": 2}
    found = {name: s.default for name, s in Child.settings().items()}
    assert found == {"rate": 0.25, "word": "warm"}
    assert sentences(Child) == {"rate": "How fast.", "word": "How it feels."}


def test_values_are_taken_or_refused() -> None:
    child = Child(word="cold")
    assert child.values_of() == {"rate": 0.25, "word": "cold"}
    assert child.explicit == {"word": "cold"}
    for given, says in (
        ({"rate": 1.5}, "rate is 1.5: it should be less than or equal to 1"),
        ({"word": "warn"}, "unknown word 'warn': did you mean 'warm'"),
        ({"count": 3}, "unknown setting of Child 'count'"),
        ({"ratte": 1}, "did you mean 'rate'"),
    ):
        with pytest.raises(InputError, match=says):
            Child(**given)


@pytest.mark.parametrize("given", [Base(rate=0.1), {"rate": 0.1}])
def test_settings_that_a_part_leaves_open_stay_those_of_the_default(given: Any) -> None:
    assert Holder().part.values_of() == {"rate": 0.5, "count": 7}
    assert Holder(part=given).part.values_of() == {"rate": 0.1, "count": 7}
    assert Holder(part=Base(count=2)).part.count == 2
    with pytest.raises(InputError, match=r"part is 3: give a Base\(...\)"):
        Holder(part=3)


@pytest.mark.parametrize("cls", [Head, *PROMPT_FORMS.values(), *map(plugin_class, PLUGINS)])
def test_heads_forms_and_plugins_list_their_settings_and_refuse_others(cls: Any) -> None:
    assert all(sentences(cls).values())
    for setting in cls.settings().values():
        for value in out_of_range(setting.annotation):
            with pytest.raises(InputError, match=setting.name):
                cls(**{setting.name: value})
