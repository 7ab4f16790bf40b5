"""Scenarios by short name, or as "package.module:name"."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from numpy.typing import ArrayLike

from cl_prompts.checks import one_of
from cl_prompts.scenarios.class_incremental import class_incremental_split, mlcil_split
from cl_prompts.scenarios.domain_incremental import domain_incremental_split
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.si_blurry import disjoint_split, i_blurry_split, si_blurry_split
from cl_prompts.scenarios.si_blurry_multi_label import si_blurry_multi_label_split
from cl_prompts.scenarios.split import BaseSplit, Split
from cl_prompts.user_code import call_function, keywords, load_function

#: Parameter that receives the domains of the training images, or None. It is not a setting.
DOMAINS = "domains"


@dataclass(frozen=True)
class Scenario:
    """A function that splits labels into tasks, and its properties.

    Example:
        >>> Scenario.of(disjoint_split).parameters
        ['n_tasks', 'seed', 'leftover', 'class_order']
        >>> SCENARIOS["disjoint"].make([0, 1, 2, 3], n_tasks=2).sizes
        [2, 2]

    Attributes:
        split: takes the training labels first, then its own parameters. A parameter ``domains``
            receives the domains of the training images, or None.
        multi_label: whether labels are a 0/1 matrix (images, classes) and the result is a
            ``MultiLabelSplit``; otherwise one integer per sample, and a ``Split``.
        description: one line for lists.
    """

    split: Callable[..., BaseSplit]
    multi_label: bool
    description: str

    @classmethod
    def of(cls, function: Callable[..., BaseSplit]) -> Scenario:
        """Describe a function by its return annotation and its docstring.

        It is multi-label if it returns ``MultiLabelSplit``. The description is the first line of
        its docstring.

        Raises:
            InputError: not a function of labels, or an unknown annotation.
        """
        returned = inspect.signature(function, eval_str=True).return_annotation
        description = (inspect.getdoc(function) or "").partition("\n")[0]
        return cls(function, returned is MultiLabelSplit, description)

    @property
    def name(self) -> str:
        """Name of the split function."""
        return getattr(self.split, "__name__", repr(self.split))

    @property
    def parameters(self) -> list[str]:
        """Names of the settings."""
        # Without the first parameter, the labels.
        return list(keywords(partial(self.split, None), {DOMAINS}))

    def make(
        self, targets: ArrayLike, domain_of_each: ArrayLike | None = None, **parameters: object
    ) -> BaseSplit:
        """Split the labels of a training set, whose domains a function may take, too.

        Raises:
            InputError: a result of another type, or an error of the function.
        """
        function = partial(self.split, targets)
        if DOMAINS in keywords(function, set()):
            parameters[DOMAINS] = domain_of_each
        kind = MultiLabelSplit if self.multi_label else Split
        return call_function("scenario", self.name, function, parameters, kind)


#: short name -> scenario
SCENARIOS: dict[str, Scenario] = {
    function.__name__.removesuffix("_split"): Scenario.of(function)
    for function in (
        si_blurry_split,
        i_blurry_split,
        disjoint_split,
        class_incremental_split,
        domain_incremental_split,
        mlcil_split,
        si_blurry_multi_label_split,
    )
}


def find_scenario(name: str) -> Scenario:
    """Return a scenario by name.

    Example:
        >>> find_scenario("mlcil").multi_label
        True

    Args:
        name: a short name in ``SCENARIOS``, or ``"package.module:name"`` of a split function with
            the decorator ``@cl_prompts.scenario`` (see ``Scenario.of``).

    Raises:
        InputError: an unknown scenario.
    """
    if ":" not in name:
        one_of("scenario", name, SCENARIOS)
        return SCENARIOS[name]
    return Scenario.of(load_function("scenario", name))
