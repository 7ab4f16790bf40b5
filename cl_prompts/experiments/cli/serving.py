"""Command that serves a model over HTTP."""

from __future__ import annotations

from pathlib import Path

from cl_prompts.errors import InputError


def serve(
    model: Path | None = None,
    *,
    new: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    no_images: bool = False,
    unknown: float = 0.05,
    quota: float = 10,
    data_dir: Path | None = None,
    export: Path | None = None,
    backbone: str | None = None,
    weights: Path | None = None,
    device: str = "auto",
    trust_code: bool = False,
) -> None:
    """Serve a model that learns, undoes and forgets images while it predicts.

    Args:
        new: serve a model of this name that has no class yet, instead of MODEL.
        host: address to listen on; other machines need --token.
        port: to listen on; 0: a free one.
        token: that clients must send (default: none, for this machine alone).
        no_images: do not store images, only their features.
        unknown: share of images of known classes that may be labelled 'unknown'; 0: none.
        quota: gigabytes of the journal above which nothing is stored.
        data_dir: folder of the journal (default: models/NAME.live).
        export: write the model as it is now to this folder, and do not serve.
        backbone: of a new model (default: a small ViT for photos).
        weights: file of the backbone's weights (default: from the hub).
        device: where to compute (default: a GPU if there is one).
    """
    if (model is None) == (new is None):
        raise InputError("give either a model, such as latest, or --new NAME")
    if not 0 <= unknown < 1:
        raise InputError(f"--unknown is {unknown}: give a share below 1, such as 0.05")
    if model is not None and (backbone, weights) != (None, None):
        raise InputError("--backbone and --weights are for a new model: leave them out")
    try:
        from cl_prompts.serving import command
    except ModuleNotFoundError as error:
        if str(error.name).startswith("cl_prompts"):
            raise
        raise InputError(f"serve needs {error.name}: pip install cl-prompts[serve]") from error
    command.check_address(host, token)
    place = data_dir or command.default_folder(model, new)
    if new is None:
        base = command.loaded(Path(str(model)), device, trust_code)
    else:
        base = command.new_model(place, backbone, weights, device)
    options = {"rate": unknown, "keep_images": not no_images, "quota": int(quota * 2**30)}
    if export is not None:
        command.export(base, place, export)
        return
    command.serve(base, place, host, port, token, options)
