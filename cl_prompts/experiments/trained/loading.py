"""Load finished runs: the trained strategy, and its predictions for new images."""

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
from cl_prompts.experiments.run_folder.folder import LEARNED_FILE
from cl_prompts.experiments.run_folder.identity import changes, settings_identity
from cl_prompts.experiments.run_folder.plans import settings_of
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
    """A finished run with its trained strategy; see :func:`load_run`.

    Attributes:
        run: summary, stream and metrics, as read from the folder.
        settings: settings of the run; ``settings.dataset`` is its data set.
        strategy: the trained strategy. Its buffers, optimizer and counters are new: call
            :meth:`learn` for further training.
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
        """Return labels and scores of images.

        Args:
            images: files, transformed as the run's test images were; or a tensor (n, 3,
                image_size, image_size) in [0, 1].
            batch_size: images per forward pass.
            unknown: share of images of known classes that may be labelled ``unknown``. An image is
                labelled so if the log odds of its score
                (:func:`~cl_prompts.metrics.confidence.confidence`) are below those of all but this
                share of the run's test images. None: label no image so.

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
        logits = logits / (temperature or 1.0)
        scores, labels = self.scored(logits)
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
                f"the transform of data set {name!r} is not known: give predict a tensor of images"
            )
        cache = bool(arguments.get("cache"))
        transform = fixed_transform(name, self.image_size, arguments.get("crop"), cache=cache)
        for start in range(0, len(paths), size):
            some = paths[start : start + size]
            yield torch.stack([transform(decode(_as_file(path))) for path in some])

    def scored(self, logits: Tensor) -> tuple[Tensor, list[tuple[str, ...]]]:
        """Scores and labels of images, as in :class:`Predictions`, of calibrated logits."""
        model = self.strategy.model
        seen = model.seen.cpu()
        if not model.multi_label:
            best = logits.argmax(dim=1).tolist()
            # Logits of unseen classes are -inf, so their probability is 0.
            return logits.softmax(dim=1), [(self.classes[place],) for place in best]
        # A ridge regression has a threshold for its scores instead of probabilities.
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
        """Train the model on further images, as a new run; this one does not change.

        Args:
            images: folder or table of known and new classes, laid out as for ``cl-prompts init``.
            *settings: ``key=value`` texts, such as ``"lr=1e-3"``.
            out: parent of the run folders.
            trust_code: see :func:`load_run`.

        Returns:
            The new run, finished.

        Raises:
            InputError: no images, or settings that do not fit the trained model.
            RunError: a fault during the run.
        """
        from cl_prompts.experiments.runner.running import run_all  # loads Avalanche
        from cl_prompts.experiments.trained.learning import prepared

        out = Path(out)
        run, _ = prepared(self.run.folder, Path(images), settings, trust_code=trust_code)
        command = f"load_run({str(self.run.folder)!r}).learn({str(images)!r})"
        (folder,) = run_all([run], out=out, console=Console(quiet=True), command=command)
        return load_run(folder, device=self.settings.device, trust_code=trust_code)

    def data(self) -> DataSet:
        """Load the data set of the run.

        Raises:
            InputError: it is missing or unusable.
        """
        return Resources().data(self.settings)

    def evaluate(self, model: torch.nn.Module | None = None) -> float:
        """Return accuracy, or mAP, on the run's test set over the seen classes.

        Args:
            model: evaluate this model instead of the strategy's.

        Raises:
            InputError: the data set is missing, or its test set changed.
        """
        strategy = self.strategy
        test = self.data().test
        known = self.run.identity["data"]
        # Compare the test set alone: training images may be missing.
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
    """Load a finished run: its trained strategy, ready to predict.

    The data set is not needed, unless a user's function defines the normalisation. Global random
    generators do not change.

    Args:
        folder: folder of one run; or ``hf://user/name`` or ``hf://user/name@revision`` on the
            Hugging Face hub, see :mod:`cl_prompts.experiments.trained.hub`.
        device: where to compute.
        trust_code: import, and thus run, user code that the settings name as
            ``package.module:name``.

    Raises:
        RunError: the hub refuses, or cannot be reached.
        InputError: no run, an unfinished, incomplete or changed one; user code that is not trusted;
            user code or a file of the strategy's settings that changed; or another backbone.

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
    # Trained weights then replace the initial ones.
    with all_seeded(settings.seed):
        backbone = Resources(quick=True).backbone(settings)
        strategy = make_strategy(settings, backbone, info, settings.options)
        grow_to(strategy, settings, *sizes)
    strategy.load(str(run.folder / LEARNED_FILE))
    strategy.model.eval()
    classes = tuple(run.summary.get("class_names") or map(str, range(run.summary["n_classes"])))
    return TrainedRun(run, settings, strategy, classes, backbone.image_size)


def _check_made_of(run: RunRecord, settings: RunConfig) -> None:
    """Refuse user code, or files of the strategy's settings, that changed since the run.

    Missing files are reported when the strategy is built."""
    now = settings_identity(settings)
    files = run.identity["files"]
    read = [name for name in files if name.startswith("options.") and name in now["files"]]
    made = {"code": run.identity["code"], "files": {name: files[name] for name in read}}
    for change in changes(made, {part: now[part] for part in made}):
        raise InputError(f"the run in {run.folder} cannot be loaded: {change}")
