"""What ``cl-prompts serve`` does."""

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn

from cl_prompts.errors import InputError
from cl_prompts.experiments.trained.model import Model
from cl_prompts.experiments.trained.training import untrained
from cl_prompts.serving.app import Service
from cl_prompts.serving.label_studio import LabelStudio
from cl_prompts.serving.learner import Learner


def new_model(folder: Path, backbone: str | None = None, weights: Path | None = None) -> Model:
    """Return a model without images; its folder remembers the backbone."""
    place = folder / "new"
    if not place.is_dir():
        about: Any = SimpleNamespace(
            shorter_side=100,
            colourful=True,
            classes=("-",),  # a column that leaves, since it has no image
            multi_label=False,
            settings={"name": "folder"},
        )
        untrained(about, backbone=backbone, weights=weights).save(place)
    return Model.load(place)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        InputError: the port is in use, or does not exist.
    """
    try:
        made = socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        reason = str(error).partition(" (")[0].rstrip(".")
        raise InputError(f"{host}:{port} cannot be used: {reason}. Give another --port") from error
    # Else the body of an answer waits 40 ms for a receipt of its header.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def serve(
    learner: Learner,
    host: str,
    port: int,
    token: str | None,
    label_studio: str | None = None,
    reconcile: Path | None = None,
) -> None:
    """Serve a model until Ctrl-C.

    Raises:
        InputError: the port is in use, or there is another fault of the command line.
    """
    # The forward pass asks for the lock of the interpreter after each operation.
    sys.setswitchinterval(0.0005)
    with listen(host, port) as listening:
        if label_studio is None:
            service = Service(learner, token)
        else:
            service = LabelStudio(label_studio, reconcile, learner, token)
        card, classes = learner.base.card, learner.snapshot.classes
        print(f"{card.method}, {len(classes)} classes; journal: {learner.folder}")
        if learner.refusal is not None:
            print(f"predictions only: {learner.refusal}")
        print(f"open http://{host}:{listening.getsockname()[1]}; Ctrl-C ends", flush=True)
        config = uvicorn.Config(
            service.app, log_level="warning", server_header=False, timeout_graceful_shutdown=30
        )
        uvicorn.Server(config).run(sockets=[listening])
