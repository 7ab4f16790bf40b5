"""Code of a user's own, named ``package.module:name``: what may be imported, what called, and which
source it is; and libraries that not every installation has.

Importing a module runs it. What is called afterwards must say itself that it is meant for this
package: a strategy and a plugin by their base class, a scenario and a data set by a decorator.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules
from types import CodeType, ModuleType
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from cl_prompts.errors import InputError, short, unknown
from cl_prompts.reading import TEXT, content, sha256

Function = TypeVar("Function", bound=Callable[..., Any])
Kind = Literal["scenario", "data set"]
Trust = bool | Collection[str]
"""Dotted names that may be imported: True for any, False for none but those of listed files."""

_DECORATORS: dict[Kind, str] = {"scenario": "scenario", "data set": "dataset"}
_MARK = "_cl_prompts_kind"
#: folders of installed packages, whose versions are recorded and whose source is not
_INSTALLED = {"site-packages", "dist-packages"}


class _Source(NamedTuple):
    """The source of a module as it was when it was read.

    Attributes:
        of: spec of the module that was imported then, or that module where it has none; None where
            it was not imported yet.
        file: that it was read from.
        sha256: of the file.
        imports: names of modules, see :func:`_imports`.
    """

    of: ModuleSpec | ModuleType | None
    file: str
    sha256: str
    imports: list[str]


#: sources of modules of own code that was imported
_KNOWN: dict[str, _Source] = {}


def extra(module: str, part: str, user: str) -> Any:
    """Import a library of an optional part of the installation.

    Args:
        module: to import.
        part: of the installation that holds it, such as "ray".
        user: that needs it, for the sentence ("--launcher ray").

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{user} needs {error.name}, which is not installed: pip install 'cl-prompts[{part}]'"
        ) from error


def check_trust(names: Iterable[str], trust_code: Trust) -> None:
    """Refuse a file that names code, before anything of it is imported.

    Files that :func:`listed_files` lists may be imported.

    Args:
        names: dotted names in the file.
        trust_code: what else may be imported.

    Raises:
        InputError: a dotted name that may not be imported; the sentence names modules and files.

    >>> check_trust(["mine:Method"], {"mine:Method"})
    >>> check_trust(["mine:Method", "mine:images"], False)
    Traceback (most recent call last):
    cl_prompts.errors.InputError: it names code and would import mine (no file of it is found): \
if you trust that code, add --trust-code (in Python trust_code=True), or list its file in \
/.../trusted_code
    """
    if trust_code is True:
        return
    trusted = trust_code or ()
    modules = {name.partition(":")[0] for name in names if name not in trusted}
    listed = listed_files() if modules else []
    unlisted = {module: run_files(module) for module in sorted(modules)}
    unlisted = {module: run for module, run in unlisted.items() if not _all_below(run, listed)}
    if unlisted:
        told = ", ".join(f"{module} ({_told(module, run)})" for module, run in unlisted.items())
        raise InputError(
            f"it names code and would import {told}: if you trust that code, add --trust-code (in"
            f" Python trust_code=True), or list its file in {_list_file()}"
        )


def _told(module: str, files: Iterable[Path]) -> str:
    if _is_pythons(module):
        return "of Python's own"
    return ", ".join(map(str, files)) or "no file of it is found"


def _is_pythons(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _list_file() -> Path:
    # A relative path is to be ignored, as the standard of that variable says: it would be data's.
    above = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return (above if above.is_absolute() else Path.home() / ".config") / "cl-prompts/trusted_code"


def listed_files() -> list[Path]:
    """Files and folders of code that the user trusts, whoever names it: a path a line in
    ``~/.config/cl-prompts/trusted_code`` (or below ``$XDG_CONFIG_HOME``); a line that begins with
    ``#`` is a comment.

    Raises:
        InputError: the list cannot be read, or has a path that depends on the current folder.
    """
    file = _list_file()
    if not os.path.lexists(file):
        return []
    try:
        lines = [line.strip() for line in content(file, TEXT).decode().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as a list of paths in UTF-8") from error
    return [_listed(file, line) for line in lines if line and not line.startswith("#")]


def _listed(file: Path, line: str) -> Path:
    try:
        path = Path(line).expanduser()
        if path.is_absolute():
            return path.resolve()
    except (OSError, RuntimeError, ValueError):  # no such user, a byte 0, a circle of links
        pass
    raise InputError(f"{file} lists {short(line)!r}: write a path that begins with / or ~")


def _all_below(files: Collection[Path], listed: Collection[Path]) -> bool:
    """Whether there are files, and each is listed, or lies in a folder that is."""
    inside = [any(file.resolve().is_relative_to(path) for path in listed) for file in files]
    return bool(inside) and all(inside)


# ----------------------------------------------------------------------------------- source


def module_file(module: str) -> Path | None:
    """The file of a module, found without importing anything; None where there is none.

    >>> module_file("cl_prompts.errors").name, module_file("cl_prompts.no_such")
    ('errors.py', None)
    """
    spec = _spec_of(module)
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None


def run_files(module: str) -> list[Path]:
    """The files that importing a module would run, those of the packages above it first, and
    without what these import."""
    found = map(module_file, _with_packages(module))
    return [file for file in found if file is not None]


def _with_packages(module: str) -> list[str]:
    """A module after the packages that it lies in.

    >>> _with_packages("mine.methods.deep")
    ['mine', 'mine.methods', 'mine.methods.deep']
    """
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


@contextmanager
def _current_folder() -> Iterator[None]:
    """Have modules looked up in the current folder, too, after all other places.

    Not for longer than own code needs, nor for code that lies elsewhere: modules try to import
    others that may be missing, and must not find a file of that name there.
    """
    sys.path.append("")
    try:
        yield
    finally:
        # The last one, since a program may have one of its own; own code may have changed the path.
        if "" in sys.path:
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index("")]


def _lies_here(top: str) -> bool:
    """Whether a package or module lies in the current folder, maybe as a link."""
    spec = _spec_of(top)
    if spec is None:
        return False
    places = list(spec.submodule_search_locations or ())
    # A package has places, even where it has no file of its own.
    found = places[0] if places else spec.origin if spec.has_location else None
    return found is not None and Path(found).absolute().parent.resolve() == Path.cwd().resolve()


def _spec_of(module: str) -> ModuleSpec | None:
    # Not find_spec of a dotted name, which imports the packages above.
    top, *below = module.split(".")
    try:
        with _current_folder():
            spec = find_spec(top)
    except (ValueError, ImportError):  # a script that is run has a file, and no spec
        script = getattr(sys.modules.get(top), "__file__", None)
        return None if below or script is None else spec_from_file_location(top, script)
    for name in below:
        places = None if spec is None else spec.submodule_search_locations
        if places is None:
            return None
        spec = PathFinder.find_spec(name, list(places))
    return spec


def code_hash(name: str) -> str:
    """SHA-256 of the source file of a dotted name's module.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    module = name.partition(":")[0]
    file = module_file(module)
    if file is None:
        raise InputError(f"module {module} of {name} has no source file")
    try:
        return sha256(file)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error


def sources(name: str) -> dict[str, str]:
    """Which source a dotted name stands for: SHA-256 of the files of its module, of the packages
    that this lies in, and of all that these import, but for what is installed or Python's own.

    Of a module that is imported, the source is taken once: what is edited later is not what runs,
    until the module is imported anew or reloaded. What is imported later, inside of a function,
    counts as it was at the last call before. Import statements are read from the source,
    wherever they stand in it; other ways to import are not found. This package is known by its
    version.

    Raises:
        InputError: a file of a module cannot be read.

    >>> sources("cl_prompts.strategies:MVP")
    {}
    """
    module = name.partition(":")[0]
    found: dict[str, str] = {}
    left = [module]
    seen: set[str] = set()
    while left:
        for current in _with_packages(left.pop()):
            source = None if current in seen else _source_of(current, module)
            seen.add(current)
            if source is not None:
                found[current] = source.sha256
                left += source.imports
    return dict(sorted(found.items()))


def _source_of(name: str, root: str) -> _Source | None:
    """The source of a module that another one imports, if it counts as own code."""
    if name.partition(".")[0] == __package__:
        return None
    imported = sys.modules.get(name)
    # Another one after a reload, too.
    of = getattr(imported, "__spec__", None) or imported
    known = _KNOWN.get(name)
    # What was not imported then has been imported since, inside of a function.
    current = known is not None and of is not None and (known.of is None or known.of is of)
    if not current:
        spec = _spec_of(name)
        if spec is None or not spec.has_location or not spec.origin:
            return None
        known = _read(name, spec) if _is_own(name, root, spec.origin) else None
    if known is None or not _is_own(name, root, known.file):
        return None
    if root in sys.modules:
        _KNOWN[name] = known._replace(of=of)
    return known


def _is_own(name: str, root: str, file: str) -> bool:
    """Whether a module counts as part of what another one is made of."""
    if name.partition(".")[0] == root.partition(".")[0]:
        return True
    # What is installed is known by its version. Links are not followed: one to a file elsewhere
    # lies where it is found.
    path = Path(file).absolute()
    return not (_INSTALLED & set(path.parts) or path.is_relative_to(Path(os.__file__).parent))


def _read(name: str, spec: ModuleSpec) -> _Source:
    try:
        source = content(str(spec.origin), TEXT)
    except OSError as error:
        raise InputError(
            f"the source of module {name} cannot be read from {spec.origin}: {error.strerror}"
        ) from error
    package = name if spec.submodule_search_locations else name.rpartition(".")[0]
    return _Source(
        None, str(spec.origin), hashlib.sha256(source).hexdigest(), [*_imports(source, package)]
    )


def _imports(source: bytes, package: str) -> Iterator[str]:
    """Modules that a source names in its imports; some of them may be names in modules."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # no source, but something compiled
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # One dot is the package itself.
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            yield base
            for alias in node.names:
                yield from _modules_in(base) if alias.name == "*" else [f"{base}.{alias.name}"]


def _modules_in(package: str) -> list[str]:
    """Modules right in a package: those that it names in ``__all__`` are imported by ``*``."""
    spec = _spec_of(package)
    places = None if spec is None else spec.submodule_search_locations
    return [f"{package}.{found.name}" for found in iter_modules(list(places or ()))]


# ----------------------------------------------------------------------------- bytecode


class _Compiled(SourceFileLoader):
    """Loader of a module from its source, whatever compiled code lies beside it."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _FromSource:
    """Finder of modules of own code. Python knows whether compiled code is that of a source by the
    time and size of its file, which copies of another content may share; a run is known by the
    source."""

    #: modules of the names that were imported
    roots: ClassVar[set[str]] = set()

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The spec of a module of own code; None leaves any other to Python."""
        if name.partition(".")[0] == __package__:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not spec.origin or type(spec.loader) is not SourceFileLoader:
            return None
        if not any(_is_own(name, root, spec.origin) for root in cls.roots):
            return None
        spec.loader = _Compiled(name, spec.origin)
        return spec

    @classmethod
    def add(cls, root: str) -> None:
        """Have what a module imports compiled anew, from now on and in functions, too."""
        cls.roots.add(root)
        if cls not in sys.meta_path:
            places = [at for at, finder in enumerate(sys.meta_path) if finder is PathFinder]
            sys.meta_path.insert(places[0] if places else 0, cls)


# --------------------------------------------------------------------------- what is called


def scenario(function: Function) -> Function:
    """Declare a function of labels as a scenario, so that recipes may name it.

    >>> @scenario
    ... def mine(targets, n_tasks: int = 2): ...
    >>> is_declared("scenario", mine), is_declared("data set", mine)
    (True, False)
    """
    setattr(function, _MARK, "scenario")
    return function


def dataset(function: Function) -> Function:
    """Declare a function that returns a ``DataSet``, so that recipes may name it."""
    setattr(function, _MARK, "data set")
    return function


def is_declared(kind: Kind, found: Any) -> bool:
    """Whether something wears the decorator of a kind."""
    # Not by getattr, which may answer anything.
    return callable(found) and getattr(found, "__dict__", {}).get(_MARK) == kind


def load_object(kind: str, path: str) -> Any:
    """The object of a dotted name ``"package.module:name"``, of a kind such as "strategy"; the
    caller checks that it is one before it is used.

    Raises:
        InputError: a module of Python's own, no such module, no such name in it, the import fails,
            or the module has no file, as that of a notebook.
    """
    module, _, name = path.partition(":")
    if _is_pythons(module):
        raise InputError(
            f"{kind} {path!r} is refused: module {module} is Python's own, and holds no {kind}"
        )
    _FromSource.add(module)
    try:
        with _current_folder() if _lies_here(module.partition(".")[0]) else nullcontext():
            found = import_module(module)
    except Exception as error:  # a user's module may fail in any way, and says so itself
        raise InputError(
            f"{kind} {path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if module_file(module) is None:
        raise InputError(
            f"{kind} {path!r} is refused: module {module} has no file, by whose content a run would"
            " know it: write it into one"
        )
    sources(path)  # now, since it may be edited while it is in use
    if not name or not hasattr(found, name):
        raise unknown(f"{kind} in module {module}", name, [n for n in vars(found) if n[0] != "_"])
    return getattr(found, name)


def load_function(kind: Kind, path: str) -> Any:
    """The function of a dotted name, which must wear the decorator of its kind.

    Raises:
        InputError: it wears none, or as :func:`load_object`.
    """
    found = load_object(kind, path)
    if not is_declared(kind, found):
        raise InputError(
            f"{kind} {path!r} is not declared as one: if the function is yours, write"
            f" @cl_prompts.{_DECORATORS[kind]} above it"
        )
    return found
