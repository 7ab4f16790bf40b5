"""Domain-incremental streams: the same classes in a new domain in each task."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike

from cl_prompts.checks import one_of, whole_number
from cl_prompts.datasets.classes import check_domains, check_labels, domain_names, permutation
from cl_prompts.errors import InputError
from cl_prompts.scenarios.split import Split

DomainOrder = Sequence[str] | int | Literal["shuffled"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DomainSplit(Split):
    """A split whose tasks are domains, made by :func:`domain_incremental_split`.

    Example:
        >>> split = domain_incremental_split([0, 1, 0, 1], domains=["sketch", "photo"] * 2)
        >>> split.domains, split[0].tolist()
        (('photo', 'sketch'), [1, 3])

    Attributes:
        domains: name of each task's domain, without repetition.
    """

    domains: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name, sizes, parameters and domains in one line."""
        return f"{super().title}, domains: {', '.join(self.domains)}"


def domain_incremental_split(
    targets: ArrayLike,
    *,
    domains: ArrayLike | None = None,
    domain_order: DomainOrder | None = None,
    announced: bool = True,
    seed: int = 1,
) -> DomainSplit:
    """Split labelled samples into tasks by their domain.

    Source: the domain-incremental scenario of van de Ven and Tolias, arXiv 1904.07734, as used by
    S-Prompts (Wang et al., NeurIPS 2022, arXiv 2207.12819) on DomainNet and CORe50. Each domain is
    one task. Classes may be missing in some domains.

    Example:
        >>> from cl_prompts.scenarios import domain_incremental_split
        >>> domains = ["photo", "sketch", "photo", "sketch"]
        >>> split = domain_incremental_split(
        ...     [0, 0, 1, 1], domains=domains, domain_order=["sketch", "photo"]
        ... )
        >>> [rows.tolist() for rows in split], split.boundaries
        ([[1, 3], [0, 2]], True)

    Args:
        targets: integer label of each sample, (n,); each of 0..C-1 must occur.
        domains: name or number of each sample's domain, (n,), such as a data set's ``.domains``.
        domain_order: order of the domains: all names, the seed of a permutation, or "shuffled",
            which uses ``seed``. None is the sorted order.
        announced: announce the end of each domain to the learner. It may then train on a domain's
            samples in any order and for several epochs, and rows of a task are ascending.
            Otherwise each sample occurs once, in an order drawn from ``seed``.
        seed: of ``domain_order="shuffled"`` and of the order of samples without announcement;
            global random states are neither read nor changed.

    Raises:
        InputError: labels other than 0..C-1, no domains, or an order that is not a permutation of
            the domains.
    """
    labels, _ = check_labels(targets, "targets")
    if domains is None:
        raise InputError(
            "a domain-incremental stream needs the domain of each image. Use dataset=folder with"
            " dataset.domains=true for FOLDER/<domain>/<class>/*, or dataset=csv with a column"
            " domain"
        )
    found = check_domains("domains", domains, len(labels))
    names = domain_names(found)
    seed = whole_number("seed", seed, 0, 2**64 - 1)
    places: Any = domain_order
    if isinstance(domain_order, Sequence) and not isinstance(domain_order, str):
        for name in domain_order:
            one_of("domain", name, names)
        places = [names.index(name) for name in domain_order]
    what = f"the domains {', '.join(names)}"
    order = permutation("domain_order", what, len(names), places, seed).tolist()
    # Names are sorted, as np.unique numbers the domains.
    number = np.unique(found, return_inverse=True)[1]
    tasks = [np.flatnonzero(number == domain) for domain in order]
    if not announced:  # the order of samples is part of the scenario
        generator = torch.Generator().manual_seed(seed)
        tasks = [rows[torch.randperm(len(rows), generator=generator).numpy()] for rows in tasks]
    return DomainSplit.of(
        "domain-incremental",
        labels,
        tasks,
        boundaries=announced,
        parameters={"announced": announced, **({} if announced else {"seed": seed})},
        domains=tuple(names[domain] for domain in order),
    )
