"""HTTP calls: answers, statuses, security."""

import hmac
import io
import json
import queue
import random
import socket
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("starlette")
pytest.importorskip("multipart")
pytest.importorskip("httpx")

from starlette.testclient import TestClient

from cl_prompts import Model
from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.cli.actions import serve
from cl_prompts.serving import command, listen, passes, uploads
from cl_prompts.serving.app import CALLS, Service
from cl_prompts.serving.learner import Learner
from tests.experiments.trained.models import blank
from tests.toys import make

HOST = "http://localhost:8765"


def png(seed: int, label: int = 0, size: int = 16) -> bytes:
    """A noisy image whose class is its colour."""
    pixels = np.random.default_rng(seed).integers(0, 60, (size, size, 3), np.uint8)
    pixels[..., label] += 160
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


class Client(TestClient):
    def __init__(self, service: Service) -> None:
        super().__init__(service.app, base_url=HOST, raise_server_exceptions=False)
        self.service = service

    def predict(self, *contents: bytes) -> Any:
        return self.post("/predict", files=[("image", ("a.png", one)) for one in contents])

    def learn(self, content: bytes, label: str) -> Any:
        return self.post("/learn", files={"image": ("a.png", content)}, data={"label": label})


@contextmanager
def served(model: Model, folder: Path, *, token: Any = None, **options: Any) -> Iterator[Client]:
    with closing(Learner(model, folder, **options)) as learner:
        yield Client(Service(learner, token))


def refused(answer: Any, status: int, said: str) -> None:
    """Assert that an answer is a refusal, which says something."""
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with served(blank("slda"), tmp_path / "live") as one:
        yield one


def test_a_session_over_http(client: Client) -> None:
    assert client.predict(png(0)).json()["predictions"][0]["label"] == "unknown"
    for number in range(12):
        answer = client.learn(png(number, number % 3), "rgb"[number % 3]).json()
        assert answer["version"] == answer["event"] == number + 1
    made = client.predict(png(50, 1), png(51, 2)).json()["predictions"]
    assert [one["label"] for one in made] == ["g", "b"]
    assert made[0]["best"][0]["label"] == "g"
    assert sum(one["probability"] for one in made[0]["best"]) == pytest.approx(1)
    assert {one["id"] for one in client.get("/queue").json()["queue"]} >= {made[0]["id"]}
    given = {"id": made[0]["id"], "label": "g", "key": "k"}
    for _ in range(2):
        learned = client.post("/learn", json=given).json()
        assert (learned["event"], learned["before"], learned["after"]) == (13, "g", "g")
    assert client.post("/undo", json={"event": 1}).json()["version"] == 14
    moved = client.post("/relabel", json={"event": 2, "label": "green"}).json()
    assert (moved["event"], moved["label"]) == (16, "green")
    events = client.get("/events").json()["events"]
    assert [one["kind"] for one in events[:4]] == ["learn", "undo", "undo", "learn"]
    assert [one["undoes"] for one in events[:4]] == [None, 2, 1, None]
    renamed = client.post("/rename", json={"name": "green", "label": "a/b"}).json()
    assert (renamed["event"], renamed["label"], renamed["images"]) == (18, "a/b", 1)
    assert client.delete("/class/a%2Fb").json()["images"] == 1
    stats = client.get("/stats").json()
    assert stats["name"] == "live"
    assert stats["classes"] == [
        {"label": "r", "key": "1", "images": 3},
        {"label": "g", "key": "2", "images": 4},
        {"label": "b", "key": "3", "images": 4},
    ]
    score = stats["accuracy"]
    assert score["per_class"]["b"] == {"images": 4, "accuracy": 0.75}
    assert score["curve"][-1] == [11, score["all"]]
    assert client.get(f"/image/{events[0]['sha256']}").content == png(1, 1)
    archive = zipfile.ZipFile(io.BytesIO(client.get("/snapshot").content))
    assert {"model/model.json", "model/images.npz"} <= set(archive.namelist())
    told = json.loads(archive.read("model/model.json"))
    assert told["history"][-1]["what"] == "learned 11 images while serving, 4 undone"


def test_the_guide_lists_all_calls(client: Client) -> None:
    guide = Path(__file__).parents[2].joinpath("docs/guides/serving.md").read_text()
    for call in CALLS:
        assert call.path.partition("{")[0] in guide
    assert "docs/guides/serving.md" in client.get("/nothing").json()["error"]


def test_bad_input_gets_a_sentence_and_a_status(client: Client) -> None:
    client.learn(png(0), "ape")
    form, body = {"content-type": "multipart/form-data; boundary=x"}, {"event": 1, "label": "b"}
    formats = (b"no image", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"GIF89a" + b"0" * 99, b"")
    cases = [
        *((client.predict(content), 415, "not an image") for content in formats),
        (client.predict(png(0)[:200]), 422, "is damaged"),
        (client.post("/predict", json={}), 422, "has no image"),
        (client.post("/predict", data={"image": "x"}, files={"a": b""}), 422, "not a file"),
        (client.post("/predict", content=b"--x--", headers=form), 422, "has no image"),
        (client.learn(png(1), ""), 422, "1 to 100"),
        (client.learn(png(1), "x" * 300), 422, "1 to 100"),
        (client.learn(png(1), "a\nb"), 422, "printable"),
        (client.learn(png(1), "unknown"), 422, "not sure"),
        (client.learn(png(1), "APE"), 422, "write 'ape', not 'APE'"),
        (client.learn(png(0), "bee"), 409, "undo or relabel"),
        (client.post("/learn", json={"id": "7", "label": "a"}), 404, "prediction '7'"),
        (client.post("/learn", json={"id": 7, "label": "a"}), 422, "id: "),
        (client.post("/undo", content=b"{"), 422, "Invalid JSON"),
        (client.post("/undo", json={"event": 9}), 404, "event 9"),
        (client.post("/undo", json={"event": -1}), 422, "event: "),
        (client.post("/relabel", json={"event": 1, "label": ""}), 422, "1 to 100"),
        (client.post("/relabel", json={**body, "more": 1}), 422, "more: "),
        (client.delete("/class/zoo"), 404, "class 'zoo'"),
        (client.post("/rename", json={"name": "zoo", "label": "ape"}), 404, "class 'zoo'"),
        (client.post("/rename", json={"name": "ape", "label": "unknown"}), 422, "not sure"),
        (client.get("/image/00"), 404, "not stored"),
        (client.get("/nothing"), 404, "serving.md"),
        (client.put("/predict"), 405, "serving.md"),
    ]
    for case in cases:
        refused(*case)
    client.post("/undo", json={"event": 1})
    refused(client.post("/undo", json={"event": 1}), 409, "undone")
    assert len(client.get("/events").json()["events"]) == 2


def test_models_without_sums_say_why_they_do_not_learn(tmp_path: Path) -> None:
    model = blank()
    model.strategy = make("l2p", "si_blurry", n_classes=3)
    model.network = model.strategy.model.eval()
    model.network.seen.fill_(True)
    with served(model, tmp_path) as client:
        refused(client.learn(png(0), "ape"), 409, "learns by gradients")
        assert client.get("/stats").json()["learns"] is False
        assert client.get("/queue").json() == {"queue": []}  # the page asks for it
        assert client.predict(png(0)).json()["predictions"][0]["label"] in model.classes


def test_only_this_machine_and_its_own_pages_are_served_without_a_token(client: Client) -> None:
    hosts = ["evil.example.org", "localhost.evil.org:8765", "[bad", ""]
    for name, value in [*(("host", one) for one in hosts), ("origin", "http://evil.example.org")]:
        assert client.post("/undo", json={"event": 1}, headers={name: value}).status_code == 403
    hosts = ["127.0.0.1:8765", "[::1]:8765", "localhost"]
    for name, value in [*(("host", one) for one in hosts), ("origin", HOST)]:
        assert client.get("/stats", headers={name: value}).status_code == 200


def test_tokens_take_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare = MagicMock(wraps=hmac.compare_digest)
    monkeypatch.setattr("cl_prompts.serving.guard.hmac.compare_digest", compare)
    with served(blank("slda"), tmp_path, token="a-long-token") as client:
        client.base_url = "https://models.example.org"
        for token, status in (("", 401), ("Bearer wrong", 401), ("Bearer a-long-token", 200)):
            header = {"Authorization": token} if token else {}
            assert client.get("/stats", headers=header).status_code == status
        given = [call.args[0] for call in compare.call_args_list]
        assert given == [b"", b"wrong", b"a-long-token"]
        assert client.get("/").status_code == client.get("/health").status_code == 200


def test_large_requests_are_refused_before_they_are_read(client: Client) -> None:
    refused(client.predict(b"x" * (uploads.MOST_BYTES + 2**17)), 413, "10 MB")
    kind = {"content-type": "multipart/form-data; boundary=x"}
    chunks = (b"x" * 2**20 for _ in range(20))  # of an unknown length
    refused(client.post("/predict", content=chunks, headers=kind), 413, "10 MB")


def test_large_images_are_not_decoded(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    monkeypatch.setattr(uploads, "decode", decoded.append)
    for side in (7_200, 20_000):  # 52 megapixels, and more than Pillow opens
        head = bytearray(png(0))
        head[16:24] = side.to_bytes(4, "big") * 2
        head[29:33] = zlib.crc32(bytes(head[12:29])).to_bytes(4, "big")
        refused(client.predict(bytes(head)), 413, "50 megapixels")
    assert not decoded


def test_files_of_the_page_alone_are_served(client: Client) -> None:
    assert client.get("/page.js").headers["content-type"].startswith("text/javascript")
    for path in ("/app.py", "/..%2fapp.py", "/../app.py", "/%2e%2e/journal.sqlite"):
        assert client.get(path).status_code == 404
    policy = client.get("/").headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'" in policy
    assert "unsafe" not in policy


def test_faults_show_no_traceback(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fault() -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(client.service, "_accuracy", fault)
    answer = client.get("/stats")
    told = {"error": "the server has an internal fault"}
    assert (answer.status_code, answer.json()) == (500, told)


def test_names_are_never_markup(client: Client) -> None:
    name = "<img src=x onerror=alert(1)>"
    client.learn(png(0), name)
    answer = client.get("/stats")
    assert answer.json()["classes"][0]["label"] == name
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    page = client.get("/page.js").text
    assert not any(word in page for word in ("innerHTML", "insertAdjacentHTML", "document.write"))


def test_the_quota_of_disk_holds(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl_prompts.serving.journal.QUOTA", 1)
    assert client.predict(png(0)).status_code == 200
    refused(client.learn(png(0), "ape"), 507, "quota")
    assert client.get("/queue").json() == {"queue": []}


def test_without_images_only_features_are_stored(tmp_path: Path) -> None:
    with served(blank("slda"), tmp_path, keep_images=False) as client:
        client.learn(png(0), "ape")
        sha = client.get("/events").json()["events"][0]["sha256"]
        assert client.get(f"/image/{sha}").status_code == 404
        learner = client.service.learner
        assert len(learner.journal.features(sha)) == learner.base.network.head.dim


def test_a_crowd_is_told_to_wait(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "WAITING", 0)
    answer = client.predict(png(0))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_requests_that_wait_share_a_pass() -> None:
    began, go = threading.Event(), threading.Event()

    def encode(rows: Any) -> Any:
        began.set()
        go.wait()
        return rows.flatten(1)

    shared, image = passes.Passes(encode), torch.zeros(3, 2, 2)
    first = shared.submit(image)
    began.wait()
    assert not first.cancel()  # its client leaves
    rest = [shared.submit(image + number) for number in range(16)]
    go.set()
    assert [float(future.result()[0]) for future in rest] == list(range(16))
    assert float(first.result()[0]) == 0
    assert shared.batches == 3


def test_two_halves_of_the_clients_take_turns() -> None:
    """While one half is encoded, images of the other are decoded: no pass waits for them."""
    began, go, sizes = queue.SimpleQueue[int](), threading.Semaphore(0), []

    def encode(rows: Any) -> Any:
        sizes.append(len(rows))
        began.put(len(rows))
        go.acquire()
        return rows.flatten(1)

    shared, image = passes.Passes(encode), torch.zeros(3, 2, 2)
    shared.submit(image)
    answered = began.get()
    for _ in range(7):
        shared.submit(image)
    for _ in range(5):
        go.release()
        encoding = began.get()
        for _ in range(answered):  # the clients that were answered come back
            shared.submit(image)
        answered = encoding
    go.release(9)
    assert sizes[:6] == [1, 4, 4, 4, 4, 4]


def test_fuzzed_requests_get_no_fault(client: Client) -> None:
    client.learn(png(0), "ape")
    client.learn(png(1, 1), "bee")
    draws = random.Random(0)
    values = [None, True, -1, 0, 1, 2**70, 1.5, "", "ape", "\ud800", "\0", [], {}, "x" * 5000]
    types = ["text/plain", "multipart/form-data", "application/json", "multipart/form-data"]
    calls = [one for one in CALLS if one.name != "download"]
    for _ in range(200):
        call = draws.choice(calls)
        path = call.path.replace("{name:path}", draws.choice(["a", "%00", "%ff", "é"]))
        path = path.replace("{sha256}", draws.choice(["00", "%f0", "'"]))
        path += draws.choice(["", "?limit=-1", "?%C2%B2"])
        fields = draws.choices(["id", "event", "label", "key", "x"], k=draws.randint(0, 4))
        body = json.dumps({field: draws.choice(values) for field in fields})
        broken = bytearray(png(5))
        for _ in range(draws.choice([0, 1, 30])):
            broken[draws.randrange(len(broken))] = draws.randrange(256)
        label = draws.choice(["ape", "\0", "é" * 60, "<b>"])
        kind = draws.choice(types) + draws.choice(["", "; boundary=x"])
        raw = draws.randbytes(draws.randint(0, 400))
        forms: list[dict[str, Any]] = [
            {"content": body, "headers": {"content-type": "application/json"}},
            {"files": {"image": ("../../x", bytes(broken))}, "data": {"label": label}},
            {"content": raw, "headers": {"content-type": kind}},
        ]
        sent = draws.choice(forms)
        answer = client.request(call.method, path, **sent)
        assert answer.status_code < 500, (call, path, sent, answer.text)
        assert "Traceback" not in answer.text
        assert answer.status_code < 400 or len(answer.json()["error"]) > 10


def test_models_are_served_from_nothing_and_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path("models/toys.live")
    with served(command.new_model(place, "glyph_vit_tiny"), place) as client:
        for number in range(18):
            client.learn(png(number, number % 3, 32), "rgb"[number % 3])
        told = client.predict(png(90, 0, 32), png(91, 1, 32)).json()["predictions"]
    for content, name in ((png(90, 0, 32), "a.png"), (png(91, 1, 32), "b.png")):
        Path(name).write_bytes(content)
    assert main(["serve", "--new", "toys", "--export", "models/out"]) == 0
    assert "models/out: recommended, 3 classes, 18 images" in capsys.readouterr().out
    exported = Model.load("models/out")
    found = exported.predict(["a.png", "b.png"])
    assert [*found.labels] == [one["label"] for one in told] == ["r", "g"]
    # The exported model is served in turn, and knows its images.
    with served(exported, Path("other")) as client:
        assert client.learn(png(0, 0, 32), "r").status_code == 409
        assert client.predict(png(91, 1, 32)).json()["predictions"][0]["label"] == "g"


def test_command_lines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given, said in [
        ({}, "either a model"),
        ({"model": Path("a"), "new": "b"}, "either a model"),
        ({"new": "toys", "host": "0.0.0.0", "token": None}, "give --token too"),
        ({"new": "toys", "host": "0.0.0.0", "token": ""}, "give --token too"),
        ({"new": "toys", "reconcile": Path("a.json")}, "needs --label-studio"),
        *(({"new": name}, "is not a name") for name in ("../x", "a/b", "..", "")),
    ]:
        with pytest.raises(InputError, match=said):
            serve(**given)
    assert not list(Path().iterdir())


def test_the_port_is_checked_before_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "new_model", None)
    with listen("127.0.0.1", 0) as other:
        # Each part of an answer is sent at once.
        assert other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        port = other.getsockname()[1]
        for given, said in [
            (port, f"127.0.0.1:{port} cannot be used"),
            (99_999, "--port is 99999"),
            (-5, "--port is -5"),
        ]:
            assert main(["serve", "--new", "toys", "--port", str(given)]) == 2
            assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
