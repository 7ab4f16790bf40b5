"""Commands on models: train, predict, evaluate, learn, merge, forget, export, push."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Literal

from cl_prompts.errors import InputError, RunError, first_of
from cl_prompts.experiments.cli import outcomes
from cl_prompts.experiments.executors.launching import Jobs, Kind, Launching
from cl_prompts.experiments.executors.signals import stop_says
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.trained import MODELS, named

if TYPE_CHECKING:
    from cl_prompts.experiments.trained.model import Model

_STOPPED = "stopped before the model was written: the same command begins anew"


@stop_says(_STOPPED)
def train(
    place: Path,
    *,
    name: str | None = None,
    backbone: str | None = None,
    weights: Path | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
    keep_features: bool = False,
    shards: Jobs = 1,
    executor: Kind = "local",
    jobs: Jobs | None = None,
    device: str = "auto",
    force: bool = False,
) -> None:
    """Train the recommended method on all images of a folder or table: a model to use.

    To compare methods on a stream, use init and run.

    Args:
        place: train/<class>/* and test/<class>/*, <class>/* alone, or a table of path,label;label.
        name: of the model, in models/ (default: named after the folder).
        backbone: use this one instead of the proposed one.
        weights: file of the backbone's weights (default: from the hub).
        precision: fp32 or bf16 (default: bf16 where the processor computes it natively).
        keep_features: store the features of all images, so that forgetting needs no images.
        shards: number of parts, each learned by a worker (default: 1).
        executor: of the workers: local, ray or slurm (default: local).
        jobs: workers at the same time (default: all, at most one a core).
        device: where to compute (default: a GPU if there is one).
        force: replace an existing model of this name.
    """
    from cl_prompts.datasets.survey import name_of, survey

    out = named(name_of(place) if name is None else name)
    if out.exists() and not force:
        raise InputError(f"{out} exists already: choose another --name, or replace it with --force")
    from cl_prompts.experiments.trained.evaluating import worst_confusions
    from cl_prompts.experiments.trained.training import trained, untrained

    if backbone is not None and weights is None:
        from cl_prompts.backbones.weights import check_backbone, weight_file

        check_backbone(backbone)
        weight_file(backbone, "default")  # without a hub, fail before images are read
    with outcomes.progress("image files opened") as opened:
        found = survey(place, progress=opened, whole=True)
    for line in found.lines():
        print(line)
    asked: Any = {"backbone": backbone, "weights": weights, "precision": precision}
    model = untrained(found, **asked, keep_features=keep_features, device=device)
    vit = model.card.backbone
    print(f"{vit.name} at {vit.image_size} px, {vit.precision}")
    more: Any = {"how": Launching(executor, jobs), "console": outcomes.console_of()}
    with outcomes.progress("images learned") as learned:
        trained(model, place, found, shards=shards, progress=learned, **more)
    _save(model, out)
    confusion = None if model.assessment is None else model.assessment.confusion
    if confusion is not None and (pairs := worst_confusions(confusion, model.classes)):
        print(f"confused: {', '.join(pairs)}")
    again = quote(str(out))
    print(f"next: cl-prompts predict {again} IMAGE, cl-prompts learn {again} FOLDER")
    print(f"      cl-prompts evaluate {again} FOLDER")


def predict(
    model: Path,
    images: Sequence[Path],
    *,
    all_scores: bool = False,
    unknown: float | None = None,
    trust_code: bool = False,
) -> None:
    """Label images with a model.

    Args:
        images: image files, folders of images, or tables.
        all_scores: add a column for each class.
        unknown: label images of low confidence 'unknown', and with them this share of those of
            known classes, such as 0.05.
    """
    from cl_prompts.datasets.bad_images import look_at
    from cl_prompts.experiments.trained.predicting import image_files, predictions_csv

    found = image_files(images)
    # After the check of paths, since this import is slow.
    loaded = _loaded(model, trust_code)
    broken: list[object] = []
    try:
        labels = loaded.predict(found, unknown=unknown)
    except RunError:
        broken = [look.path for look in look_at(found) if look.problem]
        found = [file for file in found if file not in broken]
        if not broken or not found:
            raise
        labels = loaded.predict(found, unknown=unknown)
    print(predictions_csv(found, labels, all_scores=all_scores))
    if broken:
        raise RunError(f"unreadable images have no row: {first_of(broken, 3)}")


def evaluate(
    model: Path, place: Path, *, skip_learned: bool = False, trust_code: bool = False
) -> None:
    """Score a model on labelled images, without training.

    Args:
        place: labelled images, laid out as for init; only a test part counts if there is one.
        skip_learned: leave out images that the model has learned.
    """
    found = _loaded(model, trust_code).evaluate(place, skip_learned=skip_learned)
    rows = []
    for row in (found.total, *found.by_class):
        value, low, high = (f"{100 * number:.1f}" for number in (row.value, row.low, row.high))
        rows.append([row.name, str(row.images), value, f"{low} to {high}", row.confused])
    headings = ["class", "images", f"{found.measure} %", "95 % interval", "confused with"]
    outcomes.console_of().print(outcomes.table(headings, rows, right=headings[1:4]))
    for name, images in found.unknown.items():
        print(f"left out: class {name!r} ({images} images), which the model does not know")


def learn(
    model: Path,
    place: Path,
    settings: Sequence[str] = (),
    *,
    test: Path | None = None,
    in_place: bool = False,
    test_percent: float = 20,
    seed: int = 0,
    trust_code: bool = False,
    out: Path | None = None,
    command_line: str = "",
) -> None:
    """Learn further images: add them to a closed-form model, or train on the run of another.

    Args:
        model: model folder, run folder, or latest.
        place: images of known and new classes, laid out as for init.
        settings: of a run that trains by gradients, such as lr=1e-3.
        test: labelled images to evaluate on before and after (default: the test part of FOLDER).
        in_place: replace the model instead of writing a new one.
        out: folder of the new model, or parent of the new run's folder.
    """
    from cl_prompts.experiments.trained.card import read_card
    from cl_prompts.experiments.trained.hub import folder_of

    card = read_card(folder_of(model), trust_code)
    if not card.per_class and (model / "config.yaml").is_file():
        share: Any = {"test_percent": test_percent, "seed": seed, "trust_code": trust_code}
        _continue_run(model, place, settings, out or Path("runs"), command_line, **share)
        return
    if settings:
        raise InputError(f"{model} does not train by gradients: leave the settings out")
    from cl_prompts.experiments.trained.evaluating import TEST

    own = place if any((place / part).exists() for part in TEST) else None
    # The test part of the new images alone says little about all classes.
    with _change(model, out, in_place, test or own, trust_code, record=test is not None) as loaded:
        known = set(loaded.classes)
        with outcomes.progress("images learned") as learned:
            loaded.learn(place, progress=learned)
        new = [name for name in loaded.classes if name not in known]
        print(loaded.card.history[-1].what + (f"; new: {', '.join(new)}" if new else ""))


def merge(
    models: Sequence[Path],
    *,
    test: Path | None = None,
    trust_code: bool = False,
    out: Path | None = None,
) -> None:
    """Add closed-form models that learned different images, without training.

    Args:
        models: folders of models or runs of one method, backbone and transform.
        test: labelled images to evaluate on before and after.
        out: folder of the new model (default: models/merged).
    """
    first, *others = models
    if not others:
        raise InputError("merge needs two or more models")
    with _change(first, out or MODELS / "merged", False, test, trust_code) as loaded:
        for other in others:
            loaded.merge(_loaded(other, trust_code))


def forget(
    model: Path,
    place: Path | None = None,
    *,
    class_: str | None = None,
    test: Path | None = None,
    in_place: bool = False,
    trust_code: bool = False,
    out: Path | None = None,
) -> None:
    """Remove images or a class from a closed-form model, without training.

    Args:
        place: folder of image files, or table of path,label, that the model learned.
        class_: forget all images of this class; FOLDER must contain those without stored features.
        test: labelled images to evaluate on before and after.
        in_place: replace the model instead of writing a new one.
        out: folder of the new model.
    """
    if place is None and class_ is None:
        raise InputError("give images to forget, or a class with --class NAME")
    with _change(model, out, in_place, test, trust_code) as loaded:
        event = loaded.forget(place, class_name=class_).card.history[-1]
        print(f"{event.what}; {event.images} remain")


def export(
    model: Path,
    *,
    torch: bool = False,
    onnx: bool = False,
    trust_code: bool = False,
    out: Path | None = None,
) -> None:
    """Write a model as a file that needs no cl-prompts.

    Args:
        torch: as a program for torch.export.load.
        onnx: as ONNX, for onnxruntime; needs pip install onnx onnxruntime.
        out: file to write (default: model.pt2 or model.onnx, there).
    """
    if torch == onnx:
        raise InputError("give one of --torch and --onnx")
    out = out or model / ("model.onnx" if onnx else "model.pt2")
    files.check_place(out)
    from cl_prompts.experiments.trained import exporting

    # A program keeps the device that it was traced on.
    loaded = _loaded(model, trust_code, device="cpu")
    form: exporting.Form = "onnx" if onnx else "torch"
    exporting.export(loaded, out, form)
    print(f"wrote {out}. To label an image of 8 bits per colour, without transparency:\n")
    print(exporting.script(loaded, out, form))


def push(model: Path, name: str, *, public: bool = False) -> None:
    """Push a model to the Hugging Face hub, with a model card.

    Args:
        name: of the repository, such as user/digits-mvp.
        public: make a new repository public (default: private).
    """
    from cl_prompts.experiments.trained import hub
    from cl_prompts.experiments.trained.card import read_card

    folder = hub.folder_of(model)
    address = hub.push(folder, read_card(folder, trust_code=True), name, public=public)
    print("check the files there: they contain names of folders, hashes and features of images")
    print(f"commit: {address}; in Python: Model.load({'hf://' + name!r})")


# ------------------------------------------------------------------------------------- helpers


def _loaded(place: Path, trust_code: bool, device: str = "auto") -> Model:
    """Load a model, and say which one it is."""
    from cl_prompts.experiments.trained.model import Model

    found = Model.load(place, device=device, trust_code=trust_code)
    print(f"model: {place}, {found}", file=sys.stderr)
    return found


def _target(model: Path, out: Path | None, *, in_place: bool) -> Path:
    """Return the folder to write, before any work."""
    is_run = (model / "config.yaml").is_file()
    if in_place and out is not None:
        raise InputError("give either --out or --in-place")
    if in_place and is_run:
        raise InputError("the model of a run stays as the run made it: leave --in-place out")
    if in_place:
        return model
    if out is None:
        stem = model.resolve().parent.parent.name if is_run else model.name
        places = (MODELS / f"{stem}-{n}" for n in itertools.count(2))
        return next(place for place in places if not place.exists())
    if out.exists():
        raise InputError(f"{out} exists already: choose another --out")
    return out


@contextmanager
def _change(
    model: Path,
    out: Path | None,
    in_place: bool,
    tests: Path | None,
    trust_code: bool,
    *,
    record: bool = True,
) -> Iterator[Model]:
    """Load a model to change; evaluate it before and after, save it, and say how it changed.

    Args:
        model, out, in_place, trust_code: as given to the command.
        tests: labelled images to evaluate on.
        record: whether the accuracy on them becomes that of the model.
    """
    where = _target(model, out, in_place=in_place)
    with stop_says(_STOPPED):
        from cl_prompts.experiments.results.history import BEFORE_AFTER
        from cl_prompts.experiments.trained.evaluating import NoKnownClass, changes

        loaded, before = _loaded(model, trust_code), None
        with suppress(NoKnownClass):
            before = None if tests is None else loaded.evaluate(tests)
        yield loaded
        if tests is not None:
            after = loaded.evaluate(tests)
            if record:
                loaded.take_accuracy(after)
            rows = [row.texts for row in changes(before, after)]
            table = outcomes.table(BEFORE_AFTER, rows, right=BEFORE_AFTER[1:])
            outcomes.console_of().print(table)
        _save(loaded, where)


def _save(model: Model, out: Path) -> None:
    model.save(out, replace=True)
    how = "" if model.card.accuracy is None else f" ({model.card.accuracy.how})"
    print(f"{out}: {model}{how}")


def _continue_run(
    parent: Path, place: Path, settings: Sequence[str], out: Path, command_line: str, **share: Any
) -> None:
    """Continue a finished run on further images."""
    from cl_prompts.experiments.runner.continuing import prepared

    with outcomes.progress("image files opened") as opened:
        run, lines = prepared(parent, place, settings, progress=opened, **share)
    print("\n".join(lines))
    from cl_prompts.experiments.results.history import BEFORE_AFTER, before_after
    from cl_prompts.experiments.run_folder.runs import collect
    from cl_prompts.experiments.runner.running import new_runs

    console = outcomes.console_of()
    runs = new_runs([run], out=out, console=console, command=command_line)
    outcomes.execute(runs, None)
    (folder,) = runs.finished
    rows = [row.texts for row in before_after(*collect([folder]))]
    console.print(outcomes.table(BEFORE_AFTER, rows, right=BEFORE_AFTER[1:]))
    print(outcomes.next_steps(folder))
