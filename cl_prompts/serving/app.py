"""HTTP calls of a serving model."""

import asyncio
import secrets
import shutil
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from cl_prompts.serving.guard import HANDLERS, Guard
from cl_prompts.serving.journal import Stored
from cl_prompts.serving.learner import Learner
from cl_prompts.serving.passes import WAITING, Passes
from cl_prompts.serving.snapshot import Refused
from cl_prompts.serving.uploads import prepared

_RECENT, _WINDOW = 500, 50  # images of an accuracy, and of a point of its curve
_MOST_IMAGES = 64  # of a request

#: a label that is too long gets a sentence of its own
_Text = Annotated[str, Field(max_length=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Labelled(_Body):
    """Fields beside an image that is to be learned."""

    label: _Text
    key: _Text | None = None


class Learn(Labelled):
    """Body of ``/learn`` for an image that was predicted."""

    id: _Text


class Undo(_Body):
    """Body of ``/undo``."""

    event: Annotated[int, Field(ge=1, le=2**62)]


class Relabel(Undo):
    """Body of ``/relabel``."""

    label: _Text


class Rename(_Body):
    """Body of ``/rename``."""

    name: _Text
    label: _Text


class Call(NamedTuple):
    """A call: its method and path, what it does, the schema of its JSON body, whether a form is
    accepted.
    """

    method: str
    path: str
    name: str
    body: type[BaseModel] | None = None
    form: bool = False


CALLS = (
    Call("POST", "/predict", "predict", form=True),
    Call("POST", "/learn", "learn", Learn, form=True),
    Call("POST", "/undo", "undo", Undo),
    Call("POST", "/relabel", "relabel", Relabel),
    Call("POST", "/rename", "rename", Rename),
    Call("DELETE", "/class/{name:path}", "delete"),
    Call("GET", "/queue", "queue"),
    Call("GET", "/events", "events"),
    Call("GET", "/image/{sha256}", "image"),
    Call("GET", "/stats", "stats"),
    Call("GET", "/snapshot", "download"),
    Call("GET", "/health", "health"),
)


class Service:
    """HTTP calls on a learner.

    Args:
        learner: the model.
        token: see :class:`~cl_prompts.serving.guard.Guard`.
    """

    calls: ClassVar[tuple[Call, ...]] = CALLS

    def __init__(self, learner: Learner, token: str | None = None) -> None:
        self.learner = learner
        network: Any = learner.base.network
        encode = network.features if learner.refusal is None else network
        self.passes = Passes(lambda images: encode(images.to(network.seen.device)).float().cpu())
        # Some threads are left when so many requests wait for passes.
        self._threads = ThreadPoolExecutor(WAITING + 16)
        self._times = {call.name: deque[float](maxlen=_RECENT) for call in self.calls}
        routes: list[Any] = [
            Route(call.path, partial(self._respond, call), methods=[call.method])
            for call in self.calls
        ]
        page = StaticFiles(directory=Path(__file__).parent / "page", html=True)
        app = Starlette(routes=[*routes, Mount("/", page)], exception_handlers=HANDLERS)
        self.app = Guard(app, token)

    async def _respond(self, call: Call, request: Request) -> Response:
        """Read a request and answer it in a worker thread."""
        began = time.monotonic()
        with self.passes.place() if call.form else nullcontext():
            given: Any = request.path_params
            is_json = request.headers.get("content-type", "").startswith("application/json")
            if call.body is not None and (is_json or not call.form):
                given = call.body.model_validate_json(await request.body())
            elif call.form:
                given = await request.form(max_files=_MOST_IMAGES, max_fields=8)
            loop = asyncio.get_running_loop()
            made = await loop.run_in_executor(self._threads, getattr(self, call.name), given)
        self._times[call.name].append(1000 * (time.monotonic() - began))
        return made if isinstance(made, Response) else JSONResponse(made)

    # ------------------------------------------------------------------------------------ calls

    def predict(self, form: FormData) -> Any:
        """Label images."""
        if not form.getlist("image"):
            raise Refused(422, "the form has no image: send a field image for each")
        encoded = self.encoded(list(map(_content, form.getlist("image"))))
        return {"predictions": [self.learner.predicted(i, secrets.token_hex(8)) for i in encoded]}

    def learn(self, given: Learn | FormData) -> Any:
        """Learn an image."""
        if self.learner.refusal is not None:  # before a forward pass
            raise Refused(409, self.learner.refusal)
        if isinstance(given, Learn):
            return self.learner.learn(given.id, given.label, given.key).result()
        fields = dict(given)
        content = _content(fields.pop("image", None))
        about = Labelled.model_validate(fields)
        (image,) = self.encoded([content])
        return self.learner.learn(image, about.label, about.key).result()

    def undo(self, given: Undo) -> Any:
        """Undo a learned image."""
        return self.learner.undo(given.event).result()

    def relabel(self, given: Relabel) -> Any:
        """Change the label of a learned image."""
        return self.learner.undo(given.event, given.label).result()

    def rename(self, given: Rename) -> Any:
        """Rename a class, or merge it into another."""
        return self.learner.rename(given.name, given.label).result()

    def delete(self, given: dict[str, str]) -> Any:
        """Forget a class."""
        return self.learner.rename(given["name"], None).result()

    def queue(self, given: object) -> Any:
        """Return predicted images without a label."""
        return {"queue": self.learner.queue()}

    def events(self, given: object) -> Any:
        """Return events, the newest first."""
        journal = self.learner.journal
        found = journal.events("seq > ?", journal.last - _RECENT)
        return {"events": [event._asdict() for event in reversed(found)]}

    def image(self, given: dict[str, str]) -> Response:
        """Return a stored image."""
        content = self.learner.journal.image(given["sha256"])
        if content is None:
            raise Refused(404, "this image is not stored")
        return Response(content, media_type="application/octet-stream")

    def stats(self, given: object) -> Any:
        """Return classes, accuracy and latency."""
        now, times, keys = self.learner.snapshot, self._times.items(), self.learner.keys
        counts = [None] * len(now.classes) if now.head is None else now.head.count.tolist()
        named = zip(now.classes, counts, strict=True)
        return {
            "name": self.learner.folder.name.removesuffix(".live"),
            "model": self.learner.base.card.method,
            "version": now.version,
            "classes": [{"label": x, "key": keys.get(x, ""), "images": n} for x, n in named],
            "learns": self.learner.refusal is None,
            "threshold": now.threshold,
            "milliseconds": {name: round(median(all_), 1) for name, all_ in times if all_},
            "accuracy": self._accuracy(),
        }

    def _accuracy(self) -> dict[str, Any]:
        """Prequential accuracy of the images that are not undone."""
        scored = self.learner.journal.scored()
        hits = [hit for _, hit in scored]
        by_class: dict[str, list[int]] = {}
        for label, hit in scored:
            by_class.setdefault(label, []).append(hit)
        step = max(1, len(hits) // 100)
        ends = range(step, len(hits) + 1, step)
        again = [one == two for (one, _), (two, _) in pairwise(scored)]
        return {
            "images": len(hits),
            "all": _mean(hits),
            "last_500": _mean(hits[-_RECENT:]),
            "last_label": _mean([0, *again][: len(hits)]),
            "per_class": {
                label: {"images": len(own), "accuracy": _mean(own)}
                for label, own in by_class.items()
            },
            "curve": [[n, _mean(hits[max(0, n - _WINDOW) : n])] for n in ends],
        }

    def download(self, given: object) -> Response:
        """Return the model as a zipped folder."""
        with TemporaryDirectory() as place:
            self.learner.model().write(Path(place, "model"))
            packed = shutil.make_archive(f"{place}/packed", "zip", place, "model")
            return Response(Path(packed).read_bytes(), media_type="application/zip")

    def health(self, given: object) -> Any:
        """Say that the server lives."""
        return {"status": "UP"}

    # ---------------------------------------------------------------------------------- helpers

    def encoded(self, contents: Sequence[bytes]) -> list[Stored]:
        """Return encoded images with their features; the caller waits for forward passes."""
        waiting = []
        for content in contents:
            sha256, image = prepared(content, self.learner.base.card)
            waiting.append((sha256, self.passes.submit(image), content))
        return [Stored(sha256, row.result(), content) for sha256, row, content in waiting]


def _content(file: Any) -> bytes:
    if not isinstance(file, UploadFile):
        raise Refused(422, "the field image is not a file")
    return file.file.read()


def _mean(hits: list[int]) -> float | None:
    return sum(hits) / len(hits) if hits else None
