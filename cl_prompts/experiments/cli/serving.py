"""Command that serves a model over HTTP."""

from contextlib import closing
from pathlib import Path

from cl_prompts.errors import InputError
from cl_prompts.experiments.trained import MODELS
from cl_prompts.user_code import extra


def serve(
    model: Path | None = None,
    *,
    new: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    no_images: bool = False,
    data_dir: Path | None = None,
    export: Path | None = None,
    label_studio: str | None = None,
    reconcile: Path | None = None,
    backbone: str | None = None,
    weights: Path | None = None,
) -> None:
    """Serve a model that learns, undoes and forgets images while it predicts.

    Args:
        new: serve a model of this name that has no class yet, instead of MODEL.
        host: address to listen on; other machines need --token.
        port: to listen on; 0: a free one.
        token: that clients must send (default: none, for this machine alone).
        no_images: do not store images, only their features.
        data_dir: folder of the journal (default: models/NAME.live).
        export: write the model as it is now to this folder, and do not serve.
        label_studio: origin of a Label Studio whose annotations are learned.
        reconcile: export of its project (JSON), from which missed annotations are learned.
        backbone: of a new model (default: a small ViT for photos).
        weights: file of the backbone's weights (default: from the hub).
    """
    if (model is None) == (new is None):
        raise InputError("give either a model, such as latest, or --new NAME")
    if export is not None and export.exists():
        raise InputError(f"{export} exists already: give another folder")
    if host not in ("127.0.0.1", "localhost") and not token:
        raise InputError(f"{host} is open to other machines: give --token too")
    if reconcile and not label_studio:
        raise InputError("--reconcile needs --label-studio URL")
    print(f"loading {new if model is None else model} ...", flush=True)
    command = extra("cl_prompts.serving.command", "cl-prompts[serve]", "serve")
    from cl_prompts.experiments.trained.model import Model
    from cl_prompts.serving.learner import Learner

    folder = data_dir or MODELS / f"{new if model is None else model.name}.live"
    base = command.new_model(folder, backbone, weights) if model is None else Model.load(model)
    with closing(Learner(base, folder, keep_images=not no_images)) as learner:
        if export is not None:
            made = learner.model()
            made.save(export)
            print(f"{export}: {made}")
        else:
            command.serve(learner, host, port, token, label_studio, reconcile)
