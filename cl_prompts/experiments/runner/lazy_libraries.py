"""Libraries that Avalanche, timm and torch import for parts that most runs do not use, loaded when
these are used; light to import."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

#: packages that import others only for parts of theirs, and these others
_USERS = ("avalanche", "timm")
_SPARED = ("gdown", "matplotlib", "qpsolvers", "scipy", "torchmetrics", "wandb")
#: front end of torch's compiler, which torchvision and every step of an optimizer import: with
#: sympy and what else it brings, a third of all imports
_COMPILER = "torch._dynamo"


def spare_libraries() -> None:
    """From now on, Avalanche and timm get stand-ins of libraries that are not loaded yet, and all
    get one of torch's compiler: each name becomes the real one when it is first used.

    For a process of the command line; whoever else imports these libraries gets the real ones.
    """
    if not any(isinstance(finder, _Users) for finder in sys.meta_path):
        sys.meta_path[:0] = [_Users(), _StandIns({_COMPILER})]


class LazyName:
    """A function, class or module of a library that is loaded when it is called, asked for an
    attribute or derived from.

    Args:
        module: dotted name of the module that has it.
        name: in the module; empty for the module itself.

    Example:
        >>> LazyName("fractions", "Fraction")(1, 2)
        Fraction(1, 2)
    """

    def __init__(self, module: str, name: str = "") -> None:
        """Load nothing."""
        object.__setattr__(self, "_place", (module, name))

    def __repr__(self) -> str:
        return f"LazyName{self._place}"

    def __getattr__(self, name: str) -> Any:
        # typing asks whatever stands in a union for names of its own.
        if name.startswith("__") and not self._is_loaded:
            raise AttributeError(name)
        return getattr(real(*self._place), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(real(*self._place), name, value)

    @property
    def _is_loaded(self) -> bool:
        module = sys.modules.get(self._place[0])
        return module is not None and not isinstance(module, _StandIn)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the real one."""
        return real(*self._place)(*args, **kwargs)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[Any, ...]:
        return (real(*self._place),)

    def __instancecheck__(self, instance: Any) -> bool:
        # There is no instance of a class whose module is not loaded.
        return self._is_loaded and isinstance(instance, real(*self._place))


def real(module: str, name: str = "") -> Any:
    """A module or a name in it, with stand-ins of its library taken away first."""
    _withdraw(module)
    found: Any
    try:
        found = import_module(module)
    except ModuleNotFoundError:
        # What looks like a module may be a name in the one above.
        above, _, last = module.rpartition(".")
        found = real(above, last) if above else None
        if found is None:
            raise
    return getattr(found, name) if name else found


class _StandIn(ModuleType):
    """A module of which each name is lazy."""

    # A package, so that submodules of it can be imported.
    __path__ = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            return getattr(real(self.__name__), name)
        return LazyName(self.__name__, name)


def _lies_in(name: str, library: str) -> bool:
    """Whether a module is a library or lies in it."""
    return f"{name}.".startswith(f"{library}.")


def _withdraw(*modules: str) -> None:
    """Take stand-ins of these modules' libraries away, so that imports find the real ones."""
    for finder in sys.meta_path:
        if isinstance(finder, _StandIns):
            finder.libraries -= {
                library
                for library in finder.libraries
                if any(_lies_in(module, library) for module in modules)
            }
    for name, module in list(sys.modules.items()):
        if isinstance(module, _StandIn) and not _stands_in(name):
            del sys.modules[name]
            above, _, last = name.rpartition(".")
            # An import leaves the module in the one above, too.
            if vars(sys.modules.get(above, module)).get(last) is module:
                delattr(sys.modules[above], last)


def _stands_in(name: str) -> bool:
    """Whether imports of a module find a stand-in now."""
    return any(isinstance(finder, _StandIns) and finder.has(name) for finder in sys.meta_path)


class _StandIns:
    """Finder and loader of stand-ins."""

    def __init__(self, libraries: set[str]) -> None:
        self.libraries = libraries

    def has(self, name: str) -> bool:
        """Whether a module lies in one of the libraries."""
        return any(_lies_in(name, library) for library in self.libraries)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A stand-in's spec, for modules of the libraries."""
        if not self.has(name):
            return None
        return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty stand-in; the compiler's has what an optimizer asks for at each step."""
        stand_in = _StandIn(spec.name)
        if spec.name == _COMPILER:
            # Nothing is traced, so there is no graph to break, and none to leave a function out of.
            vars(stand_in).update(graph_break=lambda: None, disable=lambda method, *_, **__: method)
        return stand_in

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: each name is lazy."""


@contextmanager
def stand_ins(libraries: Sequence[str] = _SPARED) -> Iterator[None]:
    """Give who imports a library a stand-in, where it is installed and not loaded yet."""
    # A library that is missing gets none: its user has to see that.
    spared = {name for name in libraries if name not in sys.modules and PathFinder.find_spec(name)}
    finder = _StandIns(set(spared))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _withdraw(*spared)


class _Users:
    """Finder that has Avalanche and timm loaded beside stand-ins."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The usual spec, with a loader that sees to the stand-ins."""
        spec = PathFinder.find_spec(name, path, target) if name in _USERS else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    """A module's loader, with stand-ins while it loads."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        """Load the module, and all that it imports."""
        with stand_ins():
            self._loader.exec_module(module)
