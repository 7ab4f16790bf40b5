"""HTTP calls of a serving model."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from cl_prompts.errors import InputError, RunError
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.serving.guard import Guard, refusal
from cl_prompts.serving.learner import Answer, Learner
from cl_prompts.serving.passes import Passes
from cl_prompts.serving.snapshot import Refused
from cl_prompts.serving.uploads import check_transform, media_type, prepared
from cl_prompts.versions import __version__

_PAGE = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_RECENT, _WINDOW = 500, 50  # images of an accuracy, and of a point of its curve
_MOST_IMAGES = 64  # of a request


#: a label that is too long gets a sentence of its own
_Text = Annotated[str, Field(max_length=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Learn(_Body):
    """Body of ``/learn`` for an image that was predicted."""

    id: _Text
    label: _Text
    key: _Text | None = None


class Undo(_Body):
    """Body of ``/undo``."""

    event: Annotated[int, Field(ge=1, le=2**62)]
    key: _Text | None = None


class Relabel(Undo):
    """Body of ``/relabel``."""

    label: _Text


class _Call(NamedTuple):
    """A call: its method and path, what it does, and the schema of its JSON body."""

    method: str
    path: str
    name: str
    summary: str
    body: type[_Body] | None = None
    form: tuple[str, ...] = ()


CALLS = (
    _Call("POST", "/predict", "predict", "Label images", form=("image",)),
    _Call("POST", "/learn", "learn", "Learn an image", Learn, ("image", "label", "key")),
    _Call("POST", "/undo", "undo", "Undo a learned image", Undo),
    _Call("POST", "/relabel", "relabel", "Change the label of a learned image", Relabel),
    _Call("DELETE", "/class/{name}", "delete", "Forget a class"),
    _Call("GET", "/queue", "queue", "Predicted images, the least certain first"),
    _Call("GET", "/events", "events", "Learned images and undos, the newest first"),
    _Call("GET", "/image/{sha256}", "image", "A stored image"),
    _Call("GET", "/stats", "stats", "Classes, prequential accuracy and latency"),
    _Call("GET", "/snapshot", "download", "The model as a zipped folder"),
    _Call("GET", "/health", "health", "Whether the server lives"),
    _Call("GET", "/openapi.json", "openapi", "This description"),
)
_B = TypeVar("_B", bound=_Body)


class Service:
    """HTTP calls on a learner.

    Args:
        learner: the model.
        token: see :class:`~cl_prompts.serving.guard.Guard`.
    """

    def __init__(self, learner: Learner, token: str | None = None) -> None:
        check_transform(learner.base.card)
        self.learner = learner
        network = learner.base.network
        device = network.seen.device
        encode: Callable[[Tensor], Tensor] = network
        if learner.refusal is None and isinstance(network, PrototypeViT):
            encode = network.features
        self.passes = Passes(lambda images: encode(images.to(device)).float().cpu())
        self._times: dict[str, deque[float]] = {"predict": deque(maxlen=_RECENT)}
        self._times["learn"] = deque(maxlen=_RECENT)
        routes = [
            Route(call.path, getattr(self, call.name), methods=[call.method]) for call in CALLS
        ]
        routes += [Route("/", self.page), Route("/{file:str}", self.page)]
        handlers: dict[Any, Any] = {
            Refused: lambda _, error: refusal(error),
            InputError: lambda _, error: refusal(Refused(422, str(error))),
            RunError: lambda _, error: refusal(Refused(503, str(error))),
            HTTPException: lambda _, error: refusal(
                Refused(error.status_code, f"{error.detail}: GET /openapi.json lists the calls")
            ),
            Exception: lambda _, error: refusal(Refused(500, "the server has an internal fault")),
        }
        self.app = Guard(Starlette(routes=routes, exception_handlers=handlers), token)

    def close(self) -> None:
        """End the threads, and write what is not written yet."""
        self.passes.close()
        self.learner.close()

    # ------------------------------------------------------------------------------------ calls

    async def predict(self, request: Request) -> Response:
        """Label images."""
        began = time.monotonic()
        with self.passes.place():
            form = await self._form(request)
            contents = [await _content(file) for file in form.getlist("image")]
            if not contents:
                raise Refused(422, "the form has no image: send a field image for each")
            made = await asyncio.gather(*(self._predicted(content) for content in contents))
        self._times["predict"].append(1000 * (time.monotonic() - began))
        return JSONResponse({"predictions": made})

    async def _predicted(self, content: bytes) -> Answer:
        sha256, encoded = await self._encoded(content)
        return self.learner.predicted(sha256, encoded, content, secrets.token_hex(8))

    async def learn(self, request: Request) -> Response:
        """Learn an image."""
        if self.learner.refusal is not None:
            raise Refused(409, self.learner.refusal)
        with self.passes.place():
            if request.headers.get("content-type", "").startswith("application/json"):
                given = await _read(request, Learn)
                future = self.learner.learn_prediction(given.id, given.label, given.key)
            else:
                form = await self._form(request)
                content, key = await _content(form.get("image")), form.get("key")
                sha256, encoded = await self._encoded(content)
                label, key = str(form.get("label") or ""), None if key is None else str(key)
                future = self.learner.learn_image(sha256, encoded, content, label, key)
            answer = await asyncio.wrap_future(future)
        if "milliseconds" in answer:
            self._times["learn"].append(answer["milliseconds"])
        return JSONResponse(answer)

    async def undo(self, request: Request) -> Response:
        """Undo a learned image."""
        given = await _read(request, Undo)
        return JSONResponse(await asyncio.wrap_future(self.learner.undo(given.event, given.key)))

    async def relabel(self, request: Request) -> Response:
        """Change the label of a learned image."""
        given = await _read(request, Relabel)
        future = self.learner.relabel(given.event, given.label, given.key)
        return JSONResponse(await asyncio.wrap_future(future))

    async def delete(self, request: Request) -> Response:
        """Forget a class."""
        future = self.learner.delete(request.path_params["name"])
        return JSONResponse(await asyncio.wrap_future(future))

    async def queue(self, request: Request) -> Response:
        """Return predicted images without a label."""
        most = _number(request, "limit", 50)
        if self.learner.refusal is None:
            await asyncio.wrap_future(self.learner.waited())
        found = await run_in_threadpool(self.learner.journal.queue, most)
        return JSONResponse({"queue": [one._asdict() for one in found]})

    async def events(self, request: Request) -> Response:
        """Return events, the newest first."""
        before, most = _number(request, "before", 2**62), _number(request, "limit", 100)
        found = await run_in_threadpool(self.learner.journal.recent, before, most)
        return JSONResponse({"events": found})

    async def image(self, request: Request) -> Response:
        """Return a stored image."""
        content = await run_in_threadpool(self.learner.journal.image, request.path_params["sha256"])
        if content is None:
            raise Refused(404, "this image is not stored")
        return Response(content, media_type=media_type(content))

    async def stats(self, request: Request) -> Response:
        """Return classes, accuracy and latency."""
        now = self.learner.snapshot
        times = {name: round(median(all_), 1) for name, all_ in self._times.items() if all_}
        found = {
            "model": self.learner.base.card.method,
            "version": now.version,
            "classes": list(now.classes),
            "learns": self.learner.refusal is None,
            "threshold": now.threshold,
            "milliseconds": times,
            "accuracy": await run_in_threadpool(self._accuracy),
        }
        return JSONResponse(found)

    def _accuracy(self) -> dict[str, Any]:
        """Prequential accuracy of the images that are not undone."""
        events = self.learner.journal.learned()
        hits = [event.predicted == event.label for event in events]
        by_class: dict[str, list[bool]] = {}
        for event, hit in zip(events, hits, strict=True):
            by_class.setdefault(event.label, []).append(hit)
        step = max(1, len(hits) // 100)
        curve = [
            [n, _mean(hits[max(0, n - _WINDOW) : n])] for n in range(step, len(hits) + 1, step)
        ]
        again = [one.label == two.label for one, two in pairwise(events)]
        return {
            "images": len(hits),
            "all": _mean(hits),
            "last_500": _mean(hits[-_RECENT:]),
            "last_label": _mean([False, *again][: len(hits)]),
            "per_class": {
                label: {"images": len(own), "accuracy": _mean(own)}
                for label, own in by_class.items()
            },
            "curve": curve,
        }

    async def download(self, request: Request) -> Response:
        """Return the model as a zipped folder."""
        place = Path(tempfile.mkdtemp(prefix="cl-prompts-"))
        try:
            return await run_in_threadpool(self._zipped, place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise

    def _zipped(self, place: Path) -> Response:
        self.learner.model().save(place / "model")
        file = shutil.make_archive(str(place / "zipped"), "zip", place, "model")
        remove = BackgroundTask(shutil.rmtree, place, ignore_errors=True)
        return FileResponse(
            file, filename="model.zip", media_type="application/zip", background=remove
        )

    async def health(self, request: Request) -> Response:
        """Say that the server lives."""
        return JSONResponse({"status": "UP"})

    async def openapi(self, request: Request) -> Response:
        """Describe the calls."""
        return JSONResponse(description())

    async def page(self, request: Request) -> Response:
        """Return the page, or a file of it."""
        name = request.path_params.get("file", "page.html")
        if name not in _PAGE:
            raise HTTPException(404)
        content = (Path(__file__).parent / name).read_bytes()
        return Response(content, media_type=_PAGE[name])

    # ---------------------------------------------------------------------------------- helpers

    async def _encoded(self, content: bytes) -> tuple[str, Tensor]:
        sha256, image = await run_in_threadpool(prepared, content, self.learner.base.card)
        return sha256, await asyncio.wrap_future(self.passes.submit(image))

    async def _form(self, request: Request) -> Any:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refused(415, "send the image as multipart/form-data")
        return await request.form(max_files=_MOST_IMAGES, max_fields=8)


def description() -> dict[str, Any]:
    """Return the OpenAPI description of the calls."""
    paths: dict[str, dict[str, Any]] = {}
    for call in CALLS:
        content: dict[str, Any] = {}
        if call.body is not None:
            content["application/json"] = {"schema": call.body.model_json_schema()}
        if call.form:
            fields = {name: {"type": "string"} for name in call.form}
            fields["image"]["format"] = "binary"
            schema = {"type": "object", "properties": fields, "required": ["image"]}
            content["multipart/form-data"] = {"schema": schema}
        about: dict[str, Any] = {"summary": call.summary, "operationId": call.name}
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


async def _read(request: Request, kind: type[_B]) -> _B:
    """Return a JSON body.

    Raises:
        Refused: it is not JSON, or has other fields.
    """
    try:
        return kind.model_validate(json.loads(await request.body()))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise Refused(422, f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise Refused(422, "the body is not JSON") from error


async def _content(file: Any) -> bytes:
    if not isinstance(file, UploadFile):
        raise Refused(422, "the field image is not a file")
    return await file.read()


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdecimal() or len(text) > 19 or int(text) > 2**62:
        raise Refused(422, f"{name} is a whole number")
    return int(text)


def _mean(hits: list[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None
