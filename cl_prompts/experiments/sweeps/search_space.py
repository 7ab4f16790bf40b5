"""Space of a search: ``lr=1e-4..1e-1 mvp.pool_size=5..20 selector=a,b``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import SEEDS
from cl_prompts.experiments.recipes.values import divided, parsed
from cl_prompts.experiments.sweeps.grid import EXPANDED, HOW
from cl_prompts.user_code import extra

#: digits of chosen numbers
_DIGITS = 3
#: ratio of the ends from which a range is logarithmic
_LOG_FROM = 10


@dataclass(frozen=True)
class SearchSpace:
    """Settings that a search chooses, and fixed ones.

    Attributes:
        axes: Optuna distributions by key.
        fixed: other ``key=value`` texts without seeds.
        seeds: texts with the reported seeds; empty if the recipe names them.
    """

    axes: Mapping[str, Any]
    fixed: tuple[str, ...]
    seeds: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> SearchSpace:
        """Read a space from settings of the command line.

        >>> space = SearchSpace.of(["strategy=mvp", "lr=1e-4..1e-1", "pool_size=5..20", "seed=1-3"])
        >>> list(space.axes), space.fixed, space.seeds
        (['lr', 'pool_size'], ('strategy=mvp',), ('seed=1-3',))

        Raises:
            InputError: a decreasing range, a repeated key, nothing to choose, or a missing Optuna.
        """
        axes: dict[str, Any] = {}
        fixed, seeds = [], []
        for text in texts:
            key, _, value = text.partition("=")
            name = key.strip()
            if name in SEEDS or name == "seeds":
                seeds.append(text)
                continue
            axis = None if name in (*EXPANDED, *HOW) else axis_of(name, value)
            if axis is None:
                fixed.append(text)
            else:
                axes[name] = axis
        names = [text.partition("=")[0].strip() for text in texts]
        if twice := [name for name in axes if names.count(name) > 1]:
            raise InputError(f"{twice[0]} is given twice")
        if not axes:
            raise InputError(
                "a search needs settings to choose: give a range such as lr=1e-4..1e-1, or several"
                " values, such as lr=1e-3,1e-2"
            )
        return cls(axes, tuple(fixed), tuple(seeds))

    @property
    def ends(self) -> list[list[str]]:
        """Settings that together contain both ends of each range and all values of each list."""
        found = {key: _ends(axis) for key, axis in self.axes.items()}
        texts = []
        for n in range(max(map(len, found.values()))):
            nth = {key: values[min(n, len(values) - 1)] for key, values in found.items()}
            texts.append(self.written(nth))
        return texts

    def written(self, values: Mapping[str, Any]) -> list[str]:
        """Write chosen values as ``key=value`` texts, floats with three digits.

        >>> SearchSpace.of(["lr=1e-4..1e-1"]).written({"lr": 0.0123456})
        ['lr=0.0123']
        """
        texts = []
        for key, axis in self.axes.items():
            value = values[key]
            if isinstance(value, float):
                short = float(f"{value:.{_DIGITS}g}")
                # Rounding may leave the range.
                value = min(max(short, axis.low), axis.high)
            texts.append(f"{key}={value}")
        return texts


def _ends(axis: Any) -> tuple[Any, ...]:
    choices = getattr(axis, "choices", None)
    return (axis.low, axis.high) if choices is None else choices


def axis_of(key: str, text: str) -> Any:
    """Return the Optuna distribution of a range or list; None for a single value.

    >>> axis_of("lr", "1e-4..1e-1").log, axis_of("dropout", "0..0.5").log
    (True, False)
    >>> axis_of("e_blocks", "[1,2],[3]").choices
    ('[1,2]', '[3]')
    >>> axis_of("lr", "1e-3,1e-2,0.001").choices
    ('1e-3', '1e-2')

    Raises:
        InputError: a decreasing range.
    """
    kinds = extra("optuna", "optuna", "--sampler").distributions
    first, dots, last = text.partition("..")
    low = parsed(first.strip())
    high = parsed(last.strip())
    if dots and all(type(end) in (int, float) and math.isfinite(end) for end in (low, high)):
        if not low < high:
            raise InputError(f"{key} has the range {shown(text)}: it should increase")
        whole = type(low) is type(high) is int
        kind = kinds.IntDistribution if whole else kinds.FloatDistribution
        return kind(low, high, log=low > 0 and high / low >= _LOG_FROM)
    values: dict[str, str] = {}
    for value in divided(text):
        values.setdefault(repr(parsed(value.strip())), value)  # 1e-3 and 0.001 are equal
    return kinds.CategoricalDistribution(tuple(values.values())) if len(values) > 1 else None
