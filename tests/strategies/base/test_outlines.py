"""Outlines: what is declared is the same with and without the libraries."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from cl_prompts.experiments.recipes.signatures import (
    common_parameters,
    parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.strategies import PLUGINS, STRATEGIES, plugin_class, plugin_outline, strategy_class
from cl_prompts.strategies.base.outlines import Foreign, outline, outlined
from cl_prompts.strategies.base.settings import sentences


def declarations() -> dict[str, Any]:
    """Everything that recipes may set, as texts: types, defaults and sentences."""
    datasets = outlined("cl_prompts.datasets.registry", "DATASETS")
    scenarios = outlined("cl_prompts.scenarios.registry", "SCENARIOS")
    found = {
        **{name: strategy_parameters(name) for name in STRATEGIES},
        **{f"plugin {name}": parameters(plugin_outline(name)) for name in PLUGINS},
        **{f"data set {name}": section_parameters("dataset", name) for name in datasets},
        **{f"scenario {name}": section_parameters("scenario", name) for name in scenarios},
        **{section: section_parameters(section) for section in ("backbone", "evaluation")},
        "head": parameters(outlined("cl_prompts.strategies.base.head", "Head")),
        "training": common_parameters(),
    }
    for name, form in outlined("cl_prompts.strategies.base.prompt_form", "PROMPT_FORMS").items():
        found[f"form {name}"] = parameters(form)
    texts = {name: sentences(plugin_outline(name)) for name in PLUGINS}
    return {"settings": {name: _texts(own) for name, own in found.items()}, "sentences": texts}


def _texts(own: dict[str, tuple[Any, Any]]) -> list[list[str]]:
    return [
        [key, str(kind), repr(getattr(default, "given", default))]
        for key, (kind, default) in own.items()
    ]


@pytest.mark.slow
def test_declarations_read_without_torch_are_those_of_the_imported_modules() -> None:
    code = (
        "import json, sys\n"
        f"from {__name__} import declarations\n"
        "print(json.dumps(declarations()))\n"
        "assert not {'torch', 'avalanche', 'timm', 'numpy'} & set(sys.modules)\n"
        "from cl_prompts.datasets.registry import load_dataset\n"
        "assert len(load_dataset('digits', image_size=8).train)"
    )
    alone = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    for name in STRATEGIES:
        strategy_class(name)
    for name in PLUGINS:
        plugin_class(name)
    import cl_prompts.backbones.weights
    import cl_prompts.datasets.registry  # noqa: F401

    assert json.loads(alone.stdout) == json.loads(json.dumps(declarations()))


def test_what_a_library_gives_has_no_effect() -> None:
    foreign = outline("cl_prompts.losses.mvp").torch
    assert isinstance(foreign, Foreign)
    assert repr(foreign.nn.Linear(1, 2)["weight"]) == "Foreign('torch.nn.Linear')"
    assert (foreign.Tensor | None) == (None | foreign.Tensor) == Any

    class Both(foreign.nn.Module, foreign.Other, keyword=1):  # type: ignore[misc, name-defined]
        """Derived from two of a library's classes."""

    assert [base.__name__ for base in Both.__mro__] == ["Both", "_ForeignBase", "object"]
