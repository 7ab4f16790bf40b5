"""Learning while serving: one writer owns the sums, readers hold solved snapshots."""

from __future__ import annotations

import copy
import math
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.trained.arithmetic import Sums
from cl_prompts.experiments.trained.ledger import SAMPLED, digest
from cl_prompts.experiments.trained.model import Model
from cl_prompts.experiments.trained.predicting import threshold_at
from cl_prompts.serving.journal import Event, Journal, Prediction, Stored
from cl_prompts.serving.live_sums import EVERY, LiveSums
from cl_prompts.serving.snapshot import Refused, Snapshot, refused
from cl_prompts.serving.uploads import checked_label

Answer = dict[str, Any]
_GATHERED, _SECONDS = 32, 0.5  # a solve follows so many events, or so much time
_SCORES = 500  # prequential scores behind the threshold of "unknown"
_FEWEST = 20  # scores below which nothing is labelled "unknown"
_CALIBRATED = 16  # images below which the temperature is not fitted


@dataclass
class _Job:
    """A change: ``act`` commits and applies it, and returns what makes the answer."""

    act: Callable[[], Callable[[], Answer]]
    future: Future[Answer]


class Learner:
    """Model that learns, undoes and forgets one image at a time, with a journal.

    A change is committed to the journal, applied to the sums and then answered. After a kill the
    checkpoint and the events behind it restore the state.

    Args:
        model: the state before the first event.
        folder: of journal and checkpoint; one server at a time.
        rate: share of images of known classes that may be labelled ``unknown``; 0: none.
        keep_images: store images.
        quota: bytes of the journal above which nothing is stored.

    Raises:
        InputError: a folder in use, of another model or read-only; several labels per image.
    """

    def __init__(
        self,
        model: Model,
        folder: Path,
        *,
        rate: float = 0.05,
        keep_images: bool = True,
        quota: int = 10 * 2**30,
    ) -> None:
        if model.network.multi_label:
            raise InputError("models with several labels per image cannot be served")
        self.base, self.folder, self.rate = model, folder, rate
        self.keep_images, self.quota = keep_images, quota
        self._settled = True
        self.refusal: str | None = None
        """Why the model cannot learn here."""
        base = None
        try:
            base = model.sums("learn while it serves", -1)
        except InputError as error:
            self.refusal = str(error)
        self._lock = _locked(folder)
        self.journal = Journal(folder / "journal.sqlite")
        try:
            self._open(base)
        except BaseException:
            self.journal.close()
            self._lock.release()
            raise
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="learner", daemon=True)
        self._thread.start()

    def _open(self, base: Sums | None) -> None:
        card = self.base.card
        temperature = self.journal.about("temperature") or card.calibration.temperature
        self.snapshot = Snapshot(0, self.base.classes, None, temperature, None)
        if base is None:
            return
        known = f"{card.method} {card.backbone.sha256} {digest(base.ledger.hashes)}"
        before = self.journal.about("model")
        if before not in (None, known):
            raise InputError(
                f"{self.folder} has the journal of another model: give another --data-dir"
            )
        if before is None:
            with self.journal.transaction():
                self.journal.note(model=known)
        self._contents = {row.tobytes().hex() for row in base.ledger.hashes}
        self._calibrated = self.journal.about("calibrated") or len(base.ledger)
        self.live = LiveSums(base, self.journal, self.folder)
        self._solve()

    def close(self) -> None:
        """Finish waiting changes, write a checkpoint and release the folder."""
        self._jobs.put(None)
        self._thread.join()
        if self.refusal is None and self.live.seq > self.live.saved:
            with suppress(OSError):  # the journal has all events
                self.live.checkpoint()
        self.journal.close()
        self._lock.release()

    # ------------------------------------------------------------------------------- any thread

    def predicted(self, sha256: str, encoded: Tensor, content: bytes, name: str) -> Answer:
        """Predict an image; the writer stores the prediction without delaying the answer."""
        now = self.snapshot
        label, probability, sure, best = now.predict(encoded)
        made = Prediction(name, sha256, label, probability, sure, now.version)
        if self.refusal is None:
            stored = self._stored(sha256, encoded, content)
            self._submit(lambda: self._store(made, stored))
        shown = [{"label": name, "probability": p} for name, p in best]
        answer = {"id": name, "label": label, "probability": probability, "best": shown}
        return {**answer, "version": now.version}

    def _stored(self, sha256: str, encoded: Tensor, content: bytes) -> Stored:
        return Stored(sha256, encoded.cpu().numpy(), content if self.keep_images else None)

    def learn_image(
        self, sha256: str, encoded: Tensor, content: bytes, label: str, key: str | None
    ) -> Future[Answer]:
        """Learn an image; it is predicted first."""
        stored = self._stored(sha256, encoded, content)
        return self._submit(lambda: self._learn(stored, label, key))

    def learn_prediction(self, name: str, label: str, key: str | None) -> Future[Answer]:
        """Learn an image that was predicted; that prediction is scored."""
        return self._submit(lambda: self._learn(name, label, key))

    def undo(self, seq: int, key: str | None = None) -> Future[Answer]:
        """Undo a learned image, exactly."""
        return self._submit(lambda: self._undo(seq, None, key))

    def relabel(self, seq: int, label: str, key: str | None = None) -> Future[Answer]:
        """Undo a learned image and learn it with another label, in one transaction."""
        return self._submit(lambda: self._undo(seq, label, key))

    def delete(self, label: str) -> Future[Answer]:
        """Forget all images of a class, in one transaction."""
        return self._submit(lambda: self._delete(label))

    def waited(self) -> Future[Answer]:
        """Wait until all that was submitted so far is stored."""
        return self._submit(lambda: dict)

    def model(self) -> Model:
        """Return the model as of now, with its history, to save.

        Raises:
            Refused: it has learned no image.
        """
        if self.refusal is not None:
            return self.base
        most = None if self.base.card.keep_features else SAMPLED
        copied: list[Sums] = []

        def act() -> Callable[[], Answer]:
            copied.append(self.live.whole(most))
            return dict

        self._submit(act).result()
        (sums,) = copied
        if not sums.classes:
            raise Refused(409, "the model has learned no image: label one first")
        before = {row.tobytes() for row in self.live.base.ledger.hashes}
        new = np.array([row for row in sums.ledger.hashes if row.tobytes() not in before])
        undone = self.journal.count("undo")
        what = f"learned {len(new)} images while serving, {undone} undone"
        made = Model(copy.copy(self.base.strategy), self.base.card, self.base.ledger)
        return made.take(sums, what, new.reshape(-1, 32).astype(np.uint8))

    def _submit(self, act: Callable[[], Callable[[], Answer]]) -> Future[Answer]:
        if self.refusal is not None:
            raise Refused(409, self.refusal)
        job = _Job(act, Future())
        self._jobs.put(job)
        return job.future

    # ------------------------------------------------------------------------------- the writer

    def _work(self) -> None:
        """Carry out changes; solve when none waits, after 32 of them or after half a second."""
        waiting: list[tuple[Future[Answer], Callable[[], Answer]]] = []
        began = 0.0
        while True:
            try:
                job = self._jobs.get(timeout=None if self._settled else _SECONDS)
            except queue.Empty:
                with suppress(RunError, sqlite3.Error):
                    self._solve()
                continue
            if job is None:
                break
            began = began if waiting else time.monotonic()
            try:
                waiting.append((job.future, job.act()))
            except Exception as error:
                job.future.set_exception(refused(error))
            late = len(waiting) >= _GATHERED or time.monotonic() - began >= _SECONDS
            if late or self._jobs.empty():
                self._conclude(waiting)
                waiting = []
                # The next checkpoint or calibration replaces one that failed.
                with suppress(InputError, RunError, OSError, sqlite3.Error):
                    self._maintain()
        self._conclude(waiting)

    def _conclude(self, waiting: list[tuple[Future[Answer], Callable[[], Answer]]]) -> None:
        """Solve and answer."""
        fault: Exception | None = None
        try:
            if waiting and self.snapshot.version != self.live.seq:
                self._solve(quick=True)
        except Exception as error:
            fault = refused(error)
        for future, finish in waiting:
            if fault is None:
                future.set_result(finish())
            else:
                future.set_exception(fault)

    def _maintain(self) -> None:
        """Calibrate when the number of images has doubled; rebuild and checkpoint now and then."""
        n = len(self.live)
        if n >= max(_CALIBRATED, 2 * self._calibrated):
            fitted = self.live.whole(SAMPLED).calibrated()[0].temperature
            self._calibrated = n
            self.snapshot = replace(self.snapshot, temperature=fitted)
            with self.journal.transaction():
                self.journal.note(temperature=fitted, calibrated=n)
        rebuilt = self.live.undone >= EVERY
        if rebuilt:
            self.live.rebuild()
            self._solve()
        if rebuilt or self.live.seq - self.live.saved >= EVERY:
            self.live.checkpoint()

    def _solve(self, *, quick: bool = False) -> None:
        """Publish a snapshot; a full solution follows a quick one after half a quiet second."""
        self._settled = not quick
        held, threshold = self.journal.confidences(_SCORES), None
        if len(held) >= _FEWEST and self.rate * (len(held) + 1) >= 1:
            threshold = threshold_at(self.rate, held)
        of_sums = (self.live.seq, self.live.classes, self.live.solved(quick=quick))
        self.snapshot = Snapshot(*of_sums, self.snapshot.temperature, threshold)

    def _store(self, made: Prediction, stored: Stored) -> Callable[[], Answer]:
        if self.journal.size < self.quota:
            with self.journal.transaction():
                self.journal.store([stored])
                self.journal.predict([made])
        return dict

    def _commit(self, *events: Event, stored: Sequence[Stored] = ()) -> int:
        """Commit events, and return the number of the last."""
        if stored and self.journal.size >= self.quota:
            raise Refused(507, "the journal has reached its quota of disk: raise --quota")
        with self.journal.transaction():
            self.journal.store(stored)
            numbers = [self.journal.add(event) for event in events]
        self.live.seq = numbers[-1]
        return numbers[-1]

    def _again(self, key: str | None) -> Callable[[], Answer] | None:
        """Return the first answer of a key that was used before."""
        event = None if key is None else self.journal.of_key(key)
        if key is None or event is None:
            return None

        def finish() -> Answer:
            # After a kill between commit and answer only the event is there.
            again = {"event": event.seq, "label": event.label, "before": event.predicted}
            return self.journal.answered(key) or {**again, "version": self.snapshot.version}

        return finish

    def _learn(self, image: Stored | str, label: str, key: str | None) -> Callable[[], Answer]:
        """Learn an image, or that of a prediction by its id."""
        began, again = time.monotonic(), self._again(key)
        if again is not None:
            return again
        now = self.snapshot
        if isinstance(image, str):
            made = self.journal.prediction(image)
            if made is None:
                raise Refused(404, f"there is not a prediction {image!r}: send the image")
            image = Stored(made.sha256, self.journal.features(made.sha256), None)
            before, sure = made.label, made.confidence
        else:
            before, _, sure, _ = now.predict(torch.from_numpy(image.features.copy()))
        label = checked_label(label, self.live.classes)
        if image.sha256 in self._contents:
            raise Refused(409, "the model learned this image before it was served")
        event = self.journal.learned_as(image.sha256)
        if event is not None:
            raise Refused(
                409, f"event {event.seq} learned this image as {event.label!r}: undo or relabel it"
            )
        known = label in now.classes and len(now.classes) > 1 and math.isfinite(sure)
        scores = (before if now.classes else None, sure if known else None)
        event = Event("learn", image.sha256, label, None, key, *scores)
        seq, features = self._commit(event, stored=[image]), image.features
        self.live.apply(1, [label], features[None])
        return lambda: self._answered(seq, event, features, began)

    def _undo(self, seq: int, label: str | None, key: str | None) -> Callable[[], Answer]:
        began, again = time.monotonic(), self._again(key)
        if again is not None:
            return again
        event = self.journal.event(seq)
        if event is None or event.kind != "learn":
            raise Refused(404, f"event {seq} did not learn an image")
        if self.journal.undone(seq):
            raise Refused(409, f"event {seq} is undone already")
        features = self.live.features([event])
        undo = Event("undo", event.sha256, event.label, seq, None if label is not None else key)
        if label is None:
            number = self._commit(undo)
            self.live.apply(-1, [event.label], features)
            return lambda: self._answered(number, undo, features[0], began)
        label = checked_label(label, self.live.classes)
        learned = event._replace(label=label, key=key, seq=0)
        number = self._commit(undo, learned)
        self.live.apply(-1, [event.label], features)
        self.live.apply(1, [label], features)
        return lambda: self._answered(number, learned, features[0], began)

    def _delete(self, label: str) -> Callable[[], Answer]:
        began = time.monotonic()
        if label not in self.live.classes:
            raise Refused(404, f"there is not a class {label!r}")
        older = self.live.older(label)
        if len(self.live.sums.ledger.features_of(older)) < len(older):
            raise Refused(
                409,
                f"features of {label!r} from before serving are not stored: stop the server and use"
                " cl-prompts forget MODEL FOLDER --class NAME",
            )
        learned = self.journal.learned(label)
        undos = [Event("undo", one.sha256, label, one.seq) for one in learned]
        number = self._commit(*undos, Event("delete", None, label))
        if learned:
            self.live.apply(-1, [label] * len(learned), self.live.features(learned))
        self.live.forget(label)
        answer = {"event": number, "label": label, "images": len(learned) + len(older)}
        return lambda: {**answer, **self._when(began)}

    def _answered(self, seq: int, event: Event, features: np.ndarray, began: float) -> Answer:
        after = self.snapshot.predict(torch.from_numpy(features.copy()))[0]
        answer = {"event": seq, "label": event.label, "before": event.predicted, "after": after}
        answer |= self._when(began)
        if event.key is not None:
            # On a full disk the event alone answers the key.
            with suppress(sqlite3.Error), self.journal.transaction():
                self.journal.answer(event.key, answer)
        return answer

    def _when(self, began: float) -> Answer:
        elapsed = round(1000 * (time.monotonic() - began), 1)
        return {"version": self.snapshot.version, "milliseconds": elapsed}


def _locked(folder: Path) -> FileLock:
    """Lock a folder for one server."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"another server uses {folder}: stop it, or give --data-dir") from error
    except OSError as error:
        raise InputError(f"{folder} cannot be written: give another --data-dir") from error
    return lock
