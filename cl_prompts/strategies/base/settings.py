"""Settings, each declared once, as an annotated class attribute with its default."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, Self, dataclass_transform, get_origin

from cl_prompts.checks import fits, shown
from cl_prompts.errors import InputError, unknown


@dataclass(frozen=True)
class Setting:
    """One keyword argument of a constructor.

    Attributes:
        name: the keyword, and the attribute that holds its value.
        kind: its type, with the words and bounds that :func:`cl_prompts.checks.fits` checks.
        default: its value where none is given.

    Example:
        >>> from cl_prompts.strategies import L2P
        >>> L2P.settings()["prompt_length"].default
        5
    """

    name: str
    kind: Any
    default: Any


@dataclass_transform(kw_only_default=True)
class Settings:
    """Base of strategies, plugins and values whose constructor takes the settings that they and
    their bases declare.

    A setting is an annotated class attribute with a default, and a sentence in the string below
    it. A subclass gives another default by declaring the name again, and withdraws settings by
    naming them in ``excluded``. Words (``Literal``) and bounds (``Annotated``) in the type are
    checked for every value. This is what the standard library's dataclasses do, with the checks,
    and without generating ``__init__``.

    Where the default is itself such an object, a mapping stands for it, and settings that are not
    given stay as in the default.

    Example:
        >>> from cl_prompts.checks import Count
        >>> class Ridge(Settings):
        ...     projection: Count = 100
        ...     '''Random features.'''
        >>> Ridge.settings()["projection"].default
        100
        >>> Ridge(rate=0.5)
        Traceback (most recent call last):
        cl_prompts.errors.InputError: unknown setting of Ridge 'rate': there is projection
    """

    excluded: ClassVar[tuple[str, ...]] = ()
    """Settings of a base that the class does not have."""
    __settings: ClassVar[dict[str, Setting]] = {}
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the settings, and give them to ``inspect.signature``."""
        super().__init_subclass__(**kwargs)
        found: dict[str, Setting] = {}
        # The most general base first, so that a subclass's declaration replaces it.
        for base in reversed(cls.__mro__):
            if base is not Settings and issubclass(base, Settings):
                declared = _declared_by(base)  # type: ignore[arg-type]
                if base is cls:
                    _check_names(cls, declared.keys() - found.keys())
                found |= declared
        for name in cls.excluded:
            found.pop(name, None)
        cls.__settings = found
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(s.name, keyword, default=s.default, annotation=s.kind)
            for s in found.values()
        ]
        cls.__signature__ = inspect.Signature(parameters)
        # assign() checks argument names better than the wrapper that Avalanche puts around it.
        cls.__init__ = inspect.unwrap(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, **settings: Any) -> None:
        self.assign(settings)

    @classmethod
    def settings(cls) -> Mapping[str, Setting]:
        """The settings by name, those of the most general base first."""
        return cls.__settings

    def values_of(self, *names: str) -> dict[str, Any]:
        """Values of some settings by name (of all, if none is named), for a part whose arguments
        have the same names."""
        return {name: getattr(self, name) for name in names or self.__settings}

    def assign(self, given: Mapping[str, Any]) -> None:
        """Set every setting, to the given value or its default.

        Raises:
            InputError: an unknown name, an unknown word or a number out of range.
        """
        for name in given:
            if name not in self.__settings:
                raise unknown(f"setting of {type(self).__name__}", name, self.__settings)
        self.explicit = dict(given)
        """Settings that were given, as opposed to defaults."""
        for setting in self.__settings.values():
            value = given.get(setting.name, setting.default)
            if value is setting.default and isinstance(value, dict | list | set):
                value = deepcopy(value)  # the class's own, which one object must not change for all
            if isinstance(setting.default, Settings):
                value = setting.default.replace(setting.name, value)
            fits(setting.name, value, setting.kind)
            setattr(self, setting.name, value)

    def replace(self, name: str, value: Any) -> Self:
        """This object with other values for the settings that are given.

        Args:
            name: of the setting that holds it, for the sentence.
            value: an object of the class, or a mapping.

        Raises:
            InputError: something else.
        """
        kind = type(self)
        if isinstance(value, kind):
            kind, value = type(value), value.explicit
        if not isinstance(value, Mapping):
            raise InputError(f"{name} is {shown(value)}: give a {kind.__name__}(...)")
        return kind(**{**self.explicit, **value})


def _check_names(cls: type, names: Iterable[str]) -> None:
    """Refuse new settings that are called as methods and the like are."""
    for name in names:
        # What constructors set is no attribute of a class.
        if name in ("explicit", "state") or any(hasattr(base, name) for base in cls.__bases__):
            raise name_taken(cls.__name__, name)


def name_taken(owner: str, name: str) -> InputError:
    """The error for a setting whose name is that of something else."""
    return InputError(
        f"{owner} declares a setting {name}, which is the name of another of its attributes:"
        " give the setting another name"
    )


@cache
def _declared_by(cls: Any) -> dict[str, Setting]:
    """The declarations of a class itself, without those of its bases."""
    found = {}
    scope = vars(sys.modules[cls.__module__])
    for name, text in vars(cls).get("__annotations__", {}).items():
        kind = _resolved(text, scope)
        variable = kind is ClassVar or get_origin(kind) is ClassVar
        if not variable and name in vars(cls) and not name.startswith("_"):
            found[name] = Setting(name, kind, vars(cls)[name])
    return found


def _resolved(annotation: Any, scope: dict[str, Any]) -> Any:
    """Evaluate the text of an annotation; Any where it uses an unknown name."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, scope)  # the text of an annotation in the package's own source
    except NameError:
        return Any


def sentences(cls: type[Settings]) -> dict[str, str]:
    """Sentences of the settings: name -> the string below its declaration.

    Args:
        cls: a class whose source can be read.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is not Settings and issubclass(base, Settings):
            found |= _strings_below(base)
    return {name: found.get(name, "") for name in cls.settings()}


def _strings_below(cls: Any) -> dict[str, str]:
    """Annotated names of a class body -> the string that follows each."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for line, below in pairwise(definition.body):
        text = below.value if isinstance(below, ast.Expr) else None
        if isinstance(line, ast.AnnAssign) and isinstance(text, ast.Constant):
            found[ast.unparse(line.target)] = " ".join(str(text.value).split())
    return found
