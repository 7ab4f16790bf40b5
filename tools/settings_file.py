"""Write ``settings.json``: every strategy, plugin, scenario and data set with its settings.

``make settings`` runs it; a test compares the file with the modules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cl_prompts
from cl_prompts import strategies
from cl_prompts.experiments.recipes.parameters import (
    FILLED,
    TYPES,
    Parameter,
    Parameters,
    described,
    scenario_parameters,
)
from cl_prompts.experiments.recipes.values import plain

FILE = Path(cl_prompts.__file__).with_name("settings.json")


def content() -> str:
    """What the file has to hold."""
    from cl_prompts.backbones.weights import create_backbone
    from cl_prompts.datasets.label_noise import LabelNoise
    from cl_prompts.datasets.registry import load_dataset
    from cl_prompts.strategies.base.head import Head
    from cl_prompts.strategies.base.online import OnlineStrategy
    from cl_prompts.strategies.base.plugin import StrategyPlugin
    from cl_prompts.strategies.base.prompt_form import PROMPT_FORMS
    from cl_prompts.strategies.evaluation.anytime import AnytimeEvaluation

    training = described(OnlineStrategy, FILLED["strategy"])
    found = {
        "strategies": {
            module.__name__.rpartition(".")[2]: _strategy(module, kind, training)
            for module, kind in _modules("*.py", OnlineStrategy)
        },
        "training": stored(training),
        "head": stored(described(Head)),
        "prompt_forms": {
            name: {"settings": stored(described(form))} for name, form in PROMPT_FORMS.items()
        },
        "plugins": {
            module.__name__.rpartition(".")[2]: {
                **_about(module, kind),
                "needs": kind.needs,
                "settings": stored(described(kind)),
            }
            for module, kind in _modules("plugins/*.py", StrategyPlugin)
        },
        "scenarios": _scenarios(),
        "datasets": _datasets(),
        "images": stored(described(load_dataset, FILLED["dataset"])),
        "backbone": stored(described(create_backbone, FILLED["backbone"])),
        "label_noise": stored(described(LabelNoise, FILLED["label_noise"])),
        "evaluation": stored(described(AnytimeEvaluation, FILLED["evaluation"])),
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _modules(pattern: str, base: type) -> Iterator[tuple[ModuleType, Any]]:
    """Modules of the strategies, and the class that each is about."""
    folder = Path(strategies.__file__).parent
    for file in sorted(folder.glob(pattern)):
        if file.stem == "__init__":
            continue
        parts = file.relative_to(folder).with_suffix("").parts
        module = import_module(".".join((strategies.__name__, *parts)))
        classes = [kind for kind in vars(module).values() if isinstance(kind, type)]
        own = [k for k in classes if k.__module__ == module.__name__ and issubclass(k, base)]
        if own:
            yield module, own[0]


def _about(module: ModuleType, kind: type) -> dict[str, Any]:
    line = (module.__doc__ or "").splitlines()[0]
    return {"class": kind.__name__, "about": line.rstrip(".")}


def _strategy(module: ModuleType, kind: Any, training: Parameters) -> dict[str, Any]:
    """A strategy, with the settings in which it differs from those that all share."""
    settings = described(kind, FILLED["strategy"])
    return {
        **_about(module, kind),
        "shared": "training",
        "without": [key for key in training if key not in settings],
        "settings": _beside(stored(training), stored(settings)),
    }


def _beside(shared: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What settings say that is not said of them for all."""
    own = {}
    for key, entry in settings.items():
        known = shared.get(key, {})
        if entry != known:
            own[key] = {p: v for p, v in entry.items() if p not in known or known[p] != v}
    return own


def _scenarios() -> dict[str, Any]:
    from cl_prompts.scenarios.registry import SCENARIOS

    return {
        name: {"about": s.description, "settings": stored(scenario_parameters(s.split))}
        for name, s in SCENARIOS.items()
    }


def _datasets() -> dict[str, Any]:
    from cl_prompts.datasets.registry import DATASETS

    return {
        name: {
            "about": entry.description,
            "shared": "images",
            "settings": stored(described(entry.read, {"folder", "download"})),
        }
        for name, entry in DATASETS.items()
    }


def stored(parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Settings as ``settings.json`` holds them: type, sentence and, where there is one, default."""
    found = {}
    for name, (kind, default, sentence) in parameters.items():
        found[name] = {"type": type_text(kind), "sentence": sentence}
        if default is not ...:
            found[name]["default"] = plain(default)
    return found


def type_text(kind: Any) -> str:
    """A type as an expression of plain types; ``Any`` for other classes.

    >>> type_text(int | None), type_text(Parameter)
    ('int | None', 'typing.Any')
    """
    text = kind.__name__ if kind in (bool, int, float, str) else repr(kind)
    try:
        return text if eval(text, dict(TYPES)) == kind else "typing.Any"
    except (NameError, SyntaxError, AttributeError):
        return "typing.Any"


if __name__ == "__main__":
    FILE.write_text(content(), encoding="utf-8")
