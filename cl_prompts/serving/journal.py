"""Journal of a server: events, features, predictions and images in SQLite."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cl_prompts.errors import InputError

_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS about(name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS events(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL, kind TEXT, sha256 TEXT, class TEXT,
    undoes INTEGER UNIQUE, key TEXT UNIQUE, predicted TEXT, confidence REAL);
CREATE INDEX IF NOT EXISTS of_image ON events(sha256);
CREATE INDEX IF NOT EXISTS of_kind ON events(kind);
CREATE TABLE IF NOT EXISTS answers(key TEXT PRIMARY KEY, answer TEXT);
CREATE TABLE IF NOT EXISTS features(sha256 TEXT PRIMARY KEY, value BLOB);
CREATE TABLE IF NOT EXISTS images(sha256 TEXT PRIMARY KEY, content BLOB);
CREATE TABLE IF NOT EXISTS predictions(
    id TEXT PRIMARY KEY, time REAL, sha256 TEXT, label TEXT, probability REAL, confidence REAL,
    version INTEGER);
CREATE INDEX IF NOT EXISTS predicted ON predictions(sha256);
CREATE VIEW IF NOT EXISTS learned AS SELECT * FROM events AS e WHERE kind = 'learn'
    AND NOT EXISTS (SELECT 1 FROM events AS u WHERE u.undoes = e.seq);
"""


class Event(NamedTuple):
    """One change of a model: ``learn``, ``undo``, or ``delete`` of a class known before serving.

    Attributes:
        seq: number, ascending.
        undoes: number of the event that an ``undo`` takes back.
        predicted: label before learning; None without a model of two classes.
        confidence: of that prediction; None if the class was unknown.

    Example:
        >>> Event("learn", "ab12", "cat").label
        'cat'
    """

    kind: str
    sha256: str | None
    label: str
    undoes: int | None = None
    key: str | None = None
    predicted: str | None = None
    confidence: float | None = None
    seq: int = 0


_EVENT = "kind, sha256, class, undoes, key, predicted, confidence, seq"


class Prediction(NamedTuple):
    """Answer to a ``/predict`` call.

    Example:
        >>> Prediction("1f", "ab12", "cat", 0.9, 2.2, 17).version
        17
    """

    id: str
    sha256: str
    label: str
    probability: float
    confidence: float
    version: int


class Stored(NamedTuple):
    """An image to store with its features.

    Example:
        >>> Stored("ab12", np.zeros(4, np.float32), None).content is None
        True
    """

    sha256: str
    features: np.ndarray
    content: bytes | None


class Journal:
    """SQLite file with a write-ahead log that is synced at each commit.

    Only one thread writes; any thread reads committed rows.

    Args:
        file: of the database; it is made if missing.

    Raises:
        InputError: the folder is read-only, or the file is not a database.

    Example:
        >>> import tempfile
        >>> journal = Journal(Path(tempfile.mkdtemp()) / "journal.sqlite")
        >>> with journal.transaction():
        ...     journal.add(Event("learn", "ab12", "cat"))
        1
        >>> journal.learned_as("ab12").label
        'cat'
    """

    def __init__(self, file: Path) -> None:
        try:
            made = [
                sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=30)
                for _ in range(2)
            ]
            made[0].executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise InputError(f"{file} cannot be written: {error}. Give another --data-dir") from (
                error
            )
        self._writing, self._reading = made
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._reading.close()
        self._writing.close()

    # ----------------------------------------------------------------------------------- writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that is added within, or nothing."""
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writing.execute("COMMIT")
        except BaseException:
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            raise

    def add(self, event: Event) -> int:
        """Append an event and return its number."""
        places = f"INSERT INTO events({_EVENT}, time) VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?)"
        return self._writing.execute(places, (*event[:-1], time.time())).lastrowid or 0

    def store(self, images: Sequence[Stored]) -> None:
        """Store images and features that are not stored yet."""
        for one in images:
            value = np.asarray(one.features, np.float32).tobytes()
            self._writing.execute("INSERT OR IGNORE INTO features VALUES (?, ?)", (one[0], value))
            if one.content is not None:
                row = (one.sha256, one.content)
                self._writing.execute("INSERT OR IGNORE INTO images VALUES (?, ?)", row)

    def predict(self, predictions: Sequence[Prediction]) -> None:
        """Store predictions."""
        rows = [(one.id, time.time(), *one[1:]) for one in predictions]
        places = "INSERT OR REPLACE INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._writing.executemany(places, rows)

    def answer(self, key: str, answer: dict[str, Any]) -> None:
        """Store the first answer of a key."""
        row = (key, json.dumps(answer))
        self._writing.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", row)

    def note(self, **values: Any) -> None:
        """Store facts about the session, by name."""
        rows = [(name, json.dumps(value)) for name, value in values.items()]
        self._writing.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", rows)

    # ----------------------------------------------------------------------------------- reading

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return all rows of a query."""
        with self._lock:
            return self._reading.execute(query, values).fetchall()

    def _first(self, query: str, *values: Any) -> Any:
        found = self.rows(query, *values)
        return found[0] if found else None

    def about(self, name: str) -> Any:
        """Return a fact of :meth:`note`, or None."""
        found = self._first("SELECT value FROM about WHERE name = ?", name)
        return None if found is None else json.loads(found[0])

    def answered(self, key: str) -> dict[str, Any] | None:
        """Return the first answer of a key, or None."""
        found = self._first("SELECT answer FROM answers WHERE key = ?", key)
        return None if found is None else json.loads(found[0])

    @property
    def size(self) -> int:
        """Bytes of the database."""
        ((pages,), (each,)) = self.rows("PRAGMA page_count") + self.rows("PRAGMA page_size")
        return pages * each

    @property
    def last(self) -> int:
        """Number of the last event, 0 before the first."""
        return self._first("SELECT max(seq) FROM events")[0] or 0

    def count(self, kind: str) -> int:
        """Number of events of a kind."""
        return self._first("SELECT count(*) FROM events WHERE kind = ?", kind)[0]

    def _event(self, where: str, *values: Any, table: str = "events") -> Event | None:
        found = self._first(f"SELECT {_EVENT} FROM {table} WHERE {where}", *values)
        return None if found is None else Event(*found)

    def event(self, seq: int) -> Event | None:
        """Return an event by its number."""
        return self._event("seq = ?", seq)

    def of_key(self, key: str) -> Event | None:
        """Return the event of a key."""
        return self._event("key = ?", key)

    def learned_as(self, sha256: str) -> Event | None:
        """Return the event by which an image was learned, unless it is undone."""
        return self._event("sha256 = ?", sha256, table="learned")

    def undone(self, seq: int) -> bool:
        """Whether an event is undone."""
        return self._event("undoes = ?", seq) is not None

    def learned(self, label: str | None = None) -> list[Event]:
        """Return the learned images that are not undone, in order; of one class or of all."""
        where, values = ("", ()) if label is None else (" WHERE class = ?", (label,))
        query = f"SELECT {_EVENT} FROM learned{where} ORDER BY seq"
        return [Event(*row) for row in self.rows(query, *values)]

    def events(self, after: int = 0, most: int = -1) -> list[Event]:
        """Return the events behind a number, in order."""
        query = f"SELECT {_EVENT} FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        return [Event(*row) for row in self.rows(query, after, most)]

    def recent(self, before: int, most: int) -> list[dict[str, Any]]:
        """Return events below a number, the newest first, and whether they are undone."""
        names = ("event", "time", "kind", "label", "before", "sha256", "undoes", "undone")
        query = """SELECT seq, time, kind, class, predicted, sha256, undoes,
            EXISTS (SELECT 1 FROM events AS u WHERE u.undoes = e.seq)
            FROM events AS e WHERE seq < ? ORDER BY seq DESC LIMIT ?"""
        rows = self.rows(query, before, most)
        return [{**dict(zip(names, row, strict=True)), "undone": bool(row[-1])} for row in rows]

    def deleted(self, until: int) -> list[str]:
        """Return the deleted classes up to a number, in order."""
        query = "SELECT class FROM events WHERE kind = 'delete' AND seq <= ? ORDER BY seq"
        return [row[0] for row in self.rows(query, until)]

    def features(self, sha256: str) -> np.ndarray:
        """Return the features (dim,) of an image.

        Raises:
            KeyError: they are not stored.
        """
        found = self._first("SELECT value FROM features WHERE sha256 = ?", sha256)
        if found is None:
            raise KeyError(sha256)
        return np.frombuffer(found[0], np.float32)

    def image(self, sha256: str) -> bytes | None:
        """Return a stored image, or None."""
        found = self._first("SELECT content FROM images WHERE sha256 = ?", sha256)
        return None if found is None else found[0]

    def prediction(self, name: str) -> Prediction | None:
        """Return a prediction by its id."""
        fields = "id, sha256, label, probability, confidence, version"
        found = self._first(f"SELECT {fields} FROM predictions WHERE id = ?", name)
        return None if found is None else Prediction(*found)

    def queue(self, most: int) -> list[Prediction]:
        """Return the last prediction of images without a label, the least certain first."""
        query = """SELECT id, sha256, label, probability, confidence, version FROM predictions
            WHERE rowid IN (SELECT max(rowid) FROM predictions GROUP BY sha256)
            AND NOT EXISTS (SELECT 1 FROM learned AS l WHERE l.sha256 = predictions.sha256)
            ORDER BY confidence LIMIT ?"""
        return [Prediction(*row) for row in self.rows(query, most)]

    def confidences(self, most: int) -> list[float]:
        """Return the last confidences of learned images of known classes, ascending."""
        query = """SELECT confidence FROM learned WHERE confidence IS NOT NULL
            ORDER BY seq DESC LIMIT ?"""
        return sorted(row[0] for row in self.rows(query, most))
