"""Settings with several values: grids such as ``lr=1e-3,1e-2 seed=1-5`` expanded into runs, and
spaces of a search such as ``lr=1e-4..1e-1 selector=a,b``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import SEEDS, RunConfig, plan
from cl_prompts.experiments.recipes.values import divided, parsed
from cl_prompts.user_code import extra

#: keys whose lists a recipe itself expands
EXPANDED = ("strategy", "strategies", "run", "seed", "seeds", "budget", "tuned_on")
#: ratio of the ends from which a range is logarithmic
_LOG_FROM = 10


def grid(recipe: str, texts: Sequence[str] = ()) -> list[RunConfig]:
    """Resolve a sweep into runs: each combination of values, with every strategy and seed.

    >>> runs = grid("digits", ["strategy=er", "seed=1-2", "lr=1e-3,1e-2"])
    >>> [(run.options["lr"], run.seed) for run in runs]
    [(0.001, 1), (0.001, 2), (0.01, 1), (0.01, 2)]

    Args:
        recipe: of the package or a YAML file.
        texts: ``key=value`` as in :func:`~cl_prompts.experiments.recipes.run_config.plan`. Commas
            outside of brackets divide values, so a list is written ``[1,2]``. ``seed`` takes
            ranges such as ``1-5``.

    Returns:
        Distinct runs in the order of the combinations, the last key changing first.

    Raises:
        InputError: a combination that ``plan`` refuses, or a range of numbers.
    """
    found: dict[str, RunConfig] = {}
    for combination in itertools.product(*map(_axis, texts)):
        for run in plan(recipe, combination):
            # 0.1 and 1e-1 make one run, and so do values of a key that a strategy does not use.
            found.setdefault(repr(run), run)
    return list(found.values())


def _axis(text: str) -> list[str]:
    """Expand a ``key=value`` text with several values into one text for each."""
    key, sign, value = text.partition("=")
    name = key.strip()
    if not sign or name in EXPANDED:
        return [text]
    if range_of(value) is not None:
        raise InputError(
            f"{name} has the range {shown(value)}, which needs a search: add --sampler tpe, or give"
            " single values, such as lr=1e-3,1e-2"
        )
    return [f"{name}={part}" for part in divided(value)]


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
            InputError: a decreasing range, nothing to choose, or a missing Optuna.
        """
        axes: dict[str, object] = {}
        fixed, seeds = [], []
        for text in texts:
            key, _, value = text.partition("=")
            name = key.strip()
            if name in (*SEEDS, "seeds"):
                seeds.append(text)
            elif axis := None if name in EXPANDED else axis_of(name, value):
                axes[name] = axis
            else:
                fixed.append(text)
        if not axes:
            raise InputError(
                "a search needs settings to choose: give a range such as lr=1e-4..1e-1, or several"
                " values, such as lr=1e-3,1e-2"
            )
        return cls(axes, tuple(fixed), tuple(seeds))

    @property
    def ends(self) -> list[list[str]]:
        """Settings that together contain both ends of each range and all values of each list."""
        found = [
            getattr(axis, "choices", None) or (axis.low, axis.high) for axis in self.axes.values()
        ]
        texts = []
        for n in range(max(map(len, found))):
            nth = [values[min(n, len(values) - 1)] for values in found]
            texts.append(self.written(dict(zip(self.axes, nth, strict=True))))
        return texts

    def written(self, values: Mapping[str, object]) -> list[str]:
        """Write chosen values as ``key=value`` texts, floats with three digits.

        >>> SearchSpace.of(["lr=1e-4..1e-1"]).written({"lr": 0.0123456})
        ['lr=0.0123']
        """
        texts = []
        for key, axis in self.axes.items():
            value = values[key]
            if isinstance(value, float):
                # Rounding must not leave the range.
                value = f"{min(max(float(f'{value:.3g}'), axis.low), axis.high):g}"
            texts.append(f"{key}={value}")
        return texts


def axis_of(key: str, text: str) -> object:
    """Return the Optuna distribution of a range or list; None for a single value.

    >>> axis_of("lr", "1e-4..1e-1").log, axis_of("dropout", "0..0.5").log
    (True, False)
    >>> axis_of("e_blocks", "[1,2],[3]").choices
    ('[1,2]', '[3]')

    Raises:
        InputError: a decreasing range.
    """
    kinds = extra("optuna", "optuna", "--sampler").distributions
    if (ends := range_of(text)) is not None:
        low, high = ends
        if not low < high:
            raise InputError(f"{key} has the range {shown(text)}: it should increase")
        whole = type(low) is type(high) is int
        kind = kinds.IntDistribution if whole else kinds.FloatDistribution
        return kind(low, high, log=low > 0 and high / low >= _LOG_FROM)
    values = tuple(divided(text))
    return kinds.CategoricalDistribution(values) if len(values) > 1 else None


def range_of(text: str) -> tuple[float, float] | None:
    """Return the ends of a range of numbers; None for another text.

    >>> range_of("1e-4..0.1"), range_of("../data")
    ((0.0001, 0.1), None)
    """
    first, dots, last = text.partition("..")
    low, high = parsed(first.strip()), parsed(last.strip())
    numbers = all(type(end) in (int, float) and math.isfinite(end) for end in (low, high))
    return (low, high) if dots and numbers else None
