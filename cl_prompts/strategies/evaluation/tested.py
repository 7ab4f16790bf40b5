"""Test set and tested domains of an anytime evaluation."""

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
from avalanche.benchmarks import CLExperience, CLStream
from avalanche.benchmarks.utils import AvalancheDataset
from torch.utils.data import Dataset

from cl_prompts.errors import InputError
from cl_prompts.metrics.curve import Curve
from cl_prompts.state import State
from cl_prompts.strategies.base.experience import domains_of
from cl_prompts.strategies.evaluation.evaluator import CachedEvaluator

#: test stream, experience or data set with ``.targets``
TestSet: TypeAlias = CLStream | CLExperience | Dataset[object]


class TestedDomains:
    """Domains that an evaluation includes: those seen in training, and those in no task.

    Args:
        evaluator: evaluator of the test set; its ``shown`` is set here.

    Attributes:
        new: for each finished task, the names of the domains that first appeared in it.
    """

    def __init__(self, evaluator: CachedEvaluator) -> None:
        self.evaluator = evaluator
        self.new: list[list[str]] = []
        self._trained: set[str] = set()
        self._shown: set[str] = set()

    def begin(self, experience: CLExperience) -> None:
        """Add the domains of an experience to the tested ones."""
        domains = domains_of(experience)
        names = self.evaluator.domain_names
        if domains is None or not names:
            return
        own, of_stream = domains
        self._trained |= own
        # Domains that no task trains are tested from the start.
        self._shown |= own | (set(names) - of_stream)
        self._show()

    def _show(self) -> None:
        names = self.evaluator.domain_names
        self.evaluator.shown = torch.tensor([name in self._shown for name in names])

    def end_task(self) -> None:
        """Record the domains that first appeared in the finished task."""
        if self._shown:
            known = {name for names in self.new for name in names}
            self.new.append(sorted(self._trained - known))

    def cells(self, n_classes: int) -> list[list[int]]:
        """Return the (domain, class) pairs of each finished task, numbered as by
        :meth:`Curve.in_domains <cl_prompts.metrics.curve.Curve.in_domains>`."""
        names = self.evaluator.domain_names
        cells = torch.arange(len(names) * n_classes).view(-1, n_classes)
        return [cells[[names.index(n) for n in new]].flatten().tolist() for new in self.new]

    def state_dict(self) -> State:
        """Return the domain names, and which domains are tested."""
        return {
            "names": list(self.evaluator.domain_names),
            "new": [list(names) for names in self.new],
            "trained": sorted(self._trained),
            "shown": sorted(self._shown),
        }

    def load_state_dict(self, state: State, curve: Curve) -> None:
        """Restore a state; ``curve`` gets columns for domains added since."""
        self.new = [list(names) for names in state["new"]]
        self._trained, self._shown = set(state["trained"]), set(state["shown"])
        if self._shown:
            self._show()
            names = self.evaluator.domain_names
            curve.spread([names.index(name) for name in state["names"]], len(names))


def dataset_of(test: TestSet) -> Any:
    """Return the data set of a stream or experience, or the data set itself."""
    if isinstance(test, AvalancheDataset):
        parts = [test]
    elif hasattr(test, "targets") or isinstance(test, Dataset):
        return test
    else:
        if not isinstance(test, Iterable) and not hasattr(test, "dataset"):
            raise InputError("AnytimeEvaluation needs a stream: give benchmark.test_stream")
        experiences = [test] if hasattr(test, "dataset") else list(test)
        parts = [experience.dataset for experience in experiences]
    if any(map(_hides, parts)):
        raise InputError(
            "these test sets hide the labels of some classes: give AnytimeEvaluation the whole"
            " test set, such as data.test"
        )
    data = parts[0]
    for part in parts[1:]:
        data = data.concat(part)
    # Evaluation transforms, as in Avalanche's eval.
    return data.eval()


def _hides(data: AvalancheDataset) -> bool:
    """Whether the targets hide some classes."""
    annotated = getattr(getattr(data, "targets", None), "annotated", True)
    return annotated is None or not np.all(annotated)
