"""HTTP calls of a serving model."""

import asyncio
import secrets
import time
from collections import deque
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated, Any, ClassVar, NamedTuple
from zipfile import ZipFile

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from torch import Tensor

from cl_prompts.errors import InputError, RunError
from cl_prompts.serving.guard import Guard, refusal
from cl_prompts.serving.journal import Stored
from cl_prompts.serving.learner import Learner
from cl_prompts.serving.passes import Passes
from cl_prompts.serving.snapshot import Refused
from cl_prompts.serving.uploads import prepared
from cl_prompts.versions import __version__

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


class Call(NamedTuple):
    """A call: its method and path, what it does, and the schema of its JSON body."""

    method: str
    path: str
    name: str
    summary: str
    body: type[BaseModel] | None = None
    form: tuple[str, ...] = ()


CALLS = (
    Call("POST", "/predict", "predict", "Label images", form=("image",)),
    Call("POST", "/learn", "learn", "Learn an image", Learn, ("image", "label", "key")),
    Call("POST", "/undo", "undo", "Undo a learned image", Undo),
    Call("POST", "/relabel", "relabel", "Change the label of a learned image", Relabel),
    Call("DELETE", "/class/{name}", "delete", "Forget a class"),
    Call("GET", "/queue", "queue", "Predicted images, the least certain first"),
    Call("GET", "/events", "events", "Learned images and undos, the newest first"),
    Call("GET", "/image/{sha256}", "image", "A stored image"),
    Call("GET", "/stats", "stats", "Classes, prequential accuracy and latency"),
    Call("GET", "/snapshot", "download", "The model as a zipped folder"),
    Call("GET", "/health", "health", "Whether the server lives"),
    Call("GET", "/openapi.json", "openapi", "This description"),
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

        def features(images: Tensor) -> Tensor:
            return encode(images.to(network.seen.device)).float().cpu()

        self.passes = Passes(features)
        self._times: dict[str, deque[float]] = {
            name: deque(maxlen=_RECENT) for name in ("predict", "learn")
        }
        routes: list[Any] = [
            Route(call.path, getattr(self, call.name), methods=[call.method]) for call in self.calls
        ]
        page = StaticFiles(directory=Path(__file__).parent / "page", html=True)
        handlers: dict[object, Any] = {
            InputError: lambda _, error: refusal(error),
            RunError: lambda _, error: refusal(error),
            ValidationError: lambda _, error: refusal(_of_fields(error)),
            HTTPException: lambda _, error: refusal(
                Refused(error.status_code, f"{error.detail}: GET /openapi.json lists the calls")
            ),
            Exception: lambda _, error: refusal(Refused(500, "the server has an internal fault")),
        }
        app = Starlette(routes=[*routes, Mount("/", page)], exception_handlers=handlers)
        self.app = Guard(app, token)

    # ------------------------------------------------------------------------------------ calls

    async def predict(self, request: Request) -> Response:
        """Label images."""
        began = time.monotonic()
        with self.passes.place():
            form = await request.form(max_files=_MOST_IMAGES, max_fields=8)
            images = form.getlist("image")
            if not images:
                raise Refused(422, "the form has no image: send a field image for each")
            encoded = await asyncio.gather(*map(self._encoded, images))
        made = [self.learner.predicted(image, secrets.token_hex(8)) for image in encoded]
        self._times["predict"].append(1000 * (time.monotonic() - began))
        return JSONResponse({"predictions": made})

    async def learn(self, request: Request) -> Response:
        """Learn an image."""
        if self.learner.refusal is not None:
            raise Refused(409, self.learner.refusal)
        with self.passes.place():
            given: object
            image: Any
            if request.headers.get("content-type", "").startswith("application/json"):
                given = Learn.model_validate_json(await request.body())
                image = given.id
            else:
                form = dict(await request.form(max_files=1, max_fields=8))
                file = form.pop("image", None)
                given = Labelled.model_validate(form)
                image = await self._encoded(file)
            answer = await asyncio.wrap_future(self.learner.learn(image, given.label, given.key))
        self._times["learn"].append(answer["milliseconds"])
        return JSONResponse(answer)

    async def undo(self, request: Request) -> Response:
        """Undo a learned image."""
        given = Undo.model_validate_json(await request.body())
        return JSONResponse(await asyncio.wrap_future(self.learner.undo(given.event)))

    async def relabel(self, request: Request) -> Response:
        """Change the label of a learned image."""
        given = Relabel.model_validate_json(await request.body())
        future = self.learner.relabel(given.event, given.label)
        return JSONResponse(await asyncio.wrap_future(future))

    async def delete(self, request: Request) -> Response:
        """Forget a class."""
        future = self.learner.delete(request.path_params["name"])
        return JSONResponse(await asyncio.wrap_future(future))

    async def queue(self, request: Request) -> Response:
        """Return predicted images without a label."""
        return JSONResponse(await asyncio.wrap_future(self.learner.queue()))

    def events(self, request: Request) -> Response:
        """Return events, the newest first."""
        journal = self.learner.journal
        found = journal.events("seq > ?", journal.last - _RECENT)
        return JSONResponse({"events": [event._asdict() for event in reversed(found)]})

    def image(self, request: Request) -> Response:
        """Return a stored image."""
        content = self.learner.journal.image(request.path_params["sha256"])
        if content is None:
            raise Refused(404, "this image is not stored")
        return Response(content, media_type="application/octet-stream")

    def stats(self, request: Request) -> Response:
        """Return classes, accuracy and latency."""
        now = self.learner.snapshot
        times = {name: round(median(all_), 1) for name, all_ in self._times.items() if all_}
        return JSONResponse(
            {
                "model": self.learner.base.card.method,
                "version": now.version,
                "classes": list(now.classes),
                "learns": self.learner.refusal is None,
                "threshold": now.threshold,
                "milliseconds": times,
                "accuracy": self._accuracy(),
            }
        )

    def _accuracy(self) -> dict[str, object]:
        """Prequential accuracy of the images that are not undone."""
        scored = self.learner.journal.scored()
        hits = [hit for _, hit in scored]
        by_class: dict[str, list[int]] = {}
        for label, hit in scored:
            by_class.setdefault(label, []).append(hit)
        ends = range(max(1, len(hits) // 100), len(hits) + 1, max(1, len(hits) // 100))
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

    def download(self, request: Request) -> Response:
        """Return the model as a zipped folder."""
        with TemporaryDirectory() as place:
            folder, packed = Path(place), BytesIO()
            self.learner.model().write(folder)
            with ZipFile(packed, "w") as archive:  # sums hardly shrink
                for file in folder.iterdir():
                    archive.write(file, f"model/{file.name}")
            return Response(packed.getvalue(), media_type="application/zip")

    def health(self, request: Request) -> Response:
        """Say that the server lives."""
        return JSONResponse({"status": "UP"})

    def openapi(self, request: Request) -> Response:
        """Describe the calls."""
        return JSONResponse(description(self.calls))

    # ---------------------------------------------------------------------------------- helpers

    async def _encoded(self, file: object) -> Stored:
        if not isinstance(file, UploadFile):
            raise Refused(422, "the field image is not a file")
        return await run_in_threadpool(self.encoded, await file.read())

    def encoded(self, content: bytes) -> Stored:
        """Return an encoded image with its features; the caller waits for its forward pass."""
        sha256, image = prepared(content, self.learner.base.card)
        return Stored(sha256, self.passes.submit(image).result(), content)


def description(calls: tuple[Call, ...]) -> dict[str, object]:
    """Return the OpenAPI description of calls."""
    paths: dict[str, dict[str, object]] = {}
    for call in calls:
        content: dict[str, object] = {}
        if call.body is not None:
            content["application/json"] = {"schema": call.body.model_json_schema()}
        if call.form:
            fields = {name: {"type": "string"} for name in call.form}
            fields["image"]["format"] = "binary"
            schema = {"type": "object", "properties": fields, "required": ["image"]}
            content["multipart/form-data"] = {"schema": schema}
        about: dict[str, object] = {"summary": call.summary, "operationId": call.name}
        about["responses"] = {"200": {"description": call.summary}}
        if content:
            about["requestBody"] = {"required": True, "content": content}
        if "{" in call.path:
            name = call.path.partition("{")[2].rstrip("}")
            kind = {"type": "string"}
            about["parameters"] = [{"name": name, "in": "path", "required": True, "schema": kind}]
        paths.setdefault(call.path, {})[call.method.lower()] = about
    info = {"title": "cl-prompts serve", "version": __version__}
    return {"openapi": "3.1.0", "info": info, "paths": paths}


def _of_fields(error: ValidationError) -> Refused:
    first = error.errors()[0]
    return Refused(422, ": ".join([*map(str, first["loc"]), first["msg"]]))


def _mean(hits: list[int]) -> float | None:
    return sum(hits) / len(hits) if hits else None
