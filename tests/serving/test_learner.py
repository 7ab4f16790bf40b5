"""A learner changes exactly as its journal says, whatever happens between."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.serving import learner as learner_module
from cl_prompts.serving import live_sums
from cl_prompts.serving.journal import Journal, Stored
from cl_prompts.serving.snapshot import Refused
from tests.experiments.trained.models import blank, images, names
from tests.serving.sessions import LABELS, Session, close, features, sha

KINDS = ("ncm", "slda", "balanced_ridge", "recommended")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    one = Session(tmp_path)
    yield one
    one.learner.close()


@pytest.mark.parametrize("kind", KINDS)
def test_undo_in_another_order_is_exact(kind: str, tmp_path: Path) -> None:
    model = blank(kind).learn(images(30), names(30))
    session = Session(tmp_path, model)
    before, told = session.sums(), session.labels()
    events = [session.learn(number)["event"] for number in range(60)]
    assert session.learner.snapshot.version == 60
    random.Random(1).shuffle(events)
    for event in events:
        session.learner.undo(event).result()
    close(session.sums(), before)
    assert session.labels() == told
    session.learner.live.rebuild()
    close(session.sums(), before, by=0)
    session.learner.close()


def test_sums_are_those_of_a_model_that_learned_the_images(session: Session) -> None:
    for number in range(30):
        session.learn(number, "emu" if number == 7 else None)
    session.learner.undo(4).result()
    session.learner.relabel(6, "ape").result()
    held = [n for n in range(30) if n != 3]
    called = {5: "ape", 7: "emu"}
    rows = torch.stack([features(n, session.dim) for n in held])
    sums = blank("slda").sums("x").empty([*LABELS, "emu"])
    classes = [called.get(n, LABELS[n % 4]) for n in held]
    sums.add(rows, np.array([sums.classes.index(name) for name in classes]))
    close(session.sums(), sums.network.head.state_dict())


def test_the_first_two_labels_make_the_first_two_classes(session: Session) -> None:
    assert session.predict(0)["label"] == "unknown"
    assert session.predict(0)["best"] == []
    first, second = session.learn(0, "ant"), session.learn(1, "bat")
    assert (first["before"], first["after"]) == (None, "ant")
    assert (second["before"], second["after"]) == ("ant", "bat")
    assert session.learner.live.classes == ("ant", "bat")
    session.learner.undo(first["event"]).result()
    # A class without images leaves.
    assert session.learner.snapshot.classes == ("bat",)
    session.learner.undo(second["event"]).result()
    assert session.predict(1)["label"] == "unknown"
    with pytest.raises(Refused, match="has learned no image"):
        session.learner.model()


def test_classes_are_deleted_with_their_older_images(tmp_path: Path) -> None:
    model = blank("slda").learn(images(30), names(30))
    session = Session(tmp_path, model)
    session.mixed(random.Random(2), 40)
    session.learner.delete("bee").result()
    assert "bee" not in session.learner.snapshot.classes
    session.learn(101, "bee")
    assert len(session.learner.live.older("bee")) == 0
    session.learner.live.checkpoint()
    session.learn(102, "bee")
    session.learner.delete("ape").result()
    want, told = session.sums(), session.labels()
    session.learner.close()
    # From the checkpoint, and from the events alone.
    for remove in (False, True):
        if remove:
            (tmp_path / live_sums.CHECKPOINT).unlink()
        session = Session(tmp_path, blank("slda").learn(images(30), names(30)))
        close(session.sums(), want)
        assert session.labels() == told
        session.learner.live.rebuild()
        close(session.sums(), want)
        session.learner.close()


def test_a_restart_gives_the_same_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner_module, "EVERY", 25)
    session = Session(tmp_path)
    session.mixed(random.Random(3), 120)
    session.learner.close()
    again = Session(tmp_path)
    ours, theirs = again.learner, session.learner
    assert ours.snapshot.version == theirs.snapshot.version
    assert ours.snapshot.threshold == theirs.snapshot.threshold is not None
    assert ours.snapshot.temperature == theirs.snapshot.temperature is not None
    for number in range(5000, 5030):
        row = features(number, again.dim)
        assert ours.snapshot.predict(row) == theirs.snapshot.predict(row)
    again.learner.close()


def test_undos_lead_to_a_rebuild_and_events_to_checkpoints(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_module, "EVERY", 10)
    live = session.learner.live
    for number in range(12):
        session.learn(number)
    session.learner.model()  # waits for the writer
    assert live.saved == 10
    for event in range(1, 11):
        session.learner.undo(event).result()
    session.learner.model()
    assert (live.undone, live.saved) == (0, 22)


def test_a_label_costs_one_factorisation_until_it_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_module, "_SECONDS", 1e6)  # no second is quiet
    session, calls = Session(tmp_path, blank("recommended")), []
    for number in range(8):
        session.learn(number)
    factorise = torch.linalg.cholesky_ex
    monkeypatch.setattr(
        torch.linalg, "cholesky_ex", lambda *x, **more: calls.append(1) or factorise(*x, **more)
    )
    session.learn(8)
    assert len(calls) == 1
    full = session.learner.live.solved(quick=False)
    assert len(calls) == 10
    # With the same ridge it is the same solution.
    quick = session.learner.live.solved(quick=True)
    torch.testing.assert_close(quick.solution(), full.solution())
    session.learner.close()


def test_a_repeated_key_gets_its_first_answer(tmp_path: Path) -> None:
    for version in (1, 2):
        session = Session(tmp_path)
        answer = session.learn(1, "ape" if version == 1 else "yak", key="one")
        assert (answer["event"], answer["label"], answer["before"]) == (1, "ape", None)
        assert answer["version"] == version
        if version == 1:
            session.learn(2)
        assert session.learner.journal.last == 2
        session.learner.close()


def test_predictions_before_learning_are_scored(session: Session) -> None:
    for number in range(8):
        session.learn(number)
    made = session.predict(8)
    answer = session.learner.learn("8", "cat").result()
    assert answer["before"] == made["label"]
    (event,) = session.learner.journal.learned("sha256 = ?", sha(8))
    assert (event.predicted, event.label) == (made["label"], "cat")
    # Of a class that was unknown there is a prediction, but no confidence in it.
    session.learn(9, "emu")
    (event,) = session.learner.journal.learned("sha256 = ?", sha(9))
    assert event.predicted is not None
    assert event.confidence is None
    with pytest.raises(Refused, match="not a prediction '77'"):
        session.learner.learn("77", "cat").result()


def test_unknown_comes_with_twenty_scores_at_its_rate(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_module, "_RATE", 0.25)
    for number in range(4):
        session.learn(number)
    while len(session.learner.journal.confidences(500)) < 19:
        number += 1
        session.learn(number)
    assert session.learner.snapshot.threshold is None
    session.learn(number + 1)
    held = session.learner.journal.confidences(500)
    # k = floor(0.25 * 21)
    assert session.learner.snapshot.threshold == held[4]
    strange = torch.zeros(session.dim)
    assert session.learner.snapshot.predict(strange)[0] == "unknown"


def test_the_least_certain_prediction_is_first_in_the_queue(session: Session) -> None:
    for number in range(8):
        session.learn(number)
    for number in range(20, 26):
        session.predict(number)
    session.learner.learn("22", "cat").result()
    queue = session.learner.journal.queue(10)
    assert {one.id for one in queue} == {"20", "21", "23", "24", "25"}
    sure = [one.confidence for one in queue]
    assert sure == sorted(sure)


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(tmp_path)
    session.learn(0)
    journal = session.learner.journal
    journal._database.execute(f"PRAGMA max_page_count = {journal.size // 4096}")
    with pytest.raises(Refused, match="nothing was learned") as refused:
        session.mixed(random.Random(0), 900, start=1)
    number = journal.last
    assert refused.value.status == 507
    learned = len(journal.learned())
    assert len(session.learner.live) == learned < number
    journal._database.execute("PRAGMA max_page_count = 100000")
    assert session.learn(999)["event"] == number + 1
    session.learner.close()
    # A start writes nothing to a journal that exists, and so a full disk is served.
    monkeypatch.setattr(Journal, "note", None)
    again = Session(tmp_path)
    assert again.labels() == session.labels()
    again.learner.close()


def test_a_label_reads_no_other_events(session: Session) -> None:
    query = "EXPLAIN QUERY PLAN SELECT * FROM learned WHERE sha256 = ''"
    assert "USING INDEX of_image" in session.learner.journal._rows(query)[0][3]


def test_a_client_that_leaves_stops_nothing(session: Session) -> None:
    assert not session.learner.learn(session.image(0), "ape").cancel()
    assert session.learn(1)["event"] == 2


def test_one_server_has_a_folder(tmp_path: Path) -> None:
    session = Session(tmp_path)
    with pytest.raises(InputError, match="another server uses"):
        Session(tmp_path)
    session.learn(0)
    session.learner.close()
    with pytest.raises(InputError, match="journal of another model"):
        Session(tmp_path, blank("ncm"))
    Session(tmp_path).learner.close()
    with pytest.raises(InputError, match="cannot be written"):
        Session(tmp_path / "lock" / "live")


def test_threads_give_the_state_of_the_journal(tmp_path: Path) -> None:
    session = Session(tmp_path / "live")

    def client(number: int) -> None:
        session.mixed(random.Random(number), 40, start=100 * number)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one = Session(tmp_path / "one")
    for event in session.learner.journal.events():
        if event.kind == "undo":
            one.learner.undo(int(event.undoes or 0)).result()
        else:
            row = session.learner.journal.features(event.sha256)
            one.learner.learn(Stored(str(event.sha256), row, b""), event.label).result()
    close(session.sums(), one.sums())
    assert session.labels() == one.labels()
    session.learner.close()
    one.learner.close()


def test_the_exported_model_predicts_the_same(tmp_path: Path) -> None:
    model = blank("slda").learn(images(30), names(30))
    session = Session(tmp_path / "live", model)
    session.mixed(random.Random(5), 60)
    made = session.learner.model()
    assert made.ledger is not None
    undone = len(session.learner.journal.events("kind = 'undo'"))
    live = len(session.learner.journal.learned())
    assert made.card.history[-1].what == f"learned {live} images while serving, {undone} undone"
    assert len(made.ledger) == 30 + live
    made.network.eval()
    rows = torch.stack([features(number, session.dim) for number in range(5000, 5040)])
    best = made.network.head.logits(rows).argmax(dim=1).tolist()
    assert [made.classes[k] for k in best] == session.labels()
    # The served model is unchanged.
    assert model.classes == ("ape", "bee", "cat")
    assert len(model.forget(class_name="ape").ledger or ()) == 20
    session.learner.close()


def live_until_killed(folder: Path, seed: int, out: int) -> None:
    """Learn and undo; write the number of each acknowledged event, and of its image."""
    session, draws = Session(folder), random.Random(seed)
    for number in itertools.count(1000 * seed):
        event = session.learn(number, key=f"k{number}")["event"]
        os.write(out, f"{event} {number}\n".encode())
        if draws.random() < 0.3:
            gone = session.learner.undo(event).result()["event"]
            os.write(out, f"{gone} -1\n".encode())


@pytest.mark.parametrize("seed", range(5))
def test_nothing_acknowledged_is_lost_in_a_kill(seed: int, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        live_until_killed(tmp_path, seed, writing)
    os.close(writing)
    draws, told = random.Random(seed), b""
    with os.fdopen(reading, "rb") as lines:
        told = b"".join(lines.readline() for _ in range(draws.randint(3, 60)))
        time.sleep(draws.random() / 100)  # anywhere within a call
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told += lines.read()
    rest, calm = Session(tmp_path), Session(tmp_path / "calm")
    journal = rest.learner.journal
    events = {event.seq: event for event in journal.events()}
    for line in told.decode().splitlines():
        event, number = map(int, line.split())
        kind, content = ("learn", sha(number)) if number >= 0 else ("undo", events[event].sha256)
        assert (events[event].kind, events[event].sha256) == (kind, content)
    shas = [event.sha256 for event in events.values() if event.kind == "learn"]
    assert len(shas) == len(set(shas))
    for event in journal.learned():
        image = Stored(str(event.sha256), journal.features(event.sha256), b"")
        calm.learner.learn(image, event.label).result()
    close(rest.sums(), calm.sums())
    assert rest.labels() == calm.labels()
    # The same call as before the kill changes nothing.
    number = next(n for n in itertools.count(1000 * seed) if sha(n) == shas[-1])
    rest.learn(number, key=f"k{number}")
    assert journal.last == max(events)
    rest.learner.close()
    calm.learner.close()
