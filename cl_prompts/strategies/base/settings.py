"""Settings and state that strategies and plugins declare by name."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar, Self, dataclass_transform, get_origin

from cl_prompts.checks import fits, shown
from cl_prompts.errors import InputError, unknown


@dataclass(frozen=True)
class Setting:
    """A keyword argument of a constructor.

    Attributes:
        name: keyword, and attribute that holds the value.
        kind: type, with the words and bounds that :func:`cl_prompts.checks.fits` checks.
        default: value if none is given.

    Example:
        >>> from cl_prompts.strategies import L2P
        >>> L2P.settings()["prompt_length"].default
        5
    """

    name: str
    kind: object
    default: object


@dataclass_transform(kw_only_default=True)
class Settings:
    """Base of strategies, plugins and values that declare the arguments of their constructor.

    A setting is an annotated class attribute with a default, and a sentence in the string below
    it. A subclass changes a default by declaring the name again, and removes settings by naming
    them in ``excluded``. Every value is checked against the words (``Literal``) and bounds
    (``Annotated``) of its type. Dataclasses of the standard library do the same without checks.

    If the default is itself a ``Settings`` object, a mapping may be given, whose missing settings
    are those of the default.

    Example:
        >>> from cl_prompts.checks import Count
        >>> class Ridge(Settings):
        ...     projection: Count = 100
        ...     '''Random features.'''
        >>> Ridge.settings()["projection"].default
        100
        >>> Ridge(rate=0.5)
        Traceback (most recent call last):
        cl_prompts.errors.InputError: unknown setting of Ridge 'rate': choose from projection
    """

    excluded: ClassVar[tuple[str, ...]] = ()
    """Settings of a base that the class does not have."""
    __settings: ClassVar[dict[str, Setting]] = {}
    __signature__: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Collect the settings, and give them to ``inspect.signature``."""
        super().__init_subclass__(**kwargs)
        found: dict[str, Setting] = {}
        # The most general base first, so that a subclass's declaration replaces it.
        for base in reversed(cls.__mro__):
            if base is not Settings and issubclass(base, Settings):
                found |= _declared_by(base)  # type: ignore[arg-type]
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

    def __init__(self, **settings: object) -> None:
        self.assign(settings)

    @classmethod
    def settings(cls) -> Mapping[str, Setting]:
        """Return the settings by name, those of the most general base first."""
        return cls.__settings

    def values_of(self, *names: str) -> dict[str, Any]:
        """Return the values of the named settings (of all, if none is named)."""
        return {name: getattr(self, name) for name in names or self.__settings}

    def assign(self, given: Mapping[str, object]) -> None:
        """Set every setting to the given value or its default.

        Raises:
            InputError: a name or word is unknown, or a number is out of range.
        """
        for name in given:
            if name not in self.__settings:
                raise unknown(f"setting of {type(self).__name__}", name, self.__settings)
        self.explicit = dict(given)
        """The given settings, without defaults."""
        for setting in self.__settings.values():
            value = given.get(setting.name, setting.default)
            if value is setting.default and isinstance(value, dict | list | set):
                value = deepcopy(value)  # the class shares its default among all objects
            if isinstance(setting.default, Settings):
                value = setting.default.replace(setting.name, value)
            fits(setting.name, value, setting.kind)
            setattr(self, setting.name, value)

    def replace(self, name: str, value: object) -> Self:
        """Return a copy with other values for the given settings.

        Args:
            name: setting that holds the object, for error messages.
            value: an object of the class, or a mapping.

        Raises:
            InputError: the value is neither.
        """
        kind = type(self)
        if isinstance(value, kind):
            kind, value = type(value), value.explicit
        if not isinstance(value, Mapping):
            raise InputError(f"{name} is {shown(value)}: give a {kind.__name__}(...)")
        return kind(**{**self.explicit, **value})


@cache
def _declared_by(cls: type) -> dict[str, Setting]:
    """Collect the settings that a class declares itself."""
    try:
        kinds = inspect.get_annotations(cls, eval_str=True)
    except NameError:  # a class in a function or an example
        kinds = dict.fromkeys(inspect.get_annotations(cls), Any)
    found = {}
    for name, kind in kinds.items():
        variable = kind is ClassVar or get_origin(kind) is ClassVar
        if not variable and name in vars(cls) and not name.startswith("_"):
            found[name] = Setting(name, kind, vars(cls)[name])
    return found


def sentences(cls: type[Settings]) -> dict[str, str]:
    """Read the sentence of each setting from the string below its declaration."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is not Settings and issubclass(base, Settings):
            found |= _strings_below(base)
    return {name: found.get(name, "") for name in cls.settings()}


def _strings_below(cls: type) -> dict[str, str]:
    """Map the annotated names of a class body to the strings below them."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for line, below in pairwise(definition.body):
        text = below.value if isinstance(below, ast.Expr) else None
        if isinstance(line, ast.AnnAssign) and isinstance(text, ast.Constant):
            found[ast.unparse(line.target)] = " ".join(str(text.value).split())
    return found
