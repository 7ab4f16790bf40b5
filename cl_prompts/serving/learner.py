"""Learning while serving: one writer owns the sums, readers hold solved snapshots."""

import copy
import logging
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.trained.ledger import SAMPLED, digest, hashes_of
from cl_prompts.experiments.trained.model import Model
from cl_prompts.experiments.trained.predicting import threshold_at
from cl_prompts.serving.journal import Event, Journal, Stored
from cl_prompts.serving.live_sums import EVERY, LiveSums
from cl_prompts.serving.snapshot import Refused, Snapshot
from cl_prompts.serving.uploads import checked_label

_QUIET = 0.5  # seconds without a change, after which the ridge is chosen again
_RATE = 0.05  # share of images of known classes that may be labelled "unknown"
_SCORES, _FEWEST = 500, 20  # prequential scores behind that threshold
_CALIBRATED = 16  # images below which the temperature is not fitted
_QUEUE = 50
#: keys of classes on the page, without those of its commands
_KEYS = "123456789abcefghijkmpqrtvwxyz"

logger = logging.getLogger(__name__)

Answer = dict[str, Any]
#: it commits and applies a change, and returns its events
_Change = Callable[[], list[Event]]


class Learner:
    """Model that learns, undoes and forgets one image at a time, with a journal.

    One thread commits changes to the journal and applies them to the sums. Another one solves the
    sums and answers; meanwhile the first continues, so that a solve has all changes until then.
    After a kill the checkpoint and the events behind it restore the state.

    Args:
        model: the state before the first event.
        folder: of journal and checkpoint; one server at a time.
        keep_images: store images.

    Attributes:
        refusal: why the model cannot learn; None if it can.
        keys: of the classes on the page.

    Raises:
        InputError: a folder in use, of another model, or read-only; several labels per image.
    """

    def __init__(self, model: Model, folder: Path, *, keep_images: bool = True) -> None:
        if model.network.multi_label:
            raise InputError("models with several labels per image cannot be served")
        self.base, self.folder = model, folder
        in_use = f"another server uses {folder}: stop it, or give --data-dir"
        try:
            self._lock = files.locked(folder, in_use)
        except OSError as error:
            raise InputError(f"{folder} cannot be written: give another --data-dir") from error
        self.journal = Journal(folder / "journal.sqlite", keep_images)
        self._writer, self._solver = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self.snapshot = Snapshot(0, model.classes, None, model.card.calibration.temperature, None)
        self.refusal: str | None = None
        self.keys: dict[str, str] = {}
        try:
            base = model.sums("learn while it serves", -1)
        except InputError as error:
            self.refusal = str(error)
            return
        known = f"{model.card.method} {model.card.backbone.sha256} {digest(base.ledger.hashes)}"
        if (before := self.journal.about("model")) not in (None, known):
            raise InputError(f"{folder} has the journal of another model: give another --data-dir")
        if before is None:  # else a full disk is read all the same
            with self.journal.transaction():
                self.journal.note(model=known)
        self._older = {row.tobytes().hex() for row in base.ledger.hashes}
        # Number of images, and the temperature.
        self._calibrated: Any = self.journal.about("calibrated")
        self._calibrated = self._calibrated or (len(base.ledger), self.snapshot.temperature)
        self.live = LiveSums(base, self.journal, folder)
        self.keys = self.journal.about("keys") or {}
        for name in self.live.classes:
            self.keys = self._keys(name)
        self._timer = threading.Timer(_QUIET, self._settle)
        self._solve()

    def close(self) -> None:
        """Finish waiting changes, write a checkpoint and release the folder."""
        self._writer.shutdown()
        self._solver.shutdown()
        if self.refusal is None:
            self._timer.cancel()
            with suppress(OSError):  # the journal has all events
                self.live.checkpoint()
        self.journal.close()
        self._lock.lock.release()

    # ------------------------------------------------------------------------------- any thread

    def predicted(self, image: Stored, name: str) -> Answer:
        """Predict an image; the writer stores the prediction without delaying the answer.

        Args:
            image: if the model cannot learn, its features are logits.
            name: id of the prediction.
        """
        now = self.snapshot
        label, probability, sure, best = now.predict(image.features)
        if self.refusal is None:
            made = (name, image.sha256, label, probability, sure, now.version)
            self._writer.submit(self._store, image, *made)
        answer = {"id": name, "label": label, "probability": probability, "best": best}
        return {**answer, "version": now.version}

    def learn(self, image: Stored | str, label: str, key: str | None = None) -> Future[Answer]:
        """Learn an image, which is predicted first, or that of a prediction by its id."""
        return self._submit(lambda: self._learn(image, label, key))

    def undo(self, seq: int, label: str | None = None) -> Future[Answer]:
        """Undo a learned image, exactly; with a label, learn it so in the same transaction."""
        return self._submit(lambda: self._undo(seq, label))

    def rename(self, name: str, label: str | None) -> Future[Answer]:
        """Rename a class, merge it into the class ``label``, or forget it if that is None."""
        return self._submit(lambda: self._rename(name, label))

    def queue(self) -> list[Answer]:
        """Return predicted images without a label, the least certain first."""
        return self._writer.submit(self.journal.queue, _QUEUE).result()

    def model(self) -> Model:
        """Return the model as of now, with its history, to save.

        Raises:
            Refused: it has learned no image.
        """
        if self.refusal is not None:
            return self.base
        return self._writer.submit(self._model).result()

    def _submit(self, change: _Change) -> Future[Answer]:
        if self.refusal is not None:
            raise Refused(409, self.refusal)
        made = self._writer.submit(change)  # a client that leaves can cancel its answer alone
        answer = self._solver.submit(self._answer, made, time.monotonic())
        self._writer.submit(self._maintain).add_done_callback(_say_failure)
        return answer

    # ------------------------------------------------------------------------------- the solver

    def _answer(self, made: Future[list[Event]], began: float) -> Answer:
        events = made.result()
        if self.snapshot.version != self.live.seq:
            self._solve(quick=True)
            self._timer.cancel()
            self._timer = threading.Timer(_QUIET, self._settle)
            self._timer.start()
        now, event = self.snapshot, events[-1]
        return {
            "event": event.seq,
            "label": event.label,
            "images": len({one.sha256 for one in events}),
            "before": event.predicted,
            "after": now.predict(self.journal.features(event.sha256))[0],
            "version": now.version,
            "milliseconds": round(1000 * (time.monotonic() - began), 1),
        }

    def _settle(self) -> None:
        with suppress(RuntimeError):  # closed
            self._solver.submit(self._solve).add_done_callback(_say_failure)

    def _solve(self, *, quick: bool = False) -> None:
        """Publish a snapshot."""
        held, threshold = self.journal.confidences(_SCORES), None
        if len(held) >= _FEWEST:
            threshold = threshold_at(_RATE, held)
        self.snapshot = Snapshot(*self.live.solved(quick=quick), self._calibrated[1], threshold)

    # ------------------------------------------------------------------------------- the writer

    def _maintain(self) -> None:
        """Calibrate when the number of images has doubled; rebuild and checkpoint now and then."""
        n = len(self.live)
        if n >= max(_CALIBRATED, 2 * self._calibrated[0]):
            self._calibrated = n, self.live.whole(SAMPLED).calibrated()[0].temperature
            with self.journal.transaction():
                self.journal.note(calibrated=self._calibrated)
            self._solver.submit(self._solve, quick=True).add_done_callback(_say_failure)
        if self.live.undone >= EVERY:
            self.live.rebuild()
            self._settle()
            self.live.checkpoint()
        elif self.live.seq - self.live.saved >= EVERY:
            self.live.checkpoint()

    def _model(self) -> Model:
        sums = self.live.whole(None if self.base.card.keep_features else SAMPLED)
        if not sums.classes:
            raise Refused(409, "the model has learned no image: label one first")
        new = hashes_of([event.sha256 for event in self.journal.learned()])
        undone = len(self.journal.events("kind = 'undo'"))
        what = f"learned {len(new)} images while serving, {undone} undone"
        made = Model(copy.copy(self.base.strategy), self.base.card, self.base.ledger)
        return made.take(sums, what, new)

    def _store(self, image: Stored, *made: object) -> None:
        with self.journal.transaction():
            self.journal.store(image)
            self.journal.predict(*made)

    def _commit(self, *events: Event, image: Stored | None = None, old: str = "") -> list[Event]:
        """Commit, apply and log events."""
        first, last, keys = events[0], events[-1], self.keys
        with self.journal.transaction():
            if image is not None:
                self.journal.store(image)
            made = [event._replace(seq=self.journal.add(event)) for event in events]
            if last.kind == "learn" and last.label not in self.live.classes:
                keys = self._keys(last.label, old)
                self.journal.note(keys=keys)
            if last.kind == "learn" and old:
                self.journal.rename(old, last.label)
        self.keys = keys
        self.live.replay(made)
        was = "" if first.kind == last.kind else f"{first.label!r} -> "
        n = len({event.sha256 for event in made})
        logger.info("event %d: %s %s%r, images: %d", made[-1].seq, last.kind, was, last.label, n)
        return made

    def _keys(self, label: str, old: str = "") -> dict[str, str]:
        """Return the keys with that of a new class; each has its key for as long as it exists."""
        held = {name: key for name, key in self.keys.items() if name in self.live.classes}
        free = [key for key in _KEYS if key not in held.values()]
        return {label: held.pop(old, free[0] if free else ""), **held}

    def _learn(self, image: Stored | str, label: str, key: str | None) -> list[Event]:
        if repeated := self.journal.events("key = ?", key):
            return repeated
        now = self.snapshot
        if isinstance(image, str):
            made = self.journal.prediction(image)
            if made is None:
                raise Refused(404, f"there is not a prediction {image!r}: send the image")
            sha256, before, sure, stored = made["sha256"], made["label"], made["confidence"], None
        else:
            sha256, (before, _, sure, _), stored = image.sha256, now.predict(image.features), image
        label = checked_label(label, self.live.classes)
        if sha256 in self._older:
            raise Refused(409, "the model learned this image before it was served")
        for event in self.journal.learned("sha256 = ?", sha256):
            raise Refused(
                409, f"event {event.seq} learned this image as {event.label!r}: undo or relabel it"
            )
        known = label in now.classes and len(now.classes) > 1
        scores = (before if now.classes else None, sure if known else None)
        return self._commit(Event("learn", sha256, label, None, key, *scores), image=stored)

    def _undo(self, seq: int, label: str | None) -> list[Event]:
        found = self.journal.events("seq = ? AND kind = 'learn'", seq)
        if not found:
            raise Refused(404, f"event {seq} did not learn an image")
        if self.journal.events("undoes = ?", seq):
            raise Refused(409, f"event {seq} is undone already")
        return self._change(found, label)

    def _rename(self, name: str, label: str | None) -> list[Event]:
        if name not in self.live.classes:
            raise Refused(404, f"there is not a class {name!r}")
        if name in self.live.base.classes:
            said = f"the model learned {name!r} before it was served: export it, then use"
            raise Refused(409, f"{said} cl-prompts forget MODEL FOLDER --class NAME")
        return self._change(self.journal.learned("class = ?", name), label, name)

    def _change(self, found: list[Event], label: str | None, old: str = "") -> list[Event]:
        """Undo learned images, and learn them with another label unless that is None."""
        changes = [Event("undo", one.sha256, one.label, one.seq) for one in found]
        if label is not None:
            label = checked_label(label, [x for x in self.live.classes if x != old])
            for one in found:
                # A key names one event: that of a relabelled image still begins with the first.
                key = one.key and f"{one.key} {one.seq}"
                changes.append(one._replace(label=label, key=key, seq=0))
        return self._commit(*changes, old=old)


def _say_failure(done: Future[None]) -> None:
    """Print why upkeep failed; the next checkpoint, calibration or solve replaces it."""
    if (error := done.exception()) is not None:
        print(f"upkeep of the model failed: {error!r}", file=sys.stderr, flush=True)
