"""Sums of a serving model: changed event by event, restored from checkpoint and journal."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors import torch as tensors_file

from cl_prompts.closed_form.held_out_scores import learn
from cl_prompts.closed_form.pooled_ridge import PooledRidge, balanced_system
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.shrinkage import CANDIDATES
from cl_prompts.closed_form.sums import zero
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
    """Sums after the events of a journal. Only the writer changes them.

    Args:
        base: the sums before the first event; columns without images leave.
        journal: of the events.
        folder: of the checkpoint.

    Attributes:
        sums: their present value; its ledger has the images from before serving.
        seq: number of the last event in them.
        undone: images subtracted since the last rebuild.
    """

    def __init__(self, base: Sums, journal: Journal, folder: Path) -> None:
        counts = zip(base.classes, base.network.head.count.tolist(), strict=True)
        self.base = base.with_classes([name for name, n in counts if n > 0])
        self.journal, self.file = journal, folder / CHECKPOINT
        self.sums = self.base.with_classes(self.base.classes)
        self.seq = self.saved = self.undone = 0
        self._ridge: float | None = None
        self._restore()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by column."""
        return self.sums.classes

    def __len__(self) -> int:
        return int(self.sums.network.head.count.sum())

    def solved(self, *, quick: bool = False) -> PrototypeClassifier | None:
        """Return a copy of the classifier with its solution; None without classes.

        Args:
            quick: use the relative ridge of the last full solution. A solution is then one
                factorisation instead of nine.
        """
        if not self.classes:
            return None
        head = copy.deepcopy(self.sums.network.head)
        # A ridge that is a setting needs no choice.
        chosen = head if isinstance(head, PooledRidge) and isinstance(head.relative, str) else None
        full = not quick or self._ridge is None
        if chosen is not None and self._ridge is not None and quick:
            chosen.relative = self._ridge
        # Scores of any input compute the solution.
        head.logits(torch.zeros(1, head.dim, device=head.count.device))
        if chosen is not None and full:
            ratio = float(chosen.ridge / balanced_system(chosen)[0].diagonal().mean())
            self._ridge = min(CANDIDATES, key=lambda one: abs(math.log(one / ratio)))
        return head

    def whole(self, most: int | None) -> Sums:
        """Return a copy with all learned images in the ledger.

        Args:
            most: features in the ledger; None: those of all images.
        """
        live = self.journal.learned()
        kept = uniform(len(live), most, len(live))
        features = np.zeros((0, self.base.network.head.dim), np.float32)
        if len(kept):
            features = self.features([live[row] for row in kept.tolist()])
        labels = np.array([self.classes.index(event.label) for event in live], np.int64)
        hashes = hashes_of([str(event.sha256) for event in live])
        ledger = self.sums.ledger.joined(Ledger(hashes, labels, kept, features), most)
        return self.sums.with_classes(self.classes).with_ledger(ledger)

    # ----------------------------------------------------------------------------------- changes

    def features(self, events: Sequence[Event]) -> np.ndarray:
        """Return the stored features (n, dim) of learned images."""
        return np.stack([self.journal.features(str(event.sha256)) for event in events])

    def apply(self, sign: int, labels: Sequence[str], features: np.ndarray) -> None:
        """Add (1) or subtract (-1) samples (n, dim); new classes join, empty ones leave."""
        new = [name for name in dict.fromkeys(labels) if name not in self.classes]
        if new:
            self.sums = self.sums.with_classes([*self.classes, *new])
        targets = np.array([self.classes.index(name) for name in labels])
        if sign > 0:
            self.sums.add(torch.from_numpy(features.copy()), targets)
        else:
            self.undone += len(labels)
            self._subtract(features, targets)

    def _subtract(self, features: np.ndarray, targets: np.ndarray) -> None:
        head = self.sums.network.head
        part = copy.deepcopy(head)
        zero(part)
        given = torch.from_numpy(features.copy()).to(head.count.device)
        learn(part, given, torch.from_numpy(targets))
        head.subtract(part)
        counts = zip(self.classes, head.count.tolist(), strict=True)
        left = [name for name, n in counts if n > 0]
        if len(left) < len(self.classes):
            self.sums = self.sums.with_classes(left)

    def older(self, label: str) -> np.ndarray:
        """Return the rows of the ledger of a class that was learned before serving."""
        column = self.classes.index(label) if label in self.classes else -1
        return np.flatnonzero(self.sums.ledger.labels == column)

    def forget(self, label: str) -> None:
        """Subtract the images of a class that were learned before serving."""
        rows = self.older(label)
        if len(rows):
            ledger = self.sums.ledger
            found = ledger.features_of(rows)
            features = torch.stack([found[row] for row in rows.tolist()]).numpy()
            self.sums = replace(self.sums, ledger=ledger.without(rows))
            self._subtract(features, ledger.labels[rows])

    # ---------------------------------------------------------------------- checkpoint and replay

    def checkpoint(self) -> None:
        """Write the sums by rename.

        Raises:
            OSError: the disk is full, for example; the older checkpoint stays.
        """
        about = {"seq": str(self.seq), "undone": str(self.undone)}
        metadata = {**about, "classes": "\n".join(self.classes)}
        state = {k: v.contiguous() for k, v in self.sums.network.head.state_dict().items()}
        files.replace(self.file, [tensors_file.save(state, metadata)])
        self.saved = self.seq

    def _restore(self) -> None:
        if self.file.is_file():
            with safe_open(str(self.file), framework="pt") as file:
                about = file.metadata()
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.seq = self.saved = int(about["seq"])
            self.undone = int(about["undone"])
            for label in self.journal.deleted(self.seq):
                ledger = self.sums.ledger.without(self.older(label))
                self.sums = replace(self.sums, ledger=ledger)
            self.sums = self.sums.with_classes(
                [name for name in about["classes"].split("\n") if name]
            )
            self.sums.network.head.load_state_dict(state)
        self._replay(self.journal.events(self.seq))
        self.seq = self.journal.last

    def _replay(self, events: Sequence[Event]) -> None:
        """Apply events in order; equal kinds in a row are added or subtracted at once."""
        group: list[Event] = []
        for event in [*events, Event("end", None, "")]:
            if group and (event.kind != group[0].kind or len(group) == _BATCH):
                sign = 1 if group[0].kind == "learn" else -1
                self.apply(sign, [one.label for one in group], self.features(group))
                group = []
            if event.kind == "delete":
                self.forget(event.label)
            elif event.kind != "end":
                group.append(event)

    def rebuild(self) -> None:
        """Compute the sums anew from the images that are not undone, without rounding of undos."""
        before = self.sums
        try:
            self.sums = self.base.with_classes(self.base.classes)
            for label in self.journal.deleted(self.seq):
                self.forget(label)
            self._replay(self.journal.learned())
        except BaseException:
            self.sums = before
            raise
        self.undone = 0
