"""Tests of head, form of prompts and plugins in recipes."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.composition import composed
from cl_prompts.experiments.recipes.settings import plan


def test_a_methods_own_plugin_keeps_what_is_not_set() -> None:
    (run,) = plan("digits", ["strategy=smope", "seed=1", "smope.head_alignment.epochs=3"])
    alignment = run.options["plugins"]["head_alignment"]
    assert (alignment["epochs"], alignment["samples"]) == (3, 512)


def test_nested_settings_have_every_default_and_a_method_without_a_head_none() -> None:
    found = composed("single_prompt", {"head": {"input": "whitened"}})
    assert (found["head"]["kind"], found["head"]["input"]) == ("cosine", "whitened")
    assert (found["head"]["refresh"], found["prompt_form"], found["plugins"]) == (5, {}, {})
    assert composed("ncm", {}) == {"plugins": {}}


def test_a_plugin_of_ones_own_has_its_constructors_settings() -> None:
    name = "avalanche.training.plugins:EarlyStoppingPlugin"
    given = {"patience": 3, "val_stream_name": "test_stream"}
    found = composed("er", {"plugins": {name: given}})["plugins"][name]
    assert (found["patience"], found["metric_name"]) == (3, "Top1_Acc_Stream")
    with pytest.raises(InputError, match="has no val_stream_name: add"):
        composed("er", {"plugins": {name: {"patience": 3}}})


def test_a_plugin_that_does_not_exist_and_a_head_that_is_a_word_are_refused() -> None:
    with pytest.raises(InputError, match="unknown plugin 'self_regulaton': did you mean"):
        plan("digits", ["strategy=mvp", "seed=1", "plugins=self_regulaton"])
    with pytest.raises(InputError, match="head of strategy mvp is 'cosine': it maps settings"):
        plan("digits", ["strategy=mvp", "seed=1", "head=cosine"])
