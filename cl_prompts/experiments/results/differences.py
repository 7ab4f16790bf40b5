"""Differences between the conditions of two tables, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.results.comparable import Conditions

_WORDS = {
    "dataset.name": "data set",
    "scenario.name": "scenario",
    "backbone.name": "backbone",
    "backbone.weights": "weights",
    "backbone_hash": "hash of the weights",
    "backbone.image_size": "backbone.image_size",
    "data": "data:",
    "definitions": "definitions of the metrics",
    "numbers": "mark of changed numbers",
    "dataset.source": "source of the data set",
    "scenario.source": "source of the scenario",
    "class_names": "names of the classes",
    "stream_seed": "stream seed",
    "stream": "fingerprint of the stream",
}
#: what comes with a choice, and is not listed where the choice itself differs
_FOLLOWS = {
    "data": "dataset.name",
    "class_names": "dataset.name",
    "backbone_hash": "backbone.name",
}
_MAX_LENGTH = 40
_HASH = re.compile("[0-9a-f]{32,}")


def differences(conditions: Conditions, reference: Conditions) -> list[str]:
    """In words, what distinguishes a table from another.

    >>> differences({"scenario.blurry_percent": "60"}, {"scenario.blurry_percent": "10"})
    ['blurry_percent 60 instead of 10']

    What only comes with a choice, such as the parameters of another scenario, is not listed.
    """
    keys = dict.fromkeys((*conditions, *reference))
    differing = [key for key in keys if conditions.get(key) != reference.get(key)]
    shown = [key for key in differing if not _follows(key, differing, conditions, reference)]
    described = {key: _describe(key, conditions.get(key), reference.get(key)) for key in shown}
    texts = []
    for key, text in described.items():
        name = _name_of(key)
        # Two sections may have a setting of the same name.
        twice = any(_name_of(k) == name and described[k] != text for k in described)
        texts.append(f"{key if twice else name} {text}")
    return list(dict.fromkeys(texts))


def _follows(
    key: str, differing: Sequence[str], conditions: Conditions, reference: Conditions
) -> bool:
    """Whether a difference only comes with that of a choice: another scenario, another backbone."""
    section = key.partition(".")[0]
    choice = _FOLLOWS.get(key, f"{section}.name")
    one_sided = key not in conditions or key not in reference
    return key != choice and choice in differing and (one_sided or key in _FOLLOWS)


def _name_of(key: str) -> str:
    return _WORDS.get(key, key.rpartition(".")[2])


def _describe(key: str, value: str | None, reference: str | None) -> str:
    if key == "class_names":
        return "differ"
    if key == "data":
        return _data_words(value, reference)
    return f"{_word(value)} instead of {_word(reference)}"


def _data_words(value: str | None, reference: str | None) -> str:
    """Difference between two fingerprints of one data set."""
    try:
        change = fingerprint_change(json.loads(reference or "null"), json.loads(value or "null"))
    except (TypeError, KeyError):
        change = None
    return change or "differs"


def _word(text: str | None) -> str:
    """A recorded value as a recipe writes it, shortened."""
    if text is None:
        return "not recorded"
    value = json.loads(text)
    if value is None:
        return "none"
    word = label_of(value) if isinstance(value, str) else text
    if _HASH.fullmatch(word):
        return word[:8]
    return word if len(word) <= _MAX_LENGTH else word[: _MAX_LENGTH - 1] + "…"
