"""What ``cl-prompts serve`` does."""

import logging
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn

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


def serve(
    learner: Learner,
    listening: socket.socket,
    token: str | None,
    label_studio: str | None,
    reconcile: Path | None,
) -> None:
    """Serve a model on a listening socket until Ctrl-C.

    Raises:
        InputError: ``label_studio`` is not an origin, or ``reconcile`` is not an export.
    """
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    logging.getLogger("cl_prompts.serving").setLevel(logging.INFO)
    # The forward pass asks for the lock of the interpreter after each operation.
    sys.setswitchinterval(0.0005)
    if label_studio is None:
        service = Service(learner, token)
    else:
        service = LabelStudio(label_studio, reconcile, learner, token)
    card, classes = learner.base.card, learner.snapshot.classes
    print(f"{card.method}, {len(classes)} classes; journal: {learner.folder}")
    if learner.refusal is not None:
        print(f"predictions only: {learner.refusal}")
    host, port = listening.getsockname()[:2]
    print(f"open http://{host}:{port}; Ctrl-C ends", flush=True)
    config = uvicorn.Config(
        service.app, log_level="warning", server_header=False, timeout_graceful_shutdown=30
    )
    uvicorn.Server(config).run(sockets=[listening])
