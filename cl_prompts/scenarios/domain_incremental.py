"""Domain-incremental streams: the same classes, task by task in new domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cl_prompts.checks import fits, one_of, whole_number
from cl_prompts.datasets.classes import (
    check_domains,
    check_labels,
    count_classes,
    domain_names,
    permutation,
)
from cl_prompts.errors import InputError, first_of
from cl_prompts.scenarios.split import Split

DomainOrder = Sequence[str] | int | Literal["shuffled"]

_NAMED = 3  # classes that a sentence names


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DomainSplit(Split):
    """A split whose tasks are domains, made by :func:`domain_incremental_split`.

    Example:
        >>> split = domain_incremental_split([0, 1, 0, 1], domains=["sketch", "photo"] * 2)
        >>> split.domains, split[0].tolist()
        (('photo', 'sketch'), [1, 3])

    Attributes:
        domains: the name of each task's domain; every one occurs once.
    """

    domains: tuple[str, ...] = ()

    def missing_classes(self) -> dict[str, tuple[int, ...]]:
        """Domain -> classes that have no sample in it, of the domains that lack some."""
        # A class that comes in no domain at all is lacking in none.
        lacking = ~self.visible & self.visible.any(axis=0)
        found = {
            domain: tuple(np.flatnonzero(row).tolist())
            for domain, row in zip(self.domains, lacking, strict=True)
        }
        return {domain: classes for domain, classes in found.items() if classes}

    def notes(self) -> list[str]:
        """The domains in their order, and which classes some of them lack."""
        lines = [f"domains: {', '.join(self.domains)}"]
        for domain, classes in self.missing_classes().items():
            noun = "class" if len(classes) == 1 else "classes"
            some = first_of(classes, _NAMED)
            lines.append(f"domain {domain} has no training image of {noun} {some}")
        return lines


def domain_incremental_split(
    targets: Any,
    *,
    domains: Any = None,
    domain_order: DomainOrder | None = None,
    announced: bool = True,
    seed: int = 1,
) -> DomainSplit:
    """Split labelled samples into tasks by the domain that they come from: the same classes in new
    domains.

    Source: the domain-incremental scenario of van de Ven and Tolias, arXiv 1904.07734, as it is
    used by S-Prompts (Wang et al., NeurIPS 2022, arXiv 2207.12819) on DomainNet and CORe50. Each
    domain is one task. A class may be missing in some domains; ``describe()`` says which.

    Example:
        >>> from cl_prompts.scenarios import domain_incremental_split
        >>> domains = ["photo", "sketch", "photo", "sketch"]
        >>> split = domain_incremental_split(
        ...     [0, 0, 1, 1], domains=domains, domain_order=["sketch", "photo"]
        ... )
        >>> [rows.tolist() for rows in split], split.boundaries
        ([[1, 3], [0, 2]], True)

    Args:
        targets: integer label of each sample, (n,); every one of 0..C-1 must occur.
        domains: name or number of the domain of each sample, (n,); of a data set that has
            ``.domains``, these.
        domain_order: which domain comes when: all names; a whole number is the seed of a
            permutation, "shuffled" takes ``seed`` for it. None is the sorted order.
        announced: tell the learner where a domain ends. It may then pass over a domain's samples in
            any order, several times, and rows of a task are ascending. Otherwise samples of a
            domain come once, in an order drawn from ``seed``.
        seed: used for ``domain_order="shuffled"`` and for the order of samples that are not
            announced; global random states are neither read nor changed.

    Raises:
        InputError: labels that are not exactly 0..C-1, no domains, a single one, or an order that
            does not hold each of them once.
    """
    labels, n_classes = check_labels(targets, "targets")
    if domains is None:
        raise InputError(
            "a domain-incremental stream needs the domain of each image, and this data set has"
            " none: dataset=folder with dataset.domains=true reads FOLDER/<domain>/<class>/*, and"
            " dataset=csv a column domain"
        )
    found = check_domains("domains", domains, len(labels))
    names = domain_names(found)
    if len(names) < 2:
        raise InputError(
            f"all samples are of one domain, {names[0]!r}: a domain-incremental stream needs two"
        )
    seed = whole_number("seed", seed, 0, 2**64 - 1)
    # Names are sorted, so ``number`` counts domains in the order of ``names``.
    order = _order(names, domain_order, seed)
    number = np.unique(found, return_inverse=True)[1]
    tasks = [np.flatnonzero(number == domain) for domain in order]
    return _in_order(labels, n_classes, [names[d] for d in order], tasks, announced, seed)


def one_domain(targets: Any, domain: str, *, announced: bool, seed: int) -> DomainSplit:
    """The stream of a single domain, which follows that of others.

    Args:
        targets, announced, seed: as for :func:`domain_incremental_split`.
        domain: its name.

    Example:
        >>> one_domain([1, 0], "night", announced=True, seed=1).domains
        ('night',)
    """
    labels, n_classes = check_labels(targets, "targets")
    rows = [np.arange(len(labels))]
    return _in_order(labels, n_classes, [domain], rows, announced, seed)


def _in_order(
    labels: np.ndarray,
    n_classes: int,
    domains: Sequence[str],
    tasks: list[np.ndarray],
    announced: bool,
    seed: int,
) -> DomainSplit:
    # A learner that knows where a domain ends may take its samples in any order; another one sees
    # a stream, whose order is part of the scenario.
    fits("announced", announced, bool)
    parameters: dict[str, Any] = {"announced": announced}
    if not announced:
        tasks = _shuffled(tasks, seed)
        parameters["seed"] = seed
    return DomainSplit(
        name="domain-incremental",
        tasks=tuple(tasks),
        counts=count_classes(labels, tasks, n_classes),
        n_samples=len(labels),
        boundaries=announced,
        parameters=parameters,
        domains=tuple(domains),
    )


def _order(names: Sequence[str], wanted: DomainOrder | None, seed: int) -> list[int]:
    """Positions of the domains in the order in which they come."""
    what = f"the domains {', '.join(names)}"
    if isinstance(wanted, str):
        if wanted != "shuffled":
            raise InputError(
                f"domain_order must be 'shuffled', a seed or a list of all domains, not {wanted!r}"
            )
        wanted = seed
    if not isinstance(wanted, Sequence):
        drawn: list[int] = permutation("domain_order", what, len(names), wanted).tolist()
        return drawn
    for name in wanted:
        one_of("domain", name, names)
    if sorted(wanted) != sorted(names):
        raise InputError(f"domain_order must hold each of {what} once, not {', '.join(wanted)}")
    return [names.index(name) for name in wanted]


def _shuffled(tasks: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    """The rows of each task in an order drawn from a private generator."""
    from torch import Generator, randperm  # here, since listing scenarios takes no torch

    generator = Generator().manual_seed(seed)
    return [rows[randperm(len(rows), generator=generator).numpy()] for rows in tasks]
