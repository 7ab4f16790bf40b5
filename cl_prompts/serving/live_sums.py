"""Sums of a serving model: changed event by event, restored from checkpoint and journal."""

import copy
import json
import threading
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors import torch as tensors_file
from torch import Tensor

from cl_prompts.closed_form.leave_one_out import Choice
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.streaming_lda import PooledScatter
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.trained.arithmetic import Sums
from cl_prompts.experiments.trained.ledger import Ledger, hashes_of, uniform
from cl_prompts.serving.journal import Event, Journal

#: file of the last checkpoint
CHECKPOINT = "checkpoint.safetensors"
#: events between checkpoints, and undos between rebuilds from the journal
EVERY = 1_000
_BATCH = 256  # samples of one addition in a replay


class LiveSums:
    """Sums after the events of a journal. Only the writer changes them, and only it may read them
    without :attr:`lock`.

    Args:
        base: the sums before the first event; columns without images leave.
        journal: of the events.
        folder: of the checkpoint.

    Attributes:
        sums: their present value; its ledger has the images from before serving.
        seq: number of the last event in them.
        undone: images subtracted since the last rebuild.
        lock: held during a change.
    """

    def __init__(self, base: Sums, journal: Journal, folder: Path) -> None:
        self.base = _with_images(base)
        self.journal, self.file = journal, folder / CHECKPOINT
        self.sums = self.base.with_classes(self.base.classes)
        self.seq = self.saved = self.undone = 0
        self.lock = threading.RLock()
        self._choice: Choice | None = None
        if self.file.is_file():
            self._restore()
        self.replay(journal.events("seq > ?", self.seq))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by column."""
        return self.sums.classes

    def __len__(self) -> int:
        return int(self.sums.network.head.count.sum())

    def solved(self, *, quick: bool) -> tuple[int, tuple[str, ...], PrototypeClassifier | None]:
        """Return the number of the last event, the classes, and a copy of the classifier with its
        solution, which is None without classes.

        Args:
            quick: keep the strength of the last full solution: one factorisation, not seven.
        """
        with self.lock:
            seq, classes = self.seq, self.classes
            head: Any = copy.deepcopy(self.sums.network.head)
        if not classes:
            return seq, classes, None
        chooses = isinstance(head, PooledScatter)
        if chooses:
            head.chosen, head.keeps_choice = self._choice, quick
        # Scores of any input compute the solution.
        head.logits(torch.zeros(1, head.dim, device=head.count.device))
        if chooses:
            self._choice = head.chosen
        return seq, classes, head

    def whole(self, most: int | None) -> Sums:
        """Return a copy with all learned images in the ledger.

        Args:
            most: features in the ledger; None: those of all images.
        """
        live, ledger = self.journal.learned(), self.sums.ledger
        if live:
            kept = uniform(len(live), most, len(live))
            features = self._features([live[row] for row in kept.tolist()]).numpy()
            hashes = hashes_of([str(event.sha256) for event in live])
            ledger = ledger.joined(Ledger(hashes, self._targets(live), kept, features), most)
        return self.sums.with_classes(self.classes).with_ledger(ledger)

    # ----------------------------------------------------------------------------------- changes

    def replay(self, events: Sequence[Event]) -> None:
        """Apply events in order; equal kinds in a row are added or subtracted at once."""
        changes = {"learn": self._learn, "undo": self._undo}
        with self.lock:
            for (kind, _), group in groupby(events, lambda one: (one.kind, one.seq // _BATCH)):
                some = list(group)
                changes[kind](some)
                self.seq = some[-1].seq

    def rebuild(self) -> None:
        """Compute the sums anew from the images that are not undone, without rounding of undos."""
        fresh = copy.copy(self)
        fresh.sums = self.base.with_classes(self.base.classes)
        fresh.replay(self.journal.learned())
        self.sums, self.undone = fresh.sums, 0

    def _features(self, events: Sequence[Event]) -> Tensor:
        return torch.stack([self.journal.features(event.sha256) for event in events])

    def _learn(self, events: Sequence[Event]) -> None:
        labels = dict.fromkeys([*self.classes, *(event.label for event in events)])
        if len(labels) > len(self.classes):
            self.sums = self.sums.with_classes(list(labels))
        self.sums.add(self._features(events), self._targets(events))

    def _undo(self, events: Sequence[Event]) -> None:
        part = self.sums.empty()
        part.add(self._features(events), self._targets(events))
        self.sums.network.head.subtract(part.network.head)
        self.sums = _with_images(self.sums)
        self.undone += len(events)

    def _targets(self, events: Sequence[Event]) -> np.ndarray:
        return np.array([self.classes.index(event.label) for event in events])

    # -------------------------------------------------------------------------------- checkpoint

    def checkpoint(self) -> None:
        """Write the sums by rename.

        Raises:
            OSError: the disk is full, for example; the older checkpoint stays.
        """
        about = json.dumps([self.seq, self.undone, self.classes])
        state = {k: v.contiguous() for k, v in self.sums.network.head.state_dict().items()}
        files.replace(self.file, [tensors_file.save(state, {"about": about})])
        self.saved = self.seq

    def _restore(self) -> None:
        with safe_open(str(self.file), framework="pt") as file:
            self.seq, self.undone, classes = json.loads(file.metadata()["about"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.saved = self.seq
        self.sums = self.sums.with_classes(classes)
        self.sums.network.head.load_state_dict(state)


def _with_images(sums: Sums) -> Sums:
    """Return sums without the classes that have no image."""
    counts = zip(sums.classes, sums.network.head.count.tolist(), strict=True)
    left = [name for name, n in counts if n > 0]
    return sums if len(left) == len(sums.classes) else sums.with_classes(left)
