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
        new: for each finished task, the domains that first appeared in it, as indices into the
            sorted domain names of the test set.
    """

    def __init__(self, evaluator: CachedEvaluator) -> None:
        self.evaluator = evaluator
        self.new: list[list[int]] = []
        self._only_tested = torch.zeros(0, dtype=torch.bool)

    def begin(self, experience: CLExperience) -> None:
        """Add the domains of an experience to the tested ones."""
        domains = domains_of(experience)
        names = self.evaluator.domain_names
        if domains is None or not names:
            return
        own, of_stream = domains
        shown = self.evaluator.shown
        # Domains that no task trains are tested from the start.
        if shown is None or len(self._only_tested) < len(names):
            self._only_tested = torch.tensor([name not in of_stream for name in names])
            shown = self._only_tested if shown is None else shown | self._only_tested
        self.evaluator.shown = shown | torch.tensor([name in own for name in names])

    def end_task(self) -> None:
        """Record the domains that first appeared in the finished task."""
        if self.evaluator.shown is None:
            return
        begun = self.evaluator.shown & ~self._only_tested
        begun[[d for domains in self.new for d in domains]] = False
        self.new.append(begun.nonzero().flatten().tolist())

    def cells(self, n_classes: int) -> list[list[int]]:
        """Return the (domain, class) pairs of each finished task, numbered as by
        :meth:`Curve.in_domains <cl_prompts.metrics.curve.Curve.in_domains>`."""
        cells = torch.arange(len(self.evaluator.domain_names) * n_classes).view(-1, n_classes)
        return [cells[domains].flatten().tolist() for domains in self.new]

    def state_dict(self) -> State:
        """Return the domain names, and which domains are tested."""
        return {
            "names": list(self.evaluator.domain_names),
            "new": [list(domains) for domains in self.new],
            "shown": self.evaluator.shown,
            "only_tested": self._only_tested,
        }

    def load_state_dict(self, state: State, curve: Curve) -> None:
        """Restore a state; ``curve`` gets columns for domains added since."""
        names = self.evaluator.domain_names
        # Names are sorted, so added domains change the indices of earlier ones.
        places = [names.index(name) for name in state["names"]]
        self.new = [[places[d] for d in domains] for domains in state["new"]]
        self._only_tested = state["only_tested"]
        self.evaluator.shown = state["shown"]
        if state["shown"] is not None and len(places) < len(names):
            self.evaluator.shown = torch.zeros(len(names), dtype=torch.bool)
            self.evaluator.shown[places] = state["shown"]
            curve.spread(places, len(names))


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
