"""Settings checked against the types of a signature, with a sentence for each mistake."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cl_prompts.checks import shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.signatures import Parameters
from cl_prompts.experiments.recipes.values import as_list, plain
from cl_prompts.strategies.base.settings import RENAMED


def validated(where: str, accepted: Parameters, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with every default filled in.

    Args:
        where: owner of the settings, for messages ("strategy mvp").
        accepted: the settings that exist.
        values: the settings that were given.

    Raises:
        InputError: an unknown setting, a value of the wrong type, or a missing one without default.
    """
    for key in values:
        if key in RENAMED and key not in accepted:
            raise InputError(f"{where} has no {key} any more: it is {RENAMED[key]}")
        if key not in accepted:
            raise unknown(f"key of {where}", str(key), accepted)
    for key, value in values.items():
        if not _finite(value):
            raise InputError(f"{where}: {key} is {shown(value)}, but it should be finite")
    given = {key: _listed(value, accepted[key][0]) for key, value in values.items()}
    checked = {}
    for key, (kind, default) in accepted.items():
        if key not in given and default is ...:
            raise InputError(f"{where} has no {key}: add {key}=VALUE")
        try:
            value = _adapter(kind).validate_python(given[key]) if key in given else default
        except ValidationError as error:
            message = f"{where}: {key} is {shown(given[key])}, but {_expected(error)}"
            raise InputError(message) from error
        checked[key] = plain(value)
    return checked


@cache  # a sweep and a search check the same types for each run
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind, config=ConfigDict(strict=True, arbitrary_types_allowed=True))


def _expected(error: ValidationError) -> str:
    """Clause on the values that would be right."""
    messages = [problem["msg"] for problem in error.errors()]
    first, *others = dict.fromkeys(
        message.replace("an instance of Sequence", "a list") for message in messages
    )
    alternatives = [text.removeprefix("Input should be ") for text in others]
    return " or ".join([first[0].lower() + first[1:], *alternatives])


def _finite(value: Any) -> bool:
    """Whether a value holds neither NaN nor infinity."""
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _listed(value: Any, annotation: Any) -> Any:
    """``a,b`` as a list, where a setting takes lists and not this text."""
    kinds = _members(annotation)
    origins = [get_origin(kind) for kind in kinds]
    takes_lists = any(isinstance(o, type) and issubclass(o, Sequence) for o in origins)
    takes_text = str in kinds or any(
        o is Literal and value in get_args(k) for o, k in zip(origins, kinds, strict=True)
    )
    return as_list(value) if isinstance(value, str) and takes_lists and not takes_text else value


def _members(annotation: Any) -> list[Any]:
    """Types of a union, or the one type, without the notes of ``Annotated``."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [kind for member in get_args(annotation) for kind in _members(member)]
    return [annotation]
