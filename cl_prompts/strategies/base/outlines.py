"""Modules of this package executed without the libraries that they import.

Recipes are checked and settings are shown from declarations alone: types, defaults, sentences.
Importing the modules that hold them would load torch and Avalanche, which takes seconds.
"""

from __future__ import annotations

import builtins
import dataclasses
import math
import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType, SimpleNamespace
from typing import Any

from cl_prompts.own_code import module_file

_PACKAGE = "cl_prompts"
_OUTLINES: dict[str, ModuleType] = {}


def outlined(module: str, name: str) -> Any:
    """A name of a module of this package, from the module where that was imported, and otherwise
    from its outline.

    >>> outlined("cl_prompts.strategies.mvp", "MVP").settings()["pool_size"].default
    10
    """
    return getattr(_module(module), name)


def scope_of(module: str) -> dict[str, Any]:
    """The names of a module, imported or in outline."""
    return vars(_module(module))


def _module(name: str) -> ModuleType:
    return sys.modules[name] if name in sys.modules else outline(name)


def outline(name: str) -> ModuleType:
    """A module of this package in which what libraries other than Python's own give is
    :class:`Foreign`.

    Its functions have their parameters, its classes their settings; neither is for data.

    Args:
        name: dotted name.

    >>> outline("cl_prompts.losses.mvp").Pairs, outline("cl_prompts.losses.mvp").torch
    (typing.Literal['own', 'all'], Foreign('torch'))
    """
    if name in _OUTLINES:
        return _OUTLINES[name]
    spec = spec_from_file_location(name, module_file(name))
    if spec is None or spec.loader is None:
        raise ImportError(f"no module {name} is found")
    module = module_from_spec(spec)
    # An import statement calls the __import__ among the builtins of its own module.
    vars(module)["__builtins__"] = {**vars(builtins), "__import__": _import}
    # Before it is executed, as in sys.modules, so that an import in a circle finds it.
    _OUTLINES[name] = module
    spec.loader.exec_module(module)
    return module


def _import(
    name: str,
    scope: Any = None,
    local: Any = None,
    names: Sequence[str] | None = (),
    level: int = 0,
) -> Any:
    """Import of an outline: its ``__import__``."""
    top = name.partition(".")[0]
    if name == "dataclasses":
        return _DATACLASSES
    if top in sys.stdlib_module_names:
        return __import__(name, scope, local, names or (), level)
    if top != _PACKAGE:
        # "import a.b" binds a, and "from a.b import c" takes c from a.b.
        return Foreign(name if names else top)
    module = _module(name)
    # Modules of a package are no names of it yet, and become none: it may be imported itself.
    return SimpleNamespace(
        **{
            part: getattr(module, part) if hasattr(module, part) else _module(f"{name}.{part}")
            for part in names or ()
        }
    )


def _dataclass(*given: Any, **how: Any) -> Any:
    """``dataclass``, which looks types that are texts up among the modules that were imported."""

    def made(cls: Any) -> Any:
        cls.__annotations__ = dict.fromkeys(cls.__annotations__, Any)
        return dataclasses.dataclass(**how)(cls)

    return made(*given) if given else made


_DATACLASSES = SimpleNamespace(**{**vars(dataclasses), "dataclass": _dataclass})


class Foreign:
    """A part of a library in an outline: it is called, indexed and asked for attributes without
    effect, stands in types for any, and as a base for nothing.

    Args:
        name: in the library.

    >>> Foreign("torch").nn.Module(), Foreign("torch").Tensor | None
    (Foreign('torch.nn.Module'), typing.Any)
    """

    def __init__(self, *name: Any, **_: Any) -> None:
        # Also a constructor of a base, which classes call with themselves.
        vars(self).setdefault("name", name[0] if name else "")

    def __repr__(self) -> str:
        return f"Foreign({self.name!r})"

    def __getattr__(self, name: str) -> Foreign:
        # By such names Python asks what an object can do, and this one can do nothing of it.
        if name.startswith("__"):
            raise AttributeError(name)
        return Foreign(f"{self.name}.{name}")

    def __call__(self, *_: Any, **__: Any) -> Foreign:  # noqa: D102 - no method that one calls by name
        return self

    def __getitem__(self, _: Any) -> Foreign:
        return self

    def __float__(self) -> float:
        return math.nan

    def __or__(self, _: Any) -> Any:
        return Any

    __ror__ = __or__

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        # A class derives from classes alone, and from none twice: one stands for all of these
        # bases.
        first = next(base for base in bases if isinstance(base, Foreign))
        return (_ForeignBase,) if first is self else ()


class _ForeignBase:
    """In the place of a library's classes: takes any keyword of a class."""

    def __init_subclass__(cls, **_: Any) -> None:
        super().__init_subclass__()
