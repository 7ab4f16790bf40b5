"""Models as files that need no cl-prompts."""

import json
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import ExifTags, Image
from torchvision.transforms.v2.functional import to_pil_image

from cl_prompts.datasets.decoding import decode
from cl_prompts.datasets.registry import augmentation_of
from cl_prompts.errors import InputError
from cl_prompts.experiments.trained import exporting
from cl_prompts.experiments.trained.card import Images
from cl_prompts.experiments.trained.model import Model
from tests.families.runs import begin
from tests.forked import forked
from tests.toy_data import MULTI_LABEL_SCENARIOS, experiences
from tests.toy_families import family_vit
from tests.toy_vits import lively_vit
from tests.toys import TABLE, fit, make

ROOT = Path(__file__).parents[3]
FORMS: tuple[exporting.Form, ...] = ("torch", "onnx")


@pytest.fixture(scope="module")
def trained(probe_run: Path) -> Model:
    return Model.load(probe_run, device="cpu", trust_code=True)


@pytest.fixture(scope="module")
def program(trained: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a program, whose export takes seconds."""
    file = tmp_path_factory.mktemp("program") / "model.pt2"
    exporting.export(trained, file, "torch")
    return file


def test_the_file_scores_as_the_model_and_needs_torch_alone(trained: Model, program: Path) -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    found = {exporting.ABOUT: ""}
    with torch.no_grad():
        loaded = torch.export.load(program, extra_files=found).module()
        assert torch.allclose(loaded(images), trained.network(images), atol=1e-5)
    assert json.loads(found[exporting.ABOUT]) == {
        "labels": list(trained.classes),
        "image_size": 16,
        "pixels": "0 to 1",
        "several_labels": False,
        "threshold": None,
    }

    def work() -> int:
        for name in list(sys.modules):
            if name.partition(".")[0] in ("cl_prompts", "timm", "torchvision", "avalanche"):
                sys.modules[name] = None  # refuses an import
        torch.export.load(program).module()(images)
        return 0

    done = forked(work)
    assert done.code == 0, done.err


#: with prompts in different blocks, or features of several
ON_TWO_BLOCKS = ("mvp", "dual_prompt", "flyprompt", "layup")


def learned(kind: str, family: str = "") -> Any:
    """A method that learned some images, on a ViT of as few blocks as it needs."""
    depth = 1 + (kind in ON_TWO_BLOCKS)
    own = TABLE[kind].two_blocks.items()
    blocks = {key: value if depth == 2 else (0,) for key, value in own if key.endswith("blocks")}
    vit = family_vit(family, depth=depth) if family else lively_vit(depth=depth)
    strategy = begin(kind, "class_incremental", backbone=vit, **blocks)
    return fit(strategy, experiences("class_incremental", train=24))


def toy(trained: Model, strategy: Any, kind: str) -> Model:
    images = Images(dataset="folder", crop=None)
    card = trained.card.model_copy(update={"method": kind, "images": images})
    return Model(strategy, card)


def test_what_has_no_such_file_is_refused(trained: Model, tmp_path: Path) -> None:
    lanes = toy(trained, make("multi_lane"), "multi_lane")
    with pytest.raises(InputError, match="multi_lane cannot be exported as a program"):
        exporting.export(lanes, tmp_path / "model.pt2", "torch")
    means = make("ncm")
    means.model.backbone.precision = "bf16"
    with pytest.raises(InputError, match="train with --precision fp32, or use --torch"):
        exporting.export(toy(trained, means, "ncm"), tmp_path / "model.onnx", "onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("form", "kind", "family"),
    [
        ("torch", "l2p", "dinov3"),
        ("onnx", "mvp", "dinov3"),
        ("onnx", "l2p", "siglip"),
        ("onnx", "ncm", "reg4_gap"),
    ],
)
def test_scores_of_a_file_are_those_of_predict(
    form: exporting.Form, kind: str, family: str, trained: Model, tmp_path: Path
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    strategy = learned(kind, family)
    exporting.export(toy(trained, strategy, kind), tmp_path / "model", form)
    if form == "torch":
        program = torch.export.load(tmp_path / "model").module()
    else:
        program = exporting.onnx_scores((tmp_path / "model").read_bytes())
    model = strategy.model.eval()
    for n in (1, 4):
        images = torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(n))
        with torch.no_grad():
            found, wanted = (m(images).softmax(dim=1) for m in (program, model))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("library", ["onnx", "onnxruntime"])
def test_the_extra_is_named_where_it_is_missing(
    library: str, trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if library == "onnxruntime":
        pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, library, None)
    says = rf"--onnx needs {library}, which is not installed: pip install onnx onnxruntime"
    with pytest.raises(InputError, match=says):
        exporting.export(trained, tmp_path / "model.onnx", "onnx")
    assert not list(tmp_path.iterdir())


def refused() -> dict[str, tuple[bool, bool]]:
    """Export support in docs/reference/matrix.md: no program, no ONNX."""
    page = (ROOT / "docs" / "reference" / "matrix.md").read_text()
    either = "(exported|refused)"
    rows = re.findall(rf"^\| (\w+) \| {either} \| {either} \| [^|]*\|$", page, re.MULTILINE)
    assert rows
    return {name: (torch_ == "refused", onnx == "refused") for name, torch_, onnx in rows}


#: a head on a frozen or a trained ViT is one model in all methods that train one
SAME_MODEL = dict.fromkeys(
    ("er", "er_ace", "derpp", "ewcpp", "lwf", "rainbow", "clib", "joint_probe"), "linear_probe"
) | {"joint": "fine_tuning"}


#: made of parts that others have, too, of which each is exported once
SAME_PARTS = ("cps_prompt", "s_prompt", "one_prompt", "misa", "hide_prompt", "fine_tuning")
SAME_PARTS += ("linear_probe", "balanced_ridge", "recommended", "gacl", "air", "l3a", "aper")
#: tried as programs too, which takes seconds each
AS_PROGRAMS = ("multi_lane", "multi_label_ridge")


def test_methods_that_train_a_head_have_the_model_of_the_linear_probe() -> None:
    for kind, other in SAME_MODEL.items():
        assert repr(make(kind).model) == repr(make(other).model)
        assert kind not in refused()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [k for k in TABLE if k not in (*SAME_MODEL, *SAME_PARTS)])
def test_the_matrix_lists_what_cannot_be_exported(
    kind: str, trained: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "rda":  # random weights decide whether its logits differ by more than 0.0001
        monkeypatch.setattr(exporting, "_CLOSE", 1e-6)
    model = toy(trained, learned(kind), kind)
    for form, no in zip(FORMS, refused().get(kind, (False, False)), strict=True):
        if form == "torch" and kind not in AS_PROGRAMS:
            continue
        if form == "onnx":
            pytest.importorskip("onnxruntime")
        says = f"{kind} cannot be exported as" if no else ""
        with pytest.raises(InputError, match=says) if no else nullcontext():
            exporting.export(model, tmp_path / form, form)


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_the_script_labels_an_image_as_the_model_does(
    form: exporting.Form,
    trained: Model,
    program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if form == "onnx":
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    pixels = torch.randint(256, (3, 23, 40), generator=torch.Generator().manual_seed(5))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # lies on its side, as photographs of phones do
    to_pil_image(pixels.to(torch.uint8)).save("image.png", exif=exif)
    file = program if form == "torch" else tmp_path / "the model"
    if form == "onnx":
        exporting.export(trained, file, "onnx")
    # As if its toy images had come from a folder of photographs.
    trained = toy(trained, trained.strategy, "linear_probe")
    lines = exporting.script(trained, file, form)
    assert len(lines.splitlines()) == 6
    scope: dict[str, Any] = {}
    exec(compile(lines, "script", "exec"), scope)
    wanted = augmentation_of("folder").test(16)(decode("image.png"))
    torch.testing.assert_close(scope["image"], wanted)  # but for the rounding of / 255
    label = trained.predict("image.png").label
    assert capsys.readouterr().out == f"{label}\n"


def test_the_script_for_several_labels_compares_with_the_threshold(
    trained: Model, tmp_path: Path
) -> None:
    several = toy(trained, make("er", MULTI_LABEL_SCENARIOS[0]), "er")
    assert exporting.about(several)["threshold"] == 0.0
    assert "if z > 0.0]" in exporting.script(several, tmp_path / "model.pt2", "torch")
