"""How an exported model is used: labels, images, and a script of five lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torchvision.transforms import InterpolationMode, v2

from cl_prompts.datasets.registry import fixed_transform
from cl_prompts.experiments.recipes.names import is_dotted
from cl_prompts.experiments.trained.loading import TrainedRun

#: entry of an exported file that says how it is used
ABOUT = "about.json"
_IMPORTS = "import json, {library}, torchvision.io as io, torchvision.transforms.v2.functional as f"
_BICUBIC = 3  # as torchvision's functions take it


def about(trained: TrainedRun) -> dict[str, Any]:
    """Facts that a user of an exported model needs, as JSON has them: ``labels`` by column,
    ``image_size`` in pixels, order of the ``channels``, range of the ``pixels``, whether an image
    has ``several_labels``, and the score that one of these has to exceed, ``threshold``."""
    model = trained.strategy.model
    normalised = not model.backbone.normalises
    return {
        "labels": list(trained.classes),
        "image_size": trained.image_size,
        "channels": "RGB",
        "pixels": "as the data set normalises them" if normalised else "0 to 1",
        "several_labels": model.multi_label,
        "threshold": (model.score_threshold or 0.0) if model.multi_label else None,
    }


def script(trained: TrainedRun, file: Path, form: Literal["torch", "onnx"]) -> str:
    """Five lines of Python that label an image with an exported model.

    Args:
        trained: the run that was exported.
        file: that was written.
        form: of the file.
    """
    if form == "torch":
        opened = [
            _IMPORTS.format(library="torch"),
            f'files = {{"{ABOUT}": ""}}',
            f"model = torch.jit.load({str(file)!r}, _extra_files=files)",
        ]
        labels = f'json.loads(files["{ABOUT}"])["labels"]'
        scores = "model(image[None])[0]"
    else:
        found = f'model.get_modelmeta().custom_metadata_map["{ABOUT}"]'
        opened = [
            _IMPORTS.format(library="onnxruntime"),
            f"model = onnxruntime.InferenceSession({str(file)!r})",
            f'labels = json.loads({found})["labels"]',
        ]
        labels = "labels"
        scores = 'model.run(None, {"images": image[None].numpy()})[0][0]'
    facts = about(trained)
    chosen = f"print({labels}[{scores}.argmax()])"
    if facts["several_labels"]:
        pairs = f"zip({labels}, {scores})"
        chosen = f"print([label for label, z in {pairs} if z > {facts['threshold']}])"
    return "\n".join([*opened, f"image = {_image(trained)}", chosen])


def _image(trained: TrainedRun) -> str:
    """Python that makes what a test image of the run's data set becomes."""
    name, arguments = trained.settings.section("dataset")
    if is_dotted(name):
        return f"...  # (3, {trained.image_size}, {trained.image_size}), as {name} makes them"
    image = 'io.read_image("image.png", io.ImageReadMode.RGB)'
    transform = fixed_transform(name, trained.image_size, arguments.get("crop"))
    for step in transform.transforms if isinstance(transform, v2.Compose) else ():
        if isinstance(step, v2.Resize):
            bicubic = step.interpolation == InterpolationMode.BICUBIC
            how = f", interpolation={_BICUBIC}" if bicubic else ""
            image = f"f.resize({image}, {list(step.size or ())}{how})"
        elif isinstance(step, v2.CenterCrop):
            image = f"f.center_crop({image}, {list(step.size)})"
    return f"{image} / 255"
