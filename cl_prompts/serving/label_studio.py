"""Label Studio's calls on a serving model: it pre-labels, and learns what is annotated."""

import json
import os
import queue
import re
import threading
from collections.abc import Callable
from http import client
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit
from xml.etree import ElementTree

from pydantic import BaseModel
from starlette.datastructures import FormData

from cl_prompts.errors import InputError
from cl_prompts.serving.app import CALLS, Call, Service
from cl_prompts.serving.journal import Event
from cl_prompts.serving.snapshot import Refused
from cl_prompts.serving.uploads import MOST_BYTES

_KEY = "LABEL_STUDIO_API_KEY"
_TIMEOUT = 10  # seconds


class _Annotation(BaseModel):
    id: int
    result: list[dict[str, Any]] = []
    was_cancelled: bool = False


class _Task(BaseModel):
    id: int
    project: int = 0
    data: dict[str, object] = {}
    annotations: list[_Annotation] = []


class Message(BaseModel):
    """Body of a call of Label Studio; it has some of these fields."""

    action: str = ""
    access_token: str = ""
    label_config: str = ""
    project: Any = None
    task: _Task | list[_Task] = []
    annotation: _Annotation | list[_Annotation] = []
    tasks: list[_Task] = []
    annotations: list[_Annotation] = []


def interface(config: str) -> tuple[str, list[str], dict[str, Any]]:
    """Return the field of tasks that has the image, the choices, and a result without a value.

    Raises:
        Refused: it is not XML, or has no choices of an image.

    Example:
        >>> interface('<View><Image name="i" value="$photo"/>'
        ...     '<Choices name="c" toName="i"><Choice value="cat"/></Choices></View>')
        ('photo', ['cat'], {'from_name': 'c', 'to_name': 'i', 'type': 'choices'})
    """
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise Refused(422, f"the labelling interface is not XML: {error}") from error
    images = {one.get("name"): one.get("value", "") for one in root.iter("Image")}
    for control in root.iter("Choices"):
        name, to = control.get("name"), control.get("toName")
        if to in images:
            choices = [one.get("alias", one.get("value", "")) for one in control.iter("Choice")]
            label = {"from_name": name, "to_name": to, "type": "choices"}
            return images[to].removeprefix("$"), choices, label
    raise Refused(422, "the labelling interface has no Choices of an Image")


class Remote:
    """Label Studio: requests to its origin alone, which follow no redirect.

    Args:
        origin: such as ``http://localhost:8080``.

    Example:
        >>> Remote("http://localhost:8080/").origin
        'http://localhost:8080'
    """

    def __init__(self, origin: str) -> None:
        if not re.fullmatch(r"https?://[^/?#@\\\s]+/?", origin):
            raise InputError(f"{origin} is not an origin such as http://localhost:8080")
        self.origin, self.token = origin.rstrip("/"), os.environ.get(_KEY, "")

    def image(self, address: object) -> bytes:
        """Fetch an image that a task names.

        Raises:
            Refused: it is elsewhere, missing or too large; 502: no image can be fetched.
        """
        url = urlsplit(urljoin(self.origin, str(address)))
        if f"{url.scheme}://{url.netloc}" != self.origin or not url.path.startswith("/data/"):
            raise Refused(422, f"{address} is not an image below {self.origin}/data/")
        return self.get(urlunsplit(("", "", url.path, url.query, "")))

    def get(self, path: str) -> bytes:
        """Fetch a path as the owner of the token."""
        if self.token.count(".") != 2:  # a legacy one
            return self._call(path, f"Token {self.token}")
        sent = json.dumps({"refresh": self.token})
        access = json.loads(self._call("/api/token/refresh/", "", sent))["access"]
        return self._call(path, f"Bearer {access}")

    def _call(self, path: str, authorization: str, body: str | None = None) -> bytes:
        scheme, _, host = self.origin.partition("://")
        kind = client.HTTPSConnection if scheme == "https" else client.HTTPConnection
        connection = kind(host, timeout=_TIMEOUT)
        headers = {"Authorization": authorization, "Content-Type": "application/json"}
        try:
            connection.request("POST" if body else "GET", quote(path, safe="/?=&%+"), body, headers)
            answer = connection.getresponse()
            content = answer.read(MOST_BYTES + 1)
        except (OSError, client.HTTPException) as error:
            raise Refused(502, f"{self.origin} does not answer: {error}") from error
        finally:
            connection.close()
        if answer.status in (401, 403):
            raise Refused(502, f"{self.origin} denies access: set {_KEY} to your access token")
        if answer.status != 200 or len(content) > MOST_BYTES:
            raise Refused(404, f"{path}: status {answer.status}, {len(content)} bytes")
        return content


class LabelStudio(Service):
    """HTTP calls on a learner, with those of Label Studio.

    Args:
        origin: of Label Studio.
        export: of a project, as JSON: annotations that were missed are learned or undone.
        service: see :class:`~cl_prompts.serving.app.Service`.

    Raises:
        InputError: not an origin, or not an export.
    """

    calls = (
        *(call._replace(body=Message) if call.name == "predict" else call for call in CALLS),
        Call("POST", "/setup", "setup", Message),
        Call("POST", "/webhook", "webhook", Message),
        Call("GET", "/versions", "versions"),
    )

    def __init__(self, origin: str, export: Path | None, *service: Any) -> None:
        super().__init__(*service)
        self.remote = Remote(origin)
        self.messages: queue.Queue[Message] = queue.Queue()
        if export is not None:
            try:
                given = b'{"action": "RECONCILE", "tasks": %s}' % export.read_bytes()
                self.messages.put(Message.model_validate_json(given))
            except (OSError, ValueError) as error:
                raise InputError(f"{export} is not an export of Label Studio as JSON") from error
        threading.Thread(target=self._work, name="label-studio", daemon=True).start()

    def setup(self, given: Message) -> Any:
        """Take the token of the project's owner, if the user gave none."""
        self.remote.token = self.remote.token or given.access_token
        return {"model_version": str(self.learner.snapshot.version)}

    def versions(self, given: object) -> Any:
        """Return the version that predicts."""
        return {"versions": [str(self.learner.snapshot.version)]}

    def webhook(self, given: Message) -> Any:
        """Queue what happened: Label Studio waits for an answer, but only for a second."""
        self.messages.put(given)
        return {"waiting": self.messages.qsize()}

    def predict(self, given: Message | FormData) -> Any:
        """Label images, or tasks of Label Studio."""
        if isinstance(given, FormData):
            return super().predict(given)
        return {"results": self._results(given)}

    def _results(self, given: Message) -> list[dict[str, Any]]:
        """Return one prediction for each task, as Label Studio expects, perhaps an empty one."""
        field, choices, label = interface(given.label_config)
        results = []
        for task in given.tasks:
            made = {"label": None, "probability": 0.0, "version": self.learner.snapshot.version}
            try:
                (image,) = self.encoded([self.remote.image(task.data.get(field))])
                made = self.learner.predicted(image, f"label-studio t{task.id}")
            except Refused as error:
                print(f"Label Studio, task {task.id}: {error}", flush=True)
                if error.status == 502:
                    raise
            found = [{**label, "value": {"choices": [made["label"]]}}]
            about = {"score": made["probability"], "model_version": str(made["version"])}
            results.append({"result": found if made["label"] in choices else [], **about})
        return results

    # -------------------------------------------------------------------------------- annotations

    def _work(self) -> None:
        while True:
            given = self.messages.get()
            _attempt(given.action, self._heard, given)
            self.messages.task_done()

    def _heard(self, given: Message) -> None:
        pairs, gone = list(zip(_all(given.task), _all(given.annotation), strict=True)), set()
        if given.action == "RECONCILE":
            project = given.tasks[0].project
            given.project = json.loads(self.remote.get(f"/api/projects/{project}/"))
            pairs = [(task, annotation) for task in given.tasks for annotation in task.annotations]
            gone = {str(event.key).split()[1] for event in self._live(f"p{project}")}
            gone -= {f"a{annotation.id}" for _, annotation in pairs}
        elif given.action in ("ANNOTATIONS_DELETED", "TASKS_DELETED"):
            gone = {f"a{x.id}" for x in given.annotations} | {f"t{x.id}" for x in given.tasks}
        self._undo(*gone)
        for task, one in pairs:
            _attempt(f"annotation {one.id}", self._follow, given.project["label_config"], task, one)

    def _follow(self, config: str, task: _Task, annotation: _Annotation) -> None:
        """Learn, relabel or undo, so that the model has the label of an annotation."""
        field, _, own = interface(config)
        found = [x for x in annotation.result if x.get("from_name") == own["from_name"]]
        labels = found[0]["value"]["choices"] if found and not annotation.was_cancelled else []
        name = f"a{annotation.id}"
        live = self._live(name)
        if len(labels) != 1:
            self._undo(name)
        elif not live:
            key = f"label-studio {name} t{task.id} p{task.project} {self.learner.journal.last}"
            (image,) = self.encoded([self.remote.image(task.data.get(field))])
            self.learner.learn(image, labels[0], key).result()
        elif live[0].label != labels[0]:
            self.learner.undo(live[0].seq, labels[0]).result()

    def _live(self, part: str) -> list[Event]:
        """Return learned images of an annotation (a17), a task (t5) or a project (p1)."""
        return self.learner.journal.learned("key LIKE ?", f"label-studio% {part} %")

    def _undo(self, *parts: str) -> None:
        for event in (event for part in parts for event in self._live(part)):
            self.learner.undo(event.seq).result()


def _all(given: object) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _attempt(what: str, change: Callable[..., None], *given: object) -> None:
    try:
        change(*given)
    except Exception as error:  # the next one follows
        print(f"Label Studio, {what}: {error}", flush=True)
