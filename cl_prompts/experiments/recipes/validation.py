"""Settings checked against the types of a signature, with a sentence for each mistake."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args, get_origin

from cl_prompts.checks import fits, members_of, shown
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
        value = fits(key, given[key], kind, of=where) if key in given else default
        checked[key] = plain(value)
    return checked


def _finite(value: Any) -> bool:
    """Whether a value holds neither NaN nor infinity."""
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _listed(value: Any, annotation: Any) -> Any:
    """``a,b`` as a list, where a setting takes lists and not this text."""
    kinds = [
        get_args(kind)[0] if get_origin(kind) is Annotated else kind
        for kind in members_of(annotation)
    ]
    origins = [get_origin(kind) for kind in kinds]
    takes_lists = any(isinstance(o, type) and issubclass(o, Sequence) for o in origins)
    takes_text = str in kinds or any(
        o is Literal and value in get_args(k) for o, k in zip(origins, kinds, strict=True)
    )
    return as_list(value) if isinstance(value, str) and takes_lists and not takes_text else value
