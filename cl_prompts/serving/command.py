"""What ``cl-prompts serve`` does."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn

from cl_prompts.errors import InputError
from cl_prompts.experiments.trained import MODELS
from cl_prompts.experiments.trained.model import Model
from cl_prompts.experiments.trained.training import untrained
from cl_prompts.serving.app import Service
from cl_prompts.serving.learner import Learner

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_address(host: str, token: str | None) -> None:
    """Refuse to serve other machines without a token.

    Raises:
        InputError: a public address and no token, or a token that headers cannot have.
    """
    if host not in _LOOPBACK and token is None:
        raise InputError(f"{host} is open to other machines: give --token too")
    if token is not None and (len(token) < 8 or not token.isascii() or not token.isprintable()):
        raise InputError("--token needs 8 or more printable ASCII characters")


def default_folder(model: Path | None, new: str | None) -> Path:
    """Return the folder of the journal of a model."""
    if model is None:
        return MODELS / f"{new}.live"
    run = (model / "config.yaml").is_file()
    name = model.resolve().parent.parent.name if run else model.name
    return MODELS / f"{name}.live"


def loaded(model: Path, device: str, trust_code: bool) -> Model:
    """Load a model."""
    return Model.load(model, device=device, trust_code=trust_code)


def new_model(folder: Path, backbone: str | None, weights: Path | None, device: str) -> Model:
    """Return a model without images; its folder remembers the backbone.

    Raises:
        InputError: another backbone than in the session before.
    """
    place = folder / "new"
    if place.is_dir():
        model = Model.load(place, device=device)
        if backbone not in (None, model.card.backbone.name):
            raise InputError(
                f"{folder} was begun with {model.card.backbone.name}: leave --backbone out"
            )
        return model
    about: Any = SimpleNamespace(
        shorter_side=100,
        colourful=True,
        classes=("-",),  # a column that leaves, since it has no image
        multi_label=False,
        settings={"name": "folder"},
    )
    model = untrained(about, backbone=backbone, weights=weights, device=device)
    model.save(place)
    return model


def export(model: Model, folder: Path, out: Path) -> None:
    """Write a model with all that its journal says.

    Raises:
        InputError: the folder exists, a server uses the journal, or no image was learned.
    """
    if out.exists():
        raise InputError(f"{out} exists already: choose another --export")
    with closing(Learner(model, folder)) as learner:
        made = learner.model()
    made.save(out)
    print(f"{out}: {made}")


def serve(
    model: Model, folder: Path, host: str, port: int, token: str | None, options: dict[str, Any]
) -> None:
    """Serve a model until Ctrl-C.

    Raises:
        InputError: the port is in use, or the folder.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"{host}:{port} cannot be used: {error}. Give another --port") from (
                error
            )
        learner = Learner(model, folder, **options)
        with closing(Service(learner, token)) as service:
            shown = f"[{host}]" if ":" in host else host
            address = f"http://{shown}:{listening.getsockname()[1]}"
            print(
                f"{model.card.method}, {len(learner.snapshot.classes)} classes; journal: {folder}"
            )
            if learner.refusal is not None:
                print(f"predictions only: {learner.refusal}")
            print(f"open {address}; Ctrl-C ends", flush=True)
            config = uvicorn.Config(
                service.app, log_level="warning", server_header=False, timeout_graceful_shutdown=5
            )
            uvicorn.Server(config).run(sockets=[listening])
