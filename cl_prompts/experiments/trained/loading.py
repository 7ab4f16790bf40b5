"""Finished runs taken up again: the trained strategy, and its predictions for new images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from cl_prompts.backbones.pixels import check_input
from cl_prompts.checks import whole_number
from cl_prompts.datasets.dataset import DataSet
from cl_prompts.datasets.decoding import decode
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import all_seeded, fingerprint_change
from cl_prompts.datasets.registry import fixed_transform
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig
from cl_prompts.experiments.run_folder.checksums import check_sums
from cl_prompts.experiments.run_folder.folder import LEARNED_FILE, settings_of
from cl_prompts.experiments.run_folder.identity import (
    changes,
    settings_identity,
)
from cl_prompts.experiments.run_folder.runs import RunRecord, held_out_confidence
from cl_prompts.experiments.runner.building import Resources, StreamInfo, make_strategy
from cl_prompts.experiments.runner.lineage import finished_run, first_size, grow_to
from cl_prompts.experiments.trained.predicting import UNKNOWN, Predictions, threshold_at
from cl_prompts.metrics.confidence import confidence
from cl_prompts.metrics.evaluator import CachedEvaluator
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.user_code import is_dotted


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, with its strategy as training left it; see :func:`load_run`.

    Attributes:
        run: its summary, settings, stream and metrics, as read from the folder.
        settings: of the run; ``settings.dataset`` are those of its data.
        strategy: with what was learned. Buffers, optimizer and counters are new: to train on, a
            run is resumed instead.
        classes: names of the classes, by column.
        image_size: side of the images in pixels.
    """

    run: RunRecord
    settings: RunConfig
    strategy: OnlineStrategy
    classes: tuple[str, ...]
    image_size: int

    def predict(
        self,
        images: Tensor | Sequence[ImageFile | Path] | str | Path,
        *,
        batch_size: int = 64,
        unknown: float | None = None,
    ) -> Predictions:
        """Labels and scores of images.

        Args:
            images: files, which become what test images of the run's data set became; or a tensor
                (n, 3, image_size, image_size) in [0, 1].
            batch_size: images per forward pass.
            unknown: share of images of known classes that may be labelled ``unknown``, so that
                images of other classes are: the label where the confidence of the model
                (:func:`~cl_prompts.metrics.confidence.confidence`) is below what it is for all but
                that share of the run's test images. None: no image is.

        Raises:
            InputError: a tensor of another kind, or files for a data set of one's own,
                whose function alone knows what becomes of them; a share that is none or too small
                for the number of test images, a run that has kept no confidence in these, or one
                of whose classes is called "unknown".
            RunError: a file that cannot be read.
        """
        whole_number("batch_size", batch_size)
        held_out, temperature = held_out_confidence(self.run.folder)
        threshold = None if unknown is None else self._threshold(unknown, held_out)
        model = self.strategy.model.eval()
        device = self.strategy.device
        with torch.no_grad():
            batches = self._batches(images, batch_size)
            parts = [model(batch.to(device)).float().cpu() for batch in batches]
        logits = torch.cat(parts) if parts else torch.zeros(0, len(self.classes))
        scores, labels = self.scored(logits, temperature or 1.0)
        if threshold is not None:
            found = confidence(logits, model.seen.cpu() if model.multi_label else None)
            sure = (found >= threshold).tolist()
            labels = [own if s else (UNKNOWN,) for own, s in zip(labels, sure, strict=True)]
        probable = model.score_threshold is None if model.multi_label else temperature is not None
        return Predictions(self.classes, scores, tuple(labels), calibrated=probable)

    def _threshold(self, rate: float, held_out: Sequence[float]) -> float:
        if UNKNOWN in self.classes:
            raise InputError(
                f"a class of this run is called {UNKNOWN!r}: train it under another name"
            )
        return threshold_at(rate, held_out)

    def _batches(self, images: Any, size: int) -> Iterator[Tensor]:
        if isinstance(images, Tensor):
            check_input(self.strategy.model.backbone, images)
            yield from images.split(size) if len(images) else ()
            return
        paths = [images] if isinstance(images, str | Path) else list(images)
        if any(not isinstance(path, ImageFile | Path) for path in paths):
            raise InputError("images are files, by their paths, or one tensor")
        name, arguments = self.settings.section("dataset")
        if is_dotted(name):
            raise InputError(
                f"data set {name!r} makes its own images: give predict a tensor of such images"
            )
        cache = bool(arguments.get("cache"))
        transform = fixed_transform(name, self.image_size, arguments.get("crop"), cache=cache)
        for start in range(0, len(paths), size):
            some = paths[start : start + size]
            yield torch.stack([transform(decode(_as_file(path))) for path in some])

    def scored(self, logits: Tensor, temperature: float) -> tuple[Tensor, list[tuple[str, ...]]]:
        """Scores and labels of images, as in :class:`Predictions`."""
        model = self.strategy.model
        seen = model.seen.cpu()
        if not model.multi_label:
            best = logits.argmax(dim=1).tolist()
            # Logits of classes that were never seen are -inf, so their probability is 0.
            return (logits / temperature).softmax(dim=1), [(self.classes[place],) for place in best]
        # A ridge regression has no probabilities, but a threshold for its scores.
        own = model.score_threshold
        scores = logits.sigmoid() if own is None else logits
        scores = torch.where(seen, scores, 0.0)
        chosen = (scores > (0.5 if own is None else own)) & seen
        rows = []
        for row, values in zip(chosen, scores, strict=True):
            places = [place for place in values.argsort(descending=True).tolist() if row[place]]
            rows.append(tuple(self.classes[place] for place in places))
        return scores, rows

    def learn(
        self, images: str | Path, *settings: str, out: str | Path = "runs", trust_code: bool = False
    ) -> TrainedRun:
        """Train the model on further images, as a run of its own; this one stays as it is.

        Args:
            images: a folder or table, laid out as for ``cl-prompts init``, of known and of new
                classes.
            *settings: ``key=value`` texts, such as ``"lr=1e-3"``.
            out: parent of the run folders.
            trust_code: as for :func:`load_run`.

        Returns:
            The new run, finished.

        Raises:
            InputError: no such images, or settings that do not fit what was learned.
            RunError: a fault during the run.
        """
        from cl_prompts.experiments.runner.running import run_all  # loads Avalanche
        from cl_prompts.experiments.trained.learning import prepared

        out = Path(out)
        run, _ = prepared(self.run.folder, Path(images), settings, out=out, trust_code=trust_code)
        command = f"load_run({str(self.run.folder)!r}).learn({str(images)!r})"
        (folder,) = run_all([run], out=out, console=Console(quiet=True), command=command)
        return load_run(folder, device=self.settings.device, trust_code=trust_code)

    def data(self) -> DataSet:
        """The data set of the run, loaded anew.

        Raises:
            InputError: it is not there, or cannot be used.
        """
        return Resources().data(self.settings)

    def evaluate(self, model: torch.nn.Module | None = None) -> float:
        """Accuracy, or mean average precision, on the run's test set, over the classes seen.

        Args:
            model: what to evaluate in the place of the strategy's model.

        Raises:
            InputError: the data set is not there, or its test set changed.
        """
        strategy = self.strategy
        test = self.data().test
        known = self.run.identity["data"]
        # Of the test set alone, since nothing else is needed here.
        change = fingerprint_change(known, {**known, "test": test.fingerprint()})
        if change:
            raise InputError(
                f"the test set of the run in {self.run.folder} changed: {change}: bring it back, or"
                " give its images to predict"
            )
        batch = self.settings.evaluation["batch_size"]
        evaluator = CachedEvaluator(test, batch_size=batch, device=strategy.device)
        return evaluator.evaluate(model or strategy.model, strategy.model.seen).accuracy


def _as_file(path: ImageFile | Path) -> ImageFile:
    return str(path) if isinstance(path, Path) else path


def load_run(folder: str | Path, *, device: str = "auto", trust_code: bool = False) -> TrainedRun:
    """Take up a finished run: its strategy with what it learned, ready to predict.

    The data set is not needed, unless it is a function of one's own whose statistics normalise the
    images. No global random generator is touched.

    Args:
        folder: of one run; or ``hf://user/name``, perhaps with ``@`` and a revision, which is
            fetched from the Hugging Face hub, see :mod:`cl_prompts.experiments.trained.hub`.
        device: where to compute.
        trust_code: whether code that the settings of the run name, as ``package.module:name``, may
            be imported, which runs it.

    Raises:
        RunError: the hub refuses, or cannot be reached.
        InputError: no such run, one that is not finished, not complete or changed since, one that
            names code, code of one's own or a file of the strategy's settings that was edited
            since, or a backbone that is not the one of the run.

    Example::

        run = load_run("runs/photos/mvp/1-20260101-120000")
        run.predict(["new.jpg"]).labels
    """
    if str(folder).startswith("hf://"):
        from cl_prompts.experiments.trained.hub import fetched

        folder = fetched(str(folder))
    run = finished_run(Path(folder))
    check_sums(run.folder, [LEARNED_FILE])
    settings = settings_of(run.folder, trust_code)
    _check_made_of(run, settings)
    settings.device = device
    sizes = run.summary["n_classes"], run.summary["n_tasks"]
    n_classes, n_tasks = first_size(settings, *sizes)
    info = StreamInfo(n_classes, run.multi_label, n_tasks, bool(run.stream.get("boundaries")))
    # The first weights are drawn again, and then replaced by those that were learned.
    with all_seeded(settings.seed):
        backbone = Resources(quick=True).backbone(settings)
        strategy = make_strategy(settings, backbone, info, settings.options)
        grow_to(strategy, settings, *sizes)
    strategy.load(str(run.folder / LEARNED_FILE))
    strategy.model.eval()
    classes = tuple(run.summary.get("class_names") or map(str, range(run.summary["n_classes"])))
    return TrainedRun(run, settings, strategy, classes, backbone.image_size)


def _check_made_of(run: RunRecord, settings: RunConfig) -> None:
    """Refuse code of the user's own, or files of the strategy's settings, that are other than what
    the run was made with. A file that is gone is missed where the strategy is made, if it is needed
    there."""
    now = settings_identity(settings)
    files = run.identity["files"]
    read = [name for name in files if name.startswith("options.") and name in now["files"]]
    made = {"code": run.identity["code"], "files": {name: files[name] for name in read}}
    for change in changes(made, {part: now[part] for part in made}):
        raise InputError(f"the run in {run.folder} cannot be taken up: {change}")
