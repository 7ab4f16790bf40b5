"""Label Studio's calls, with bodies as its release 1.23 sends them."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from cl_prompts.errors import InputError
from cl_prompts.serving.label_studio import MOST_BYTES, LabelStudio, Remote
from cl_prompts.serving.learner import Learner
from tests.experiments.trained.models import blank
from tests.serving.test_app import Client, png

COLOURS = ("red", "green", "blue")
CONFIG = (
    '<View><Image name="image" value="$photo"/><Choices name="other" toName="text"/>'
    '<Choices name="kind" toName="image" choice="single"><Choice value="red"/>'
    '<Choice value="green"/><Choice alias="blue" value="Blue"/></Choices></View>'
)
PROJECT = {"id": 1, "title": "photos", "label_config": CONFIG, "is_published": False}
FILES = {
    **{f"/data/upload/1/{n}.png": png(n, n % 3) for n in range(30)},
    "/data/local-files/?d=a%20b.png": png(90),
    "/data/upload/1/large": b"x" * (MOST_BYTES + 1),
    "/data/upload/1/broken": png(0)[:150],
    "/api/projects/1/": json.dumps(PROJECT).encode(),
    "/api/token/refresh/": b'{"access": "short"}',
}


class Answers(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        given = self.headers["Authorization"]
        self.server.seen.append(given or self.path)
        status = 200 if self.path in FILES else 404
        if self.command == "GET" and given not in ("Token legacy", "Bearer short"):
            status = 401
        self.send_response(302 if self.path == "/data/moved" else status)
        self.send_header("Location", f"{self.server.elsewhere}/data/upload/1/0.png")
        self.end_headers()
        self.wfile.write(FILES.get(self.path, b""))

    do_POST = do_GET

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def fake(elsewhere: str = "") -> Iterator[Any]:
    """Serve what Label Studio does, and note the tokens that it is sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.seen, server.elsewhere = [], elsewhere  # type: ignore[attr-defined]
        server.origin = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "legacy")
    with closing(Learner(blank("slda"), tmp_path / "live")) as learner, fake() as remote:
        yield Client(LabelStudio(remote.origin, None, learner))


def task(number: int, image: Any = None) -> dict[str, Any]:
    image = f"/data/upload/1/{number}.png" if image is None else image
    return {"id": number, "project": 1, "data": {"photo": image}, "meta": {}, "file_upload": 1}


def annotation(task: int, *labels: str, **more: Any) -> dict[str, Any]:
    value = {"choices": list(labels)}
    result = [{"from_name": "kind", "to_name": "image", "type": "choices", "value": value}]
    own = {"id": 100 + task, "result": result if labels else [], "was_cancelled": False}
    return {**own, "task": task, "project": 1, "last_action": None, **more}


def send(client: Client, action: str, **more: Any) -> None:
    """Send an event, and wait until it was carried out."""
    answer = client.post("/webhook", json={"action": action, "project": PROJECT, **more})
    assert answer.status_code == 200, answer.text
    client.service.messages.join()


def changed(client: Client, action: str, number: int, *labels: str, **more: Any) -> None:
    made = annotation(number, *labels, **more)
    send(client, f"ANNOTATION_{action}", annotation=made, task=task(number))


def images(client: Client) -> dict[str, str]:
    return {event.sha256: event.label for event in client.service.learner.journal.learned()}


def test_the_model_follows_the_annotations(client: Client) -> None:
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
    # The second image is missing.
    many = [annotation(20 + n, COLOURS[n]) for n in range(3)]
    tasks = [task(20), task(21, "/data/upload/1/none.png"), task(22)]
    send(client, "ANNOTATIONS_CREATED", annotation=many, task=tasks)
    # The page changed a label.
    (event,) = client.service.learner.journal.learned("key LIKE ?", "label-studio a100 %")
    client.service.learner.undo(event.seq, "blue").result()
    send(client, "ANNOTATIONS_DELETED", annotations=[{"id": 100}])
    send(client, "TASKS_CREATED", tasks=[task(25)])
    send(client, "START_TRAINING")
    left = {n: COLOURS[n % 3] for n in (1, 2, 6, 7, 8, 9, 11)} | {20: "red", 22: "blue"}
    assert images(client) == {sha256(png(n, n % 3)).hexdigest(): left[n] for n in left}


def test_each_task_gets_one_prediction(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        changed(client, "CREATED", number, COLOURS[number % 3])
    asked = {"project": "1.1796239263", "label_config": CONFIG, "params": {"context": None}}
    some = [task(1), task(2), task(3, "/data/upload/1/broken"), task(4, 7), task(7)]
    results = client.post("/predict", json={"tasks": some, **asked}).json()["results"]
    labels = [one["result"][0]["value"]["choices"][0] if one["result"] else "" for one in results]
    assert labels == ["green", "blue", "", "", "green"]
    assert [one["model_version"] for one in results] == ["6"] * 5
    assert results[0]["result"] == annotation(0, "green")["result"]
    assert 0.3 < results[0]["score"] <= 1 == 1 + results[2]["score"]
    assert client.get("/versions").json() == {"versions": ["6"]}
    told = capsys.readouterr().out
    assert "task 3: the image is damaged" in told
    assert "task 4: 7 is not an image below http://127.0.0.1" in told
    # The project does not have the class.
    few = {"tasks": [task(1)], "label_config": CONFIG.replace("green", "yellow")}
    assert client.post("/predict", json=few).json()["results"][0]["result"] == []
    assert client.predict(png(1, 1)).json()["predictions"][0]["label"] == "green"
    for config in ("<View>", "<View/>"):
        wrong = client.post("/predict", json={"tasks": [], "label_config": config})
        assert (wrong.status_code, "labelling interface" in wrong.text) == (422, True)


def test_images_of_the_exact_origin_alone_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    for origin in ("localhost:8080", "ftp://a", "http://a/b", "http://u:p@a", "http://"):
        with pytest.raises(InputError, match="is not an origin"):
            Remote(origin)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "legacy")
    with fake() as other, fake(other.origin) as own:
        remote, host = Remote(own.origin), own.origin.removeprefix("http://")
        there = other.origin.removeprefix("http://")
        assert remote.image("/data/local-files/?d=a%20b.png") == png(90)
        assert remote.image(f"{own.origin}/data/upload/1/1.png") == png(1, 1)
        for start in (f"http://{there}", f"//{there}", f"http://{host}@{there}", f"https://{host}"):
            with pytest.raises(InputError, match="is not an image below"):
                remote.image(f"{start}/data/upload/1/0.png")
        for address in ("file:///data/a.png", "/data/../api/projects/1/", "/api/projects/1/", None):
            with pytest.raises(InputError, match="is not an image below"):
                remote.image(address)
        assert len(own.seen) == 2
        for path, said in (("/data/moved", "status 302"), ("/data/upload/1/large", "10485761")):
            with pytest.raises(InputError, match=said):
                remote.image(path)
        assert other.seen == []


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Learner(blank("slda"), tmp_path)) as learner, fake() as remote:
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", "a.personal.one")
        personal = Remote(remote.origin + "/")
        for number in range(2):
            personal.image(f"/data/upload/1/{number}.png")
        assert remote.seen == ["/api/token/refresh/", "Bearer short"] * 2
        monkeypatch.delenv("LABEL_STUDIO_API_KEY")
        client = Client(LabelStudio(remote.origin, None, learner, "pass:word"))
        asked = {"tasks": [task(1)], "label_config": CONFIG}
        for wrong in ("", "Basic !", "Basic YTpi", "Basic /w==", "Bearer"):
            header = {"Authorization": wrong}
            assert client.post("/predict", json=asked, headers=header).status_code == 401
        client.headers["Authorization"] = "Basic " + base64.b64encode(b"any:pass:word").decode()
        denied = client.post("/predict", json=asked)
        assert (denied.status_code, "set LABEL_STUDIO_API_KEY" in denied.text) == (502, True)
        setup = {"project": "1.1796239263", "schema": CONFIG, "access_token": "legacy"}
        assert client.post("/setup", json=setup).json() == {"model_version": "0"}
        assert client.post("/predict", json=asked).status_code == 200


def test_an_export_brings_missed_events_in(client: Client, tmp_path: Path) -> None:
    for number in range(6):
        changed(client, "CREATED", number, COLOURS[number % 3])
    client.learn(png(25), "red")  # on the page
    left = {0: "red", 1: "blue", 3: "red", 4: "green", 8: "green"}
    made = [{**task(n), "annotations": [annotation(n, label)]} for n, label in left.items()]
    (tmp_path / "a.json").write_text(json.dumps(made))
    service = client.service
    for _ in range(2):
        again = LabelStudio(service.remote.origin, tmp_path / "a.json", service.learner)
        again.messages.join()
        assert sorted(images(client).values()) == [*["blue", "green"], "green", *["red"] * 3]
        # One was relabelled, one learned and two undone.
        assert service.learner.journal.last == 7 + 2 + 1 + 2
    (tmp_path / "a.json").write_text("[1]")
    for file in (tmp_path, tmp_path / "a.json"):
        with pytest.raises(InputError, match="is not an export"):
            LabelStudio("http://a", file, service.learner)
