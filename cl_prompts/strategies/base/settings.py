"""Settings and state that strategies and plugins declare by name."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from inspect import Parameter
from itertools import pairwise
from typing import Any, ClassVar, Self, dataclass_transform, get_origin

from cl_prompts.checks import fits, shown
from cl_prompts.errors import InputError, unknown


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
    __signature__: ClassVar[inspect.Signature] = inspect.Signature()

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Collect the settings in the signature of the class."""
        super().__init_subclass__(**kwargs)
        found: dict[str, Parameter] = {}
        # The most general base first, so that a subclass's declaration replaces it.
        for base in reversed(cls.__mro__):
            if issubclass(base, Settings):
                found |= _declared_by(base)  # type: ignore[arg-type]
        for name in cls.excluded:
            found.pop(name, None)
        cls.__signature__ = inspect.Signature(list(found.values()))
        # assign() checks argument names better than the wrapper that Avalanche puts around it.
        cls.__init__ = inspect.unwrap(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, **settings: object) -> None:
        self.assign(settings)

    @classmethod
    def settings(cls) -> Mapping[str, Parameter]:
        """Return the settings by name, those of the most general base first."""
        return cls.__signature__.parameters

    def values_of(self, *names: str) -> dict[str, Any]:
        """Return the values of the named settings (of all, if none is named)."""
        return {name: getattr(self, name) for name in names or self.settings()}

    def assign(self, given: Mapping[str, object]) -> None:
        """Set every setting to the given value or its default.

        Raises:
            InputError: a name or word is unknown, or a number is out of range.
        """
        for name in given:
            if name not in self.settings():
                raise unknown(f"setting of {type(self).__name__}", name, self.settings())
        self.explicit = dict(given)
        """The given settings, without defaults."""
        for setting in self.settings().values():
            value = given.get(setting.name, setting.default)
            if value is setting.default and isinstance(value, dict | list | set):
                value = deepcopy(value)  # the class shares its default among all objects
            if isinstance(setting.default, Settings):
                value = setting.default.replace(setting.name, value)
            fits(setting.name, value, setting.annotation)
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
def _declared_by(cls: type) -> dict[str, Parameter]:
    """Collect the settings that a class declares itself."""
    try:
        kinds = inspect.get_annotations(cls, eval_str=True)
    except NameError:  # a class in a function or an example
        kinds = dict.fromkeys(inspect.get_annotations(cls), Any)
    found = {}
    for name, kind in kinds.items():
        variable = kind is ClassVar or get_origin(kind) is ClassVar
        if not variable and name in vars(cls) and not name.startswith("_"):
            default = vars(cls)[name]
            found[name] = Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
    return found


def sentences(cls: type[Settings]) -> dict[str, str]:
    """Read the sentence of each setting from the string below its declaration."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Settings):
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
