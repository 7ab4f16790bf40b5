"""Export trained models to files that run without cl-prompts."""

import json
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.onnx import register_custom_op_symbolic
from torch.onnx.symbolic_helper import parse_args
from torchvision.transforms import InterpolationMode, v2

from cl_prompts.datasets.registry import augmentation_of
from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.trained.model import Model
from cl_prompts.user_code import extra, is_dotted, label_of

Form = Literal["torch", "onnx"]
#: entry of an exported file with the facts for its use
ABOUT = "about.json"
_PACKAGES = "onnx onnxruntime"
_BICUBIC = 3  # as torchvision's functions take it


def about(model: Model) -> dict[str, object]:
    """Return facts for users of an exported model.

    ``labels`` by column, ``image_size`` in pixels, range of ``pixels``, ``several_labels`` per
    image, and the ``threshold`` for the score of each.
    """
    network = model.network
    raw = network.backbone.normalises
    return {
        "labels": list(model.classes),
        "image_size": model.card.backbone.image_size,
        "pixels": "0 to 1" if raw else "as the data set normalises them",
        "several_labels": network.multi_label,
        # A logit of 0 is a probability of 0.5.
        "threshold": (network.score_threshold or 0.0) if network.multi_label else None,
    }


def script(model: Model, file: Path, form: Form) -> str:
    """Return Python code that labels an 8-bit opaque image with the exported model."""
    if form == "torch":
        library, scores = "torch", "model(image[None])[0]"
        labels = f'json.loads(files["{ABOUT}"])["labels"]'
        opened = [
            f'files = {{"{ABOUT}": ""}}',
            f"model = torch.export.load({str(file)!r}, extra_files=files).module()",
        ]
    else:
        library, scores = "onnxruntime", 'model.run(None, {"images": image[None].numpy()})[0][0]'
        labels, found = "labels", f'model.get_modelmeta().custom_metadata_map["{ABOUT}"]'
        opened = [
            f"model = onnxruntime.InferenceSession({str(file)!r})",
            f'labels = json.loads({found})["labels"]',
        ]
    facts = about(model)
    chosen = f"{labels}[{scores}.argmax()]"
    if facts["several_labels"]:
        pairs = f"zip({labels}, {scores})"
        chosen = f"[label for label, z in {pairs} if z > {facts['threshold']}]"
    begin = f"import json, {library}, torchvision.transforms.v2.functional as f"
    opener = "from PIL import Image, ImageOps"
    return "\n".join([begin, opener, *opened, f"image = {_image(model)}", f"print({chosen})"])


def _image(model: Model) -> str:
    """Return a Python expression that transforms an image as those of the model were."""
    own, size = model.card.images, model.card.backbone.image_size
    name = own.dataset
    if is_dotted(name):
        return f"...  # (3, {size}, {size}), as {name} makes them"
    # Models apply the EXIF orientation, too.
    opened = 'ImageOps.exif_transpose(Image.open("image.png")).convert("RGB")'
    image = f"f.pil_to_tensor({opened})"
    transform: Any = augmentation_of(name, own.crop).test(size)
    for step in transform.transforms:
        if isinstance(step, v2.Resize):
            bicubic = step.interpolation == InterpolationMode.BICUBIC
            how = f", interpolation={_BICUBIC}" if bicubic else ""
            image = f"f.resize({image}, {list(step.size or ())}{how})"
        elif isinstance(step, v2.CenterCrop):
            image = f"f.center_crop({image}, {list(step.size)})"
    return f"{image} / 255"


_TRACED = 3  # images in the example batch; other batches must give the same logits
_CLOSE = 1e-4
_OPERATORS = 17  # version of ONNX's; older runtimes lack those of later ones


def export(model: Model, out: Path, form: Form) -> None:
    """Write a model to a file.

    * "torch" writes an exported program: ``torch.export.load(out).module()`` maps images (batch, 3,
      size, size) in [0, 1] to logits; those of classes never seen are -inf (0 with several labels
      per image). The extra file ``about.json`` holds what :func:`about` returns.
    * "onnx" writes an ONNX model with the same input, called ``images``, and output, called
      ``logits``. ``about.json`` is an entry of its metadata.

    Args:
        model: loaded on the CPU.
        out: file to write.
        form: of the file.

    Raises:
        InputError: the method or precision cannot be exported, or onnx or onnxruntime is missing.
    """
    if form == "onnx" and model.network.backbone.precision == "bf16":
        raise InputError(
            "ONNX Runtime cannot run bf16: train with --precision fp32, or use --torch"
        )
    files.replace(out, [_converted(model, form)])


def _as_program(model: nn.Module, images: Tensor, facts: str) -> tuple[bytes, Any]:
    """Return the file of a model, and the model in it."""
    batch = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(model, (images,), dynamic_shapes=(batch,), strict=False)
    content = BytesIO()
    torch.export.save(program, content, extra_files={ABOUT: facts})
    content.seek(0)
    return content.getvalue(), torch.export.load(content).module()


def _as_onnx(model: nn.Module, images: Tensor, facts: str) -> tuple[bytes, Any]:
    onnx, _ = (extra(name, _PACKAGES, "--onnx") for name in ("onnx", "onnxruntime"))
    # PyTorch has no ONNX translation of stable sorting, which decides ties between keys.
    register_custom_op_symbolic("aten::sort", _sorted, _OPERATORS)
    with TemporaryDirectory() as folder:
        place = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            (images,),
            place,
            input_names=["images"],
            output_names=["logits"],
            dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=_OPERATORS,
            # The newer exporter cannot trace prompted models.
            dynamo=False,
        )
        found = onnx.load(place)
    onnx.helper.set_model_props(found, {ABOUT: facts})
    content = found.SerializeToString()
    return content, onnx_scores(content)


def onnx_scores(content: bytes) -> Callable[[Tensor], Tensor]:
    """Return an ONNX model as a function of images, run by onnxruntime on the CPU."""
    runtime = extra("onnxruntime", _PACKAGES, "--onnx")
    runtime.set_default_logger_severity(4)  # its errors are raised as well
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _converted(trained: Model, form: Form) -> bytes:
    """Convert the model, and check its logits for batches of several sizes."""
    convert, words = (_as_program, "a program") if form == "torch" else (_as_onnx, "ONNX")
    unable = InputError(
        f"{label_of(trained.card.method)} cannot be exported as {words}: its forward pass has no"
        " fixed graph. docs/reference/matrix.md lists what can be exported"
    )
    size = trained.card.backbone.image_size
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * _TRACED + 1, 3, size, size, generator=generator)
    model = trained.network
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing is checked below
            model(images[:_TRACED])  # solve now, so that the graph has no solver
            content, found = convert(model, images[:_TRACED], json.dumps(about(trained)))
            # A traced graph may be right only for the traced batch size.
            same = all(
                torch.allclose(found(some), model(some), rtol=0, atol=_CLOSE)
                for some in (images, images[:1])
            )
    except InputError:
        raise
    except Exception as error:  # onnxruntime's have no base class of their own
        raise unable from error
    if not same:
        raise unable
    return content


@parse_args("v", "i", "i", "i")
def _sorted(g: Any, values: object, stable: int, dim: int, descending: int) -> object:
    """Translate a stable torch.sort: ONNX's TopK puts the lower index first among equals."""
    axis = g.op("Constant", value_t=torch.tensor([dim]))
    count = g.op("Gather", g.op("Shape", values), axis)
    return g.op("TopK", values, count, axis_i=dim, largest_i=descending, sorted_i=1, outputs=2)
