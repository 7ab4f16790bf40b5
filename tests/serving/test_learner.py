"""A learner changes exactly as its journal says, whatever happens between."""

import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from unittest import TestCase

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.experiments.trained.model import Model
from cl_prompts.serving import live_sums
from cl_prompts.serving.journal import Journal
from cl_prompts.serving.snapshot import Refused
from tests.experiments.trained.models import blank, images, names
from tests.serving.sessions import Session, close, sha, strangers

Begin = Callable[..., Session]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begin sessions that learn some images, and end with the test."""
    begun: list[Session] = []

    def one(model: Model | None = None, folder: str = "live", learned: int = 0) -> Session:
        begun.append(Session(tmp_path / folder, model))
        for number in range(learned):
            begun[-1].learn(number)
        return begun[-1]

    yield one
    for session in begun:
        session.end()


@pytest.fixture
def session(begin: Begin) -> Session:
    return begin()


def taught() -> Model:
    """A model that learned 30 images before it was served."""
    return blank("slda").learn(images(30), names(30))


@pytest.mark.parametrize("kind", ["ncm", "slda", "balanced_ridge", "recommended"])
def test_undo_in_another_order_is_exact(kind: str, begin: Begin) -> None:
    session = begin(blank(kind).learn(images(30), names(30)))
    before, told = session.sums(), session.labels()
    events = [session.learn(number)["event"] for number in range(60)]
    assert session.learner.snapshot.version == 60
    random.Random(1).shuffle(events)
    for event in events:
        session.undo(event)
    close(session.sums(), before)
    session.learner._settle()  # as after half a second: any pause chose another ridge
    session.learner._solver.submit(dict).result()
    assert session.labels() == told
    session.learner.live.rebuild()
    close(session.sums(), before, by=0)


def test_the_first_two_labels_make_the_first_two_classes(session: Session) -> None:
    assert session.predict(0)["label"] == "unknown"
    assert session.predict(0)["best"] == []
    first, second = session.learn(0, "ant"), session.learn(1, "bat")
    assert (first["before"], first["after"]) == (None, "ant")
    assert (second["before"], second["after"]) == ("ant", "bat")
    assert session.learner.live.classes == ("ant", "bat")
    session.undo(first["event"])
    # A class without images leaves.
    assert session.learner.snapshot.classes == ("bat",)
    session.undo(second["event"])
    assert session.predict(1)["label"] == "unknown"
    with pytest.raises(Refused, match="has learned no image"):
        session.learner.model()


def test_classes_that_were_learned_while_serving_are_deleted(begin: Begin) -> None:
    session = begin(taught())
    session.mixed(random.Random(2), 40)
    with pytest.raises(Refused, match="learned 'bee' before it was served: export it"):
        session.learner.rename("bee", None).result()
    held = len(session.learner.journal.learned("class = 'doe'"))
    assert session.learner.rename("doe", None).result()["images"] == held > 1
    assert set(session.learner.snapshot.classes) == {"ape", "bee", "cat"}
    want, told = session.sums(), session.labels()
    session.end()
    session = begin(taught())
    close(session.sums(), want)
    assert session.labels() == told
    session.learner.live.rebuild()
    close(session.sums(), want)


def test_a_renamed_class_is_the_class_that_never_had_another_name(begin: Begin) -> None:
    session, other = begin(taught(), learned=40), begin(taught(), "other")
    for number in range(40):
        label = "elk" if number % 4 == 3 else None
        other.learn(number, label)
    journal = session.learner.journal
    old = list(map(tuple, journal.scored()))
    answer = session.learner.rename("doe", "elk").result()
    assert (answer["label"], answer["after"], answer["images"]) == ("elk", "elk", 10)
    assert session.learner.snapshot.classes == ("ape", "bee", "cat", "elk")
    close(session.sums(), other.sums())
    assert session.labels() == other.labels()
    # The prequential scores do not change, nor does their order.
    scored = list(map(tuple, journal.scored()))
    assert scored == [("elk" if name == "doe" else name, hit) for name, hit in old]
    assert scored == list(map(tuple, other.learner.journal.scored()))
    # Each image is undone as before.
    for event in journal.learned("class = 'elk'"):
        session.undo(event.seq)
    session.end()
    calm = begin(taught(), "third")
    for number in range(40):
        if number % 4 != 3:
            calm.learn(number)
    session = begin(taught())
    close(session.sums(), calm.sums())


def test_a_class_is_merged_into_another(begin: Begin) -> None:
    session = begin(learned=40)
    before = session.learner.journal.scored()
    session.predict(43)  # a doe
    assert session.learner.rename("doe", "cat").result()["images"] == 10
    assert session.learner.snapshot.classes == ("ape", "bee", "cat")
    session.equals_its_journal()
    scored = session.learner.journal.scored()
    hits = [hit for name, hit in before if name in ("ape", "bee")]
    assert [hit for name, hit in scored if name in ("ape", "bee")] == hits
    # A doe predicted as a cat was wrong, and is right in the merged class.
    assert sum(hit for _, hit in scored) >= sum(hit for _, hit in before)
    assert session.learner.queue()[0]["label"] == "cat"
    last = session.learner.journal.last
    for name, label in (("doe", "cat"), ("cat", " "), ("cat", "APE")):
        with pytest.raises(Refused):
            session.learner.rename(name, label).result()
    assert session.learner.journal.last == last
    # The case of a name is changed, too.
    session.learner.rename("cat", "Cat").result()
    assert session.learner.snapshot.classes == ("ape", "bee", "Cat")


def test_a_class_has_its_key_as_long_as_it_exists(begin: Begin) -> None:
    session = begin(taught())
    first = {"ape": "1", "bee": "2", "cat": "3"}
    assert session.learner.keys == first
    events = {name: session.learn(n, name)["event"] for n, name in enumerate(["doe", "elk", "fox"])}
    assert session.learner.keys == {**first, "doe": "4", "elk": "5", "fox": "6"}
    session.undo(events["elk"])
    session.learner.rename("doe", "gnu").result()
    session.learner.rename("fox", "ape").result()
    session.learn(7, "hen")
    want = {**first, "gnu": "4", "hen": "5"}
    assert session.learner.keys == want
    session.end()
    session = begin(taught())
    assert session.learner.keys == want
    for number in range(30):
        session.learn(100 + number, f"class {number}")
    keys = [session.learner.keys[name] for name in session.learner.live.classes]
    held = [key for key in keys if key]
    assert "".join(held) == "123456789abcefghijkmpqrtvwxyz"  # n, s, u, l, o, d are commands
    assert len(keys) == 35


def test_each_change_is_logged_in_one_line(session: Session) -> None:
    with TestCase().assertLogs("cl_prompts.serving", "INFO") as logged:
        session.predict(0)
        first = session.learn(0, "ape", key="k")["event"]
        session.learn(0, "ape", key="k")  # it changes nothing
        session.learn(1, "ape")
        session.learner.undo(first, "bee").result()
        session.learner.rename("ape", "elk").result()
        session.undo(session.learner.journal.last)
        with pytest.raises(Refused):
            session.undo(99)
    assert [record.getMessage() for record in logged.records] == [
        "event 1: learn 'ape', images: 1",
        "event 2: learn 'ape', images: 1",
        "event 4: learn 'ape' -> 'bee', images: 1",
        "event 6: learn 'ape' -> 'elk', images: 1",
        "event 7: undo 'elk', images: 1",
    ]


def test_a_restart_gives_the_same_answers(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_prompts.serving.learner.EVERY", 25)
    session = begin()
    session.mixed(random.Random(3), 120)
    session.end()
    ours, theirs = begin().learner.snapshot, session.learner.snapshot
    assert ours.version == theirs.version
    assert ours.threshold == theirs.threshold is not None
    assert ours.temperature == theirs.temperature is not None
    for row in strangers(session.dim):
        assert ours.predict(row) == theirs.predict(row)


def test_undos_rebuild_and_events_are_saved(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_prompts.serving.learner.EVERY", 10)
    session = begin(learned=12)
    live = session.learner.live
    session.learner.model()  # waits for the writer
    assert live.saved == 10
    for event in range(1, 11):
        session.undo(event)
    session.learner.model()
    assert (live.undone, live.saved) == (0, 22)


def test_a_label_costs_one_factorisation(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_prompts.serving.learner._QUIET", 1e6)  # no second is quiet
    session, calls = begin(blank("recommended"), learned=8), []
    factorise = torch.linalg.cholesky_ex
    monkeypatch.setattr(
        torch.linalg, "cholesky_ex", lambda *x, **more: calls.append(1) or factorise(*x, **more)
    )
    session.learn(8)
    assert len(calls) == 1
    *_, full = session.learner.live.solved(quick=False)
    assert len(calls) == 9
    # With the same ridge it is the same solution.
    *_, quick = session.learner.live.solved(quick=True)
    torch.testing.assert_close(quick.solution(), full.solution())


def test_a_repeated_key_gets_its_first_answer(begin: Begin) -> None:
    for version, label in ((1, "ape"), (2, "yak")):
        session = begin()
        answer = session.learn(1, label, key="one")
        assert (answer["event"], answer["label"], answer["before"]) == (1, "ape", None)
        assert answer["version"] == version
        if version == 1:
            session.learn(2)
        assert session.learner.journal.last == 2
        session.end()


def test_predictions_before_learning_are_scored(begin: Begin) -> None:
    session = begin(learned=8)
    made = session.predict(8)
    answer = session.learner.learn("8", "cat").result()
    assert answer["before"] == made["label"]
    (event,) = session.learner.journal.learned("sha256 = ?", sha(8))
    assert (event.predicted, event.label) == (made["label"], "cat")
    # Of a class that was unknown there is a prediction, but no confidence in it.
    session.learn(9, "emu")
    (event,) = session.learner.journal.learned("sha256 = ?", sha(9))
    assert (event.predicted is None, event.confidence) == (False, None)


def test_unknown_comes_with_20_scores(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_prompts.serving.learner._RATE", 0.25)
    session, number = begin(learned=4), 3
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


def test_the_least_certain_prediction_is_first_in_the_queue(begin: Begin) -> None:
    session = begin(learned=8)
    for number in range(20, 26):
        session.predict(number)
    session.learner.learn("22", "cat").result()
    queue = session.learner.journal.queue(10)
    assert {one["id"] for one in queue} == {"20", "21", "23", "24", "25"}
    assert queue == sorted(queue, key=lambda one: one["confidence"])


def test_a_full_disk_loses_nothing(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    session = begin()
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
    session.end()
    # A start writes nothing to a journal that exists, and so a full disk is served.
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "note", None)
        assert begin().labels() == session.labels()


def test_failed_upkeep_is_said_and_delays_no_answer(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("cl_prompts.serving.learner.EVERY", 0)
    monkeypatch.setattr(live_sums.LiveSums, "checkpoint", failing)
    assert session.learn(0)["event"] == 1
    session.end()
    assert "upkeep of the model failed: OSError('no space left')" in capsys.readouterr().err


def test_a_label_reads_no_other_events(session: Session) -> None:
    query = "EXPLAIN QUERY PLAN SELECT * FROM learned WHERE sha256 = ''"
    assert "USING INDEX of_image" in session.learner.journal._rows(query)[0][3]


def test_changes_that_wait_share_a_solve(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, solved, go, calls = session.learner, session.learner.live.solved, Event(), []

    def slow(**how: bool) -> object:
        calls.append(how)
        go.wait()
        return solved(**how)

    monkeypatch.setattr(learner.live, "solved", slow)
    answers = [learner.learn(session.image(number), "ape") for number in range(12)]
    learner._writer.submit(dict).result()  # all are applied
    go.set()
    assert [answer.result()["version"] for answer in answers] == [12] * 12
    assert calls == [{"quick": True}]


def test_a_client_that_leaves_stops_nothing(session: Session) -> None:
    session.learner.learn(session.image(0), "ape").cancel()
    assert session.learn(1)["event"] == 2


def test_one_server_has_a_folder(begin: Begin) -> None:
    session = begin()
    with pytest.raises(InputError, match="another server uses"):
        begin()
    session.learn(0)
    session.end()
    with pytest.raises(InputError, match="journal of another model"):
        begin(blank("ncm"))
    begin()
    with pytest.raises(InputError, match="cannot be written: give another --data-dir"):
        begin(folder="live/.lock/live")


def test_threads_give_the_state_of_the_journal(session: Session) -> None:
    def client(number: int) -> None:
        session.mixed(random.Random(number), 40, start=100 * number)

    with ThreadPoolExecutor(4) as clients:
        list(clients.map(client, range(4)))
    session.equals_its_journal()


def test_the_exported_model_predicts_the_same(begin: Begin) -> None:
    model = taught()
    session = begin(model)
    session.mixed(random.Random(5), 60)
    made = session.learner.model()
    assert made.ledger is not None
    assert len(made.ledger) == 30 + len(session.learner.journal.learned())
    made.network.eval()
    best = made.network.head.logits(torch.stack(strangers(session.dim))).argmax(dim=1).tolist()
    assert [made.classes[k] for k in best] == session.labels()
    # The served model is unchanged.
    assert model.classes == ("ape", "bee", "cat")
    assert len(model.forget(class_name="ape").ledger or ()) == 20


def live_until_killed(folder: Path, seed: int, out: int) -> None:
    """Learn and undo; write the number of each acknowledged event, and of its image."""
    session, draws = Session(folder), random.Random(seed)
    for number in itertools.count(1000 * seed):
        event = session.learn(number, key=f"k{number}")["event"]
        os.write(out, f"{event} {number}\n".encode())
        if draws.random() < 0.3:
            os.write(out, f"{session.undo(event)} -1\n".encode())


@pytest.mark.parametrize("seed", range(5))
def test_nothing_acknowledged_is_lost_in_a_kill(seed: int, begin: Begin, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        live_until_killed(tmp_path / "live", seed, writing)
    os.close(writing)
    draws, told = random.Random(seed), b""
    with os.fdopen(reading, "rb") as lines:
        told = b"".join(lines.readline() for _ in range(draws.randint(3, 60)))
        time.sleep(draws.random() / 100)  # anywhere within a call
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        told += lines.read()
    rest = begin()
    journal = rest.learner.journal
    events = {event.seq: event for event in journal.events()}
    for line in told.decode().splitlines():
        event, number = map(int, line.split())
        kind, content = ("learn", sha(number)) if number >= 0 else ("undo", events[event].sha256)
        assert (events[event].kind, events[event].sha256) == (kind, content)
    shas = [event.sha256 for event in events.values() if event.kind == "learn"]
    assert len(shas) == len(set(shas))
    rest.equals_its_journal()
    # The same call as before the kill changes nothing.
    number = next(n for n in itertools.count(1000 * seed) if sha(n) == shas[-1])
    rest.learn(number, key=f"k{number}")
    assert journal.last == max(events)
