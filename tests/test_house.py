"""The tests are built like the package: a folder of tests for every room."""

from inspect import isfunction
from pathlib import Path

from avalanche.training.templates import SupervisedTemplate

import cl_prompts
from cl_prompts.strategies import STRATEGIES, strategy_class
from cl_prompts.strategies.base.online import OnlineStrategy

PACKAGE = Path(cl_prompts.__file__).parent
TESTS = Path(__file__).parent
#: folders of tests that mirror nothing
OF_THEIR_OWN = {"families", "golden"}


def test_every_test_folder_is_a_room() -> None:
    rooms = {folder.name for folder in TESTS.iterdir() if any(folder.glob("*.py"))}
    missing = {room for room in rooms - OF_THEIR_OWN if not (PACKAGE / room).is_dir()}
    assert not missing
    assert all((TESTS / room / "__init__.py").is_file() for room in rooms - OF_THEIR_OWN)


def test_a_strategy_is_abstract_or_final() -> None:
    """Methods override hooks, but neither Avalanche's methods nor what another one implements."""
    kinds = {strategy_class(name) for name in STRATEGIES}
    found = {
        f"{kind.__name__}.{name}"
        for strategy in kinds
        for kind in strategy.__mro__[: strategy.__mro__.index(OnlineStrategy)]
        for base in kind.__mro__[1:]
        if base in kinds | {OnlineStrategy}
        for name in vars(kind).keys() & vars(base).keys()
        if isfunction(vars(base)[name]) and not name.startswith("__")
        if base is not OnlineStrategy or hasattr(SupervisedTemplate, name)
    }
    assert found == {
        # without gradients there is no step, and joint training joins the experiences first
        "APER.optimizer_step",
        "PrototypeStrategy.criterion",
        "PrototypeStrategy.optimizer_step",
        "Joint.train",
        # variants of a method in a part that it makes
        "LayUPProbe.make_classifier",
        "NoRGa.make_pool",
    }


def test_at_most_five_classes_stand_between_a_strategy_and_avalanche() -> None:
    def own(kind: type) -> list[str]:
        return [c.__name__ for c in kind.__mro__ if c.__module__.startswith("cl_prompts.")]

    towers = [own(strategy_class(name)) for name in STRATEGIES]
    assert not [classes for classes in towers if len(classes) > 5]
