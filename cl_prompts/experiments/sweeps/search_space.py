"""What a search chooses from: ``lr=1e-4..1e-1 mvp.pool_size=5..20 selector=a,b``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.grid import EXPANDED, HOW, SEEDS, divided
from cl_prompts.experiments.recipes.values import parsed

#: digits of a number that a search chose, and a run is given
_DIGITS = 3
#: ends of a range this far apart are many sizes, all of which should be tried
_LOG_FROM = 10


@dataclass(frozen=True)
class Choice:
    """Values written one by one.

    Attributes:
        key: of the setting.
        values: as texts.
    """

    key: str
    values: tuple[str, ...]

    @property
    def ends(self) -> tuple[str, str]:
        """First and last value, as ``key=value``."""
        return f"{self.key}={self.values[0]}", f"{self.key}={self.values[-1]}"

    def distribution(self, optuna: Any) -> Any:
        """The same for Optuna."""
        return optuna.distributions.CategoricalDistribution(self.values)

    def written(self, value: Any) -> str:
        """A chosen value as ``key=value``."""
        return f"{self.key}={value}"


@dataclass(frozen=True)
class Range:
    """All numbers between two, these included.

    Attributes:
        key: of the setting.
        low, high: the two.
        kind: whole or real numbers.

    >>> Range("lr", 1e-4, 1e-1, "real").log, Range("dropout", 0.0, 0.5, "real").log
    (True, False)
    """

    key: str
    low: float
    high: float
    kind: Literal["whole", "real"]

    @property
    def log(self) -> bool:
        """Whether sizes are tried evenly, in the place of numbers."""
        return self.low > 0 and self.high / self.low >= _LOG_FROM

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends, as ``key=value``."""
        return self.written(self.low), self.written(self.high)

    def distribution(self, optuna: Any) -> Any:
        """The same for Optuna."""
        kinds = optuna.distributions
        if self.kind == "whole":
            return kinds.IntDistribution(int(self.low), int(self.high), log=self.log)
        return kinds.FloatDistribution(self.low, self.high, log=self.log)

    def written(self, value: Any) -> str:
        """A chosen number as ``key=value``, a real one with three digits.

        >>> Range("lr", 1e-4, 1e-1, "real").written(0.0123456)
        'lr=0.0123'
        """
        if self.kind == "whole":
            return f"{self.key}={int(value)}"
        short = float(f"{value:.{_DIGITS}g}")
        return f"{self.key}={min(max(short, self.low), self.high)!r}"


Axis = Choice | Range


@dataclass(frozen=True)
class SearchSpace:
    """Settings that a search chooses, and those that it leaves alone.

    Attributes:
        axes: of the space, by key.
        fixed: ``key=value`` texts of all else, but for seeds.
        seeds: texts that name the seeds of the reported runs; empty where the recipe does.
    """

    axes: Mapping[str, Axis]
    fixed: tuple[str, ...]
    seeds: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> SearchSpace:
        """The space that settings of the command line describe.

        >>> space = SearchSpace.of(["strategy=mvp", "lr=1e-4..1e-1", "pool_size=5..20", "seed=1-3"])
        >>> list(space.axes), space.fixed, space.seeds
        (['lr', 'pool_size'], ('strategy=mvp',), ('seed=1-3',))

        Raises:
            InputError: a range that runs backwards, a key given twice, or nothing to choose.
        """
        axes: dict[str, Axis] = {}
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
                continue
            if name in axes:
                raise InputError(f"{name} is given twice")
            axes[name] = axis
        if not axes:
            raise InputError(
                "a search has nothing to choose: give a range, such as lr=1e-4..1e-1, or several"
                " values, such as lr=1e-3,1e-2"
            )
        return cls(axes, tuple(fixed), tuple(seeds))

    def written(self, values: Mapping[str, Any]) -> list[str]:
        """Chosen values as ``key=value`` texts."""
        return [axis.written(values[key]) for key, axis in self.axes.items()]


def axis_of(key: str, text: str) -> Axis | None:
    """The range or the values of a setting; None for a single value.

    >>> axis_of("lr", "1e-4..1e-1")
    Range(key='lr', low=0.0001, high=0.1, kind='real')
    >>> axis_of("e_blocks", "[1,2],[3]")
    Choice(key='e_blocks', values=('[1,2]', '[3]'))

    Raises:
        InputError: the range does not run upwards.
    """
    first, dots, last = text.partition("..")
    ends = [parsed(first.strip()), parsed(last.strip())]
    if dots and all(type(end) in (int, float) and math.isfinite(end) for end in ends):
        if not ends[0] < ends[1]:
            raise InputError(f"{key} has the range {shown(text)}: it should run upwards")
        whole = all(isinstance(end, int) for end in ends)
        return Range(key, ends[0], ends[1], "whole" if whole else "real")
    values = tuple(dict.fromkeys(divided(text)))
    return Choice(key, values) if len(values) > 1 else None
