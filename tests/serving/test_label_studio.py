"""Label Studio's calls, with bodies as its release 1.23 sends them."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("multipart")
pytest.importorskip("httpx")

from cl_prompts.errors import InputError
from cl_prompts.experiments.cli.serving import serve
from cl_prompts.serving import label_studio
from cl_prompts.serving.label_studio import LabelStudio, Remote
from cl_prompts.serving.learner import Learner
from tests.experiments.trained.models import blank
from tests.serving.sessions import close
from tests.serving.test_app import Client, png

COLOURS = ("red", "green", "blue")
CONFIG = (
    '<View><Image name="image" value="$photo"/><Choices name="other" toName="text"/>'
    '<Choices name="kind" toName="image" choice="single"><Choice value="red"/>'
    '<Choice value="green"/><Choice alias="blue" value="Blue"/></Choices></View>'
)
PROJECT = {"id": 1, "title": "photos", "label_config": CONFIG, "is_published": False}


class Fake(ThreadingHTTPServer):
    """Label Studio with images; it notes the paths and the tokens of requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.origin = f"http://127.0.0.1:{self.server_port}"
        self.seen: list[tuple[str, str | None]] = []
        self.files = {f"/data/upload/1/{n}.png": png(n, n % 3) for n in range(30)}
        self.files["/data/local-files/?d=a%20b.png"] = png(90)
        self.files["/data/upload/1/large"] = b"x" * (label_studio.MOST_BYTES + 1)
        self.files["/data/upload/1/broken"] = png(0)[:150]
        self.files["/api/projects/1/"] = json.dumps(PROJECT).encode()
        self.elsewhere = ""


class Answers(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        given = self.headers.get("Authorization")
        self.server.seen.append((self.path, given))
        content = self.server.files.get(self.path, b"")
        status = 200 if content else 404
        if given not in ("Token legacy", "Bearer short"):
            status = 401
        elif self.path == "/data/moved":
            status = 302
        self.send_response(status)
        self.send_header("Location", f"{self.server.elsewhere}/data/upload/1/0.png")
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, sent["refresh"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"access": "short"}')

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "legacy")
    with Fake() as fake:
        threading.Thread(target=fake.serve_forever, daemon=True).start()
        yield fake
        fake.shutdown()


@pytest.fixture
def client(remote: Fake, tmp_path: Path) -> Iterator[Client]:
    with closing(Learner(blank("slda"), tmp_path / "live")) as learner:
        yield Client(LabelStudio(remote.origin, None, learner, None))


def task(number: int, image: Any = None) -> dict[str, Any]:
    image = f"/data/upload/1/{number}.png" if image is None else image
    own = {"id": number, "project": 1, "data": {"photo": image}, "meta": {}, "is_labeled": True}
    return {**own, "created_at": "2026-03-02T19:21:04.760812Z", "file_upload": 1, "overlap": 1}


def annotation(number: int, *labels: str, task: int = 0, **more: Any) -> dict[str, Any]:
    value = {"choices": list(labels)}
    result = [{"from_name": "kind", "to_name": "image", "type": "choices", "value": value}]
    own = {"id": number, "result": result if labels else [], "was_cancelled": False, "task": task}
    return {**own, "project": 1, "updated_at": "2026-03-02T19:22:20.747389Z", **more}


def send(client: Client, action: str, **more: Any) -> None:
    """Send an event, and wait until it was carried out."""
    answer = client.post("/webhook", json={"action": action, "project": PROJECT, **more})
    assert answer.status_code == 200, answer.text
    client.service.messages.join()


def changed(client: Client, action: str, number: int, *labels: str, **more: Any) -> None:
    """Send an event of annotation 100 + number of a task."""
    given = annotation(100 + number, *labels, task=number, **more)
    send(client, f"ANNOTATION_{action}", annotation=given, task=task(number))


def images(client: Client) -> dict[str, str]:
    """The image of each event that is not undone, and its label."""
    return {event.sha256: event.label for event in client.service.learner.journal.learned()}


def test_the_model_follows_the_annotations(client: Client, remote: Fake, tmp_path: Path) -> None:
    for number in range(12):
        changed(client, "CREATED", number, COLOURS[number % 3])
    changed(client, "CREATED", 13, "red", was_cancelled=True)
    changed(client, "CREATED", 14)
    changed(client, "CREATED", 15, "red", "blue")
    assert client.service.learner.journal.last == 12
    changed(client, "UPDATED", 1, "blue")
    changed(client, "UPDATED", 1, "green")
    changed(client, "UPDATED", 2, "blue", was_cancelled=True)
    changed(client, "UPDATED", 2, "blue")
    changed(client, "UPDATED", 3)
    send(client, "ANNOTATIONS_DELETED", annotations=[{"id": 104}, {"id": 199}])
    send(client, "TASKS_DELETED", tasks=[{"id": 5}, {"id": 10}])
    many = [annotation(120 + n, COLOURS[n % 3], task=20 + n) for n in range(3)]
    tasks = [task(20), task(21, "/data/upload/1/none.png"), task(22)]
    send(client, "ANNOTATIONS_CREATED", annotation=many, task=tasks)
    # An undo on the page is followed by the next update; a label of the page is undone too.
    learner = client.service.learner
    (event,) = learner.journal.learned("key LIKE ?", "label-studio a100 %")
    learner.relabel(event.seq, "blue").result()
    send(client, "ANNOTATIONS_DELETED", annotations=[{"id": 100}])
    for action in ("TASKS_CREATED", "PROJECT_UPDATED", "START_TRAINING"):
        send(client, action, tasks=[task(25)] * (action == "TASKS_CREATED"))
    with closing(Learner(blank("slda"), tmp_path / "one")) as other:
        one = Client(LabelStudio(remote.origin, None, other, None))
        # 21 - 1 of 22 is blue.
        for number in (1, 2, 6, 7, 8, 9, 11, 20, 22):
            label = COLOURS[(number - 20) % 3 if number >= 20 else number % 3]
            one.learn(png(number, number % 3), label)
        assert images(client) == images(one)
        live = [
            x.live.sums.with_classes(COLOURS).network.head.state_dict() for x in (learner, other)
        ]
    close(*live)


def test_each_task_gets_one_prediction(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    connected = {"project": "1.1796239263", "schema": CONFIG, "access_token": "ab", "hostname": "x"}
    assert client.post("/setup", json=connected).json() == {"model_version": "0"}
    asked = {"project": "1.1796239263", "label_config": CONFIG, "params": {"context": None}}
    for number in range(6):
        changed(client, "CREATED", number, COLOURS[number % 3])
    some = [task(1), task(2), task(3, "/data/upload/1/broken"), task(4, 7), task(7)]
    results = client.post("/predict", json={"tasks": some, **asked}).json()["results"]
    labels = [one["result"][0]["value"]["choices"][0] if one["result"] else "" for one in results]
    assert labels == ["green", "blue", "", "", "green"]
    assert {one["model_version"] for one in results} == {"6"}
    assert results[0]["result"][0] == annotation(0, "green")["result"][0]
    assert 0.3 < results[0]["score"] <= 1 == 1 + results[2]["score"]
    assert client.get("/versions").json() == {"versions": ["6"]}
    told = capsys.readouterr().err
    assert "task 3: the image is damaged" in told
    assert "task 4: 7 is not an image below http://127.0.0.1" in told
    # A class that the project does not have is not pre-labelled.
    few = {**asked, "label_config": CONFIG.replace("green", "yellow")}
    (one,) = client.post("/predict", json={"tasks": [task(1)], **few}).json()["results"]
    assert one["result"] == []
    assert client.predict(png(1, 1)).json()["predictions"][0]["label"] == "green"
    for config in ("<View>", "<View/>"):
        wrong = client.post("/predict", json={"tasks": [], "label_config": config})
        assert (wrong.status_code, "labelling interface" in wrong.text) == (422, True)


def test_images_of_the_exact_origin_alone_are_fetched(client: Client, remote: Fake) -> None:
    own = client.service.remote
    assert own.image("/data/local-files/?d=a%20b.png") == png(90)
    assert own.image(f"{remote.origin}/data/upload/1/1.png") == png(1, 1)
    with Fake() as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        remote.elsewhere = other.origin
        host = remote.origin.removeprefix("http://")
        before = len(remote.seen)
        for address in (
            f"{other.origin}/data/upload/1/0.png",
            f"//{other.origin.removeprefix('http://')}/data/upload/1/0.png",
            f"http://{host}@{other.origin.removeprefix('http://')}/data/upload/1/0.png",
            f"https://{host}/data/upload/1/0.png",
            f"http://{host}.evil.example.org/data/upload/1/0.png",
            "file:///data/upload/1/0.png",
            "/data/../api/projects/1/",
            "/api/projects/1/",
            "s3://data/0.png",
            None,
        ):
            with pytest.raises(InputError, match="is not an image below"):
                own.image(address)
        assert len(remote.seen) == before
        for path, said in (("/data/moved", "status 302"), ("/data/upload/1/large", "10485761")):
            with pytest.raises(InputError, match=said):
                own.image(path)
        assert other.seen == []
        other.shutdown()


def test_tokens(remote: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a.personal.one")
    personal = Remote(remote.origin + "/")
    for number in range(2):
        personal.image(f"/data/upload/1/{number}.png")
    tokens = [token for _, token in remote.seen]
    assert tokens == ["a.personal.one", "Bearer short", "Bearer short"]
    monkeypatch.delenv("LABEL_STUDIO_API_KEY")
    with closing(Learner(blank("slda"), tmp_path)) as learner:
        client = Client(LabelStudio(remote.origin, None, learner, "pass:word"))
        asked = {"tasks": [task(1)], "label_config": CONFIG}
        basic = {"Authorization": "Basic " + base64.b64encode(b"any:pass:word").decode()}
        # Label Studio sends no password with events: the user adds a header.
        for headers in ({}, {"Authorization": "Basic !"}, {"Authorization": "Basic YTpi"}):
            assert client.post("/predict", json=asked, headers=headers).status_code == 401
        denied = client.post("/predict", json=asked, headers=basic)
        assert (denied.status_code, "set LABEL_STUDIO_API_KEY" in denied.text) == (502, True)
        owner = {"schema": CONFIG, "access_token": "legacy"}
        client.post("/setup", json=owner, headers=basic)
        assert client.post("/predict", json=asked, headers=basic).status_code == 200


def test_an_export_brings_missed_events_in(remote: Fake, client: Client, tmp_path: Path) -> None:
    for number in range(6):
        changed(client, "CREATED", number, COLOURS[number % 3])
    client.learn(png(25), "red")  # on the page
    before = images(client)
    labels = {0: "red", 1: "blue", 3: "red", 4: "green", 8: "green"}
    export = tmp_path / "export.json"
    made = [
        {**task(n), "annotations": [annotation(100 + n, label, task=n)]}
        for n, label in labels.items()
    ]
    export.write_text(json.dumps(made))
    learner = client.service.learner
    for _ in range(2):
        LabelStudio(remote.origin, export, learner, None).messages.join()
        after = images(client)
        assert sorted(after.values()) == ["blue", "green", "green", "red", "red", "red"]
        assert len(before.keys() & after.keys()) == 5
        # One was relabelled, one learned and two undone.
        assert learner.journal.last == 7 + 2 + 1 + 2


def test_command_lines_are_refused(tmp_path: Path) -> None:
    for origin in ("localhost:8080", "ftp://a", "http://a/b", "http://u:p@a", "http://"):
        with pytest.raises(InputError, match="is not an origin"):
            Remote(origin)
    with pytest.raises(InputError, match="needs --label-studio"):
        serve(new="toys", reconcile=tmp_path)
    (tmp_path / "a.json").write_text("[1]")
    with closing(Learner(blank("slda"), tmp_path / "live")) as learner:
        for file in (tmp_path, tmp_path / "a.json"):
            with pytest.raises(InputError, match="is not an export"):
                LabelStudio("http://a", file, learner)
