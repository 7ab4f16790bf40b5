"""Every setting of every strategy has a sentence, and refuses what is out of its range."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le

from cl_prompts.errors import InputError
from cl_prompts.strategies.base.settings import sentences
from tests.toy_vits import lively_vit
from tests.toys import TABLE, cls_of, make


def members(kind: Any) -> Iterator[Any]:
    if get_origin(kind) in (Union, UnionType):
        for member in get_args(kind):
            yield from members(member)
    else:
        yield kind


def out_of_range(kind: Any) -> Iterator[Any]:
    """Values that a type rules out by its words or its bounds."""
    for member in members(kind):
        if get_origin(member) is Literal:
            yield "no such word"
        if get_origin(member) is Annotated:
            for bound in get_args(member)[1:]:
                if isinstance(bound, Gt):
                    yield bound.gt
                if isinstance(bound, Ge):
                    yield bound.ge - 1
                if isinstance(bound, Le):
                    yield bound.le + 1
            yield float("nan")
            yield from [1.5] if get_args(member)[0] is int else []


def test_every_setting_has_a_sentence() -> None:
    for kind in TABLE:
        without = [name for name, sentence in sentences(cls_of(kind)).items() if not sentence]
        assert not without, f"{kind}: write a sentence below {', '.join(without)}"


def test_a_value_out_of_range_is_refused_by_name() -> None:
    # Settings of one name and type are checked alike in all methods.
    settings = [(kind, s) for kind in TABLE for s in cls_of(kind).settings().values()]
    distinct = {(s.name, str(s.annotation)): (kind, s) for kind, s in settings}
    backbone, refused = lively_vit(), 0
    for kind, setting in distinct.values():
        for value in out_of_range(setting.annotation):
            with pytest.raises(InputError, match=setting.name):
                make(kind, backbone=backbone, **{setting.name: value})
            refused += 1
    assert refused > 200
