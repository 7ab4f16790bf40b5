"""Settings of strategies, each declared once, as an annotated class attribute with its default."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, dataclass_transform, get_origin

from cl_prompts.checks import fits
from cl_prompts.errors import unknown


@dataclass(frozen=True)
class Setting:
    """One keyword argument of a strategy's constructor.

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
class Declared:
    """Base of classes whose constructor takes the settings that they and their bases declare.

    A setting is an annotated class attribute with a default, and a sentence in the string below
    it. A subclass gives another default by declaring the name again, and withdraws settings by
    naming them in ``withdrawn``. Words (``Literal``) and bounds (``Annotated``) in the type are
    checked for every value. This is what the standard library's dataclasses do, with the checks,
    and without generating ``__init__``.

    Example:
        >>> from cl_prompts.checks import Count
        >>> class Ridge(Declared):
        ...     projection: Count = 100
        ...     '''Random features.'''
        >>> Ridge.settings()["projection"].default
        100
        >>> Ridge().take({"rate": 0.5})
        Traceback (most recent call last):
        cl_prompts.errors.InputError: unknown setting of Ridge 'rate': there is projection
    """

    withdrawn: ClassVar[tuple[str, ...]] = ()
    """Settings of a base that the class does not have."""
    __settings: ClassVar[dict[str, Setting]] = {}
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the settings, and give them to ``inspect.signature``."""
        super().__init_subclass__(**kwargs)
        found: dict[str, Setting] = {}
        for base in reversed(cls.__mro__):
            if base is not Declared and issubclass(base, Declared):
                _collect(base, found)
        for name in cls.withdrawn:
            found.pop(name, None)
        cls.__settings = found
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(s.name, keyword, default=s.default, annotation=s.kind)
            for s in found.values()
        ]
        cls.__signature__ = inspect.Signature(parameters)
        # Avalanche wraps constructors in a check of their argument names; take() has a better one.
        cls.__init__ = inspect.unwrap(cls.__init__)  # type: ignore[method-assign]

    @classmethod
    def settings(cls) -> Mapping[str, Setting]:
        """The settings by name, those of the most general base first."""
        return cls.__settings

    def values_of(self, *names: str) -> dict[str, Any]:
        """Values of some settings by name, for a part whose arguments have the same names."""
        return {name: getattr(self, name) for name in names}

    def take(self, given: Mapping[str, Any]) -> None:
        """Set every setting, to the given value or its default.

        Raises:
            InputError: an unknown name, an unknown word or a number out of range.
        """
        for name in given:
            if name not in self.__settings:
                raise unknown(f"setting of {type(self).__name__}", name, self.__settings)
        for setting in self.__settings.values():
            value = given.get(setting.name, setting.default)
            fits(setting.name, value, setting.kind)
            setattr(self, setting.name, value)


def _collect(cls: type, found: dict[str, Setting]) -> None:
    """Add what a class itself declares."""
    scope = vars(sys.modules[cls.__module__])
    for name, text in vars(cls).get("__annotations__", {}).items():
        kind = _resolved(text, scope)
        variable = kind is ClassVar or get_origin(kind) is ClassVar
        if not variable and name in vars(cls) and not name.startswith("_"):
            found[name] = Setting(name, kind, vars(cls)[name])


def _resolved(annotation: Any, scope: dict[str, Any]) -> Any:
    """Evaluate the text of an annotation; Any where it uses an unknown name."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, scope)  # the text of an annotation in the package's own source
    except NameError:
        return Any


def sentences(cls: type[Declared]) -> dict[str, str]:
    """Sentences of the settings: name -> the string below its declaration.

    Args:
        cls: a strategy whose source can be read.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is not Declared and issubclass(base, Declared):
            found |= _strings_below(base)
    return {name: found.get(name, "") for name in cls.settings()}


def _strings_below(cls: type) -> dict[str, str]:
    """Annotated names of a class body -> the string that follows each."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for line, below in zip(body.body, body.body[1:], strict=False):
        text = below.value if isinstance(below, ast.Expr) else None
        if isinstance(line, ast.AnnAssign) and isinstance(text, ast.Constant):
            assert isinstance(line.target, ast.Name)
            found[line.target.id] = " ".join(str(text.value).split())
    return found
