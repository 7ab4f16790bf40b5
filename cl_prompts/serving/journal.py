"""Journal of a server: events, features, predictions and images in SQLite."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.serving.snapshot import Refused

#: bytes of the journal above which no image is stored
QUOTA = 10 * 2**30

_SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE IF NOT EXISTS about(name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE IF NOT EXISTS events(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL, kind TEXT, sha256 TEXT, class TEXT,
    undoes INTEGER UNIQUE, key TEXT UNIQUE, predicted TEXT, confidence REAL);
CREATE INDEX IF NOT EXISTS of_image ON events(sha256);
CREATE TABLE IF NOT EXISTS features(sha256 TEXT PRIMARY KEY, value BLOB);
CREATE TABLE IF NOT EXISTS images(sha256 TEXT PRIMARY KEY, content BLOB);
CREATE TABLE IF NOT EXISTS predictions(
    id TEXT PRIMARY KEY, sha256 TEXT, label TEXT, probability REAL, confidence REAL,
    version INTEGER, time REAL);
CREATE INDEX IF NOT EXISTS predicted ON predictions(sha256);
CREATE VIEW IF NOT EXISTS learned AS SELECT * FROM events AS e WHERE kind = 'learn'
    AND NOT EXISTS (SELECT 1 FROM events AS u WHERE u.undoes = e.seq);
"""


class Event(NamedTuple):
    """One change of a model: ``learn`` or ``undo``.

    Attributes:
        seq: number, ascending; 0 before the commit.
        undoes: number of the event that an ``undo`` takes back.
        predicted: label before learning; None without a model of two classes.
        confidence: of that prediction; None if the class was unknown.
        time: of the commit, in seconds since 1970; of a relabelled image, that of its first label.

    Example:
        >>> Event("learn", "ab12", "cat").label
        'cat'
    """

    kind: str
    sha256: str
    label: str
    undoes: int | None = None
    key: str | None = None
    predicted: str | None = None
    confidence: float | None = None
    seq: int = 0
    time: float = 0.0


_EVENT = "kind, sha256, class, undoes, key, predicted, confidence, seq, time"


class Stored(NamedTuple):
    """Encoded image of a client, and its features (dim,).

    Example:
        >>> Stored("ab12", torch.zeros(4), b"png").content
        b'png'
    """

    sha256: str
    features: Tensor
    content: bytes


class Journal:
    """SQLite file with a write-ahead log that is synced at each commit.

    Args:
        file: of the database; it is made if missing.
        keep_images: store images, not only their features.

    Raises:
        InputError: the folder is read-only, or the file is not a database.

    Example:
        >>> import tempfile
        >>> journal = Journal(Path(tempfile.mkdtemp()) / "journal.sqlite")
        >>> with journal.transaction():
        ...     journal.add(Event("learn", "ab12", "cat"))
        1
        >>> [event.label for event in journal.learned("sha256 = ?", "ab12")]
        ['cat']
    """

    def __init__(self, file: Path, keep_images: bool = True) -> None:
        self.keep_images = keep_images
        self._lock = threading.RLock()
        self._database = sqlite3.connect(file, check_same_thread=False)
        self._database.row_factory = sqlite3.Row
        try:
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise InputError(f"{file} cannot be written ({error}): give --data-dir") from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    # ----------------------------------------------------------------------------------- writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that is added within, or nothing.

        Raises:
            Refused: the disk is full or broken.
        """
        try:
            with self._lock, self._database:
                yield
        except sqlite3.Error as error:
            said = f"the journal cannot be written, nothing was learned: {error}"
            raise Refused(507, said) from error

    def add(self, event: Event) -> int:
        """Append an event and return its number."""
        places = f"INSERT INTO events({_EVENT}) VALUES (?, ?, ?, ?, ?, ?, ?, NULLIF(?, 0), ?)"
        timed = event._replace(time=event.time or time.time())
        return self._database.execute(places, timed).lastrowid or 0

    def store(self, image: Stored) -> None:
        """Store an image and its features, unless they are stored.

        Raises:
            Refused: the journal has reached its quota.
        """
        if self.size >= QUOTA:
            raise Refused(507, "the journal has reached its quota of disk: export the model")
        sha256, features, content = image
        row = (sha256, features.float().numpy().tobytes())
        self._database.execute("INSERT OR IGNORE INTO features VALUES (?, ?)", row)
        if self.keep_images:
            self._database.execute("INSERT OR IGNORE INTO images VALUES (?, ?)", (sha256, content))

    def predict(self, *made: object) -> None:
        """Store id, SHA-256, label, probability, confidence and version of a prediction."""
        places = "INSERT OR REPLACE INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._database.execute(places, (*made, time.time()))

    def rename(self, name: str, label: str) -> None:
        """Give predictions of a class its new name, so that they are scored as before."""
        for table, column in (("events", "predicted"), ("predictions", "label")):
            places = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"
            self._database.execute(places, (label, name))

    def note(self, **values: object) -> None:
        """Store facts about the session, by name."""
        rows = [(name, json.dumps(value)) for name, value in values.items()]
        self._database.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", rows)

    # ----------------------------------------------------------------------------------- reading

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._database.execute(query, values).fetchall()

    def _value(self, query: str, *values: Any) -> Any:
        """Return the first value of the first row, or None."""
        return next(iter(self._rows(query, *values)), (None,))[0]

    def about(self, name: str) -> Any:
        """Return a fact of :meth:`note`, or None."""
        return json.loads(self._value("SELECT value FROM about WHERE name = ?", name) or "null")

    @property
    def size(self) -> int:
        """Bytes of the database."""
        return self._value("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")

    @property
    def last(self) -> int:
        """Number of the last event, 0 before the first."""
        return self._value("SELECT max(seq) FROM events") or 0

    def events(self, where: str = "TRUE", *values: object, of: str = "events") -> list[Event]:
        """Return events of a condition, in order."""
        query = f"SELECT {_EVENT} FROM {of} WHERE {where} ORDER BY seq"
        return [Event(*row) for row in self._rows(query, *values)]

    def learned(self, where: str = "TRUE", *values: object) -> list[Event]:
        """Return learned images that are not undone, of a condition, in order."""
        return self.events(where, *values, of="learned")

    def scored(self) -> list[tuple[str, int]]:
        """Return labels of :meth:`learned`, and whether each was predicted; no slower objects."""
        return self._rows("SELECT class, predicted IS class FROM learned ORDER BY time, seq")

    def features(self, sha256: str) -> Tensor:
        """Return the features (dim,) of an image."""
        value = self._value("SELECT value FROM features WHERE sha256 = ?", sha256)
        return torch.frombuffer(bytearray(value), dtype=torch.float32)

    def image(self, sha256: str) -> bytes | None:
        """Return a stored image, or None."""
        return self._value("SELECT content FROM images WHERE sha256 = ?", sha256)

    def prediction(self, name: str) -> Any:
        """Return a prediction by its id, as a row with the columns of :meth:`queue`, or None."""
        return next(iter(self._rows("SELECT * FROM predictions WHERE id = ?", name)), None)

    def queue(self, most: int) -> list[dict[str, Any]]:
        """Return the last prediction of images without a label, the least certain first."""
        query = """SELECT id, sha256, label, probability, confidence, version FROM predictions
            WHERE rowid IN (SELECT max(rowid) FROM predictions GROUP BY sha256)
            AND sha256 NOT IN (SELECT sha256 FROM learned) ORDER BY confidence LIMIT ?"""
        return list(map(dict, self._rows(query, most)))

    def confidences(self, most: int) -> list[float]:
        """Return the last confidences of learned images of known classes, ascending."""
        query = """SELECT confidence FROM learned WHERE confidence IS NOT NULL
            ORDER BY time DESC, seq DESC LIMIT ?"""
        return sorted(row[0] for row in self._rows(query, most))
