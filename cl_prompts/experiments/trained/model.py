"""Trained models: load, predict, evaluate, learn, forget, merge, save."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_prompts.backbones.pixels import check_input
from cl_prompts.backbones.weight_files import weights_hash
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.closed_form.sums import not_sums, order_matters
from cl_prompts.errors import InputError, first_of, unknown
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.trained.arithmetic import (
    Images,
    Item,
    Labels,
    Progress,
    Sums,
    contents_of,
    input_of,
    items_of,
    names_of,
)
from cl_prompts.experiments.trained.card import (
    CARD_FILE,
    IMAGES_FILE,
    MODEL_FILE,
    Accuracy,
    Card,
    Event,
    read_card,
    strategy_of,
)
from cl_prompts.experiments.trained.evaluating import (
    TRAINING,
    Assessment,
    assessment,
    known_images,
    labelled_images,
)
from cl_prompts.experiments.trained.hub import folder_of
from cl_prompts.experiments.trained.ledger import SAMPLED, Ledger, digest
from cl_prompts.experiments.trained.predicting import UNKNOWN, Predictions, scored, threshold_at
from cl_prompts.metrics.confidence import confidence
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.prototype import PrototypeStrategy


class Model:
    """A trained model, apart from the run that made it.

    Its folder has ``model.safetensors`` (what was learned), ``model.json`` (see
    :class:`~cl_prompts.experiments.trained.card.Card`) and, for closed-form methods,
    ``images.npz`` (see :class:`~cl_prompts.experiments.trained.ledger.Ledger`). Closed-form models
    are sums over images. :meth:`learn`, :meth:`forget` and :meth:`merge` add and subtract, so the
    result does not depend on the order of these calls. They change the model in memory;
    :meth:`save` writes it.

    Args:
        strategy: the trained strategy.
        card: content of ``model.json``.
        ledger: the learned images; None if images cannot be added.

    Example::

        model = Model.load("models/animals")
        model.predict("new.jpg").label
        model.learn(["fox1.jpg", "fox2.jpg"], "fox").save("models/animals2")
    """

    def __init__(self, strategy: OnlineStrategy, card: Card, ledger: Ledger | None = None) -> None:
        self.strategy = strategy
        self.network: ContinualModel = strategy.model.eval()
        self.card = card
        self.ledger = ledger
        self.assessment: Assessment | None = None
        """Scores behind the accuracy in the card, after a change of the model."""

    @classmethod
    def load(cls, place: str | Path, *, device: str = "auto", trust_code: bool = False) -> Model:
        """Load a model; no image and no data set is needed.

        Args:
            place: model folder, run folder, or ``hf://user/name`` or ``hf://user/name@revision``
                on the Hugging Face hub.
            device: where to compute.
            trust_code: import, and thus run, user code that ``model.json`` names.

        Raises:
            RunError: the hub refuses, or cannot be reached.
            InputError: no model, a damaged one, untrusted code, or another backbone.
        """
        folder = folder_of(place)
        card = read_card(folder, trust_code)
        vit = card.backbone.model_dump(exclude={"sha256"})
        backbone = create_backbone(vit.pop("name"), seed=card.seed, **vit)
        strategy = strategy_of(card, backbone, device)
        if not backbone.trainable and weights_hash(backbone) != card.backbone.sha256:
            raise InputError(
                f"{folder} was made with other weights of {card.backbone.name}: restore"
                f" {card.backbone.weights}"
            )
        strategy.model.load(str(folder / MODEL_FILE))
        ledger = Ledger.read(folder) if (folder / IMAGES_FILE).is_file() else None
        return cls(strategy, card, ledger)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by column."""
        return tuple(self.card.classes)

    def __str__(self) -> str:
        return str(self.card)

    def __repr__(self) -> str:
        return f"Model({str(self.card).partition(' [')[0]})"  # without the interval

    def save(self, folder: str | Path, *, replace: bool = False) -> Path:
        """Write the model to a folder, whole or not at all.

        Args:
            folder: to write.
            replace: replace the folder if it exists.

        Raises:
            InputError: the folder exists.
        """
        folder = Path(folder)
        if folder.exists() and not replace:
            raise InputError(f"{folder} exists already: give another folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing_folder(folder) as place:
            self.write(place)
        return folder

    def write(self, folder: Path) -> None:
        """Write the files of the model into a folder, ``model.json`` last."""
        folder.mkdir(exist_ok=True)
        files.replace(folder / MODEL_FILE, [self.network.exported()])
        if self.ledger is not None:
            self.ledger.write(folder)
        files.replace(folder / CARD_FILE, [self.card.model_dump_json(indent=1).encode()])

    # ------------------------------------------------------------------------------- predictions

    def predict(
        self, images: Images, *, batch_size: int = 64, unknown: float | None = None
    ) -> Predictions:
        """Return labels and scores of images.

        Args:
            images: a path, a PIL image, an array (h, w, 3) of uint8, or a list of these; a folder;
                or a tensor (n, 3, image_size, image_size) in [0, 1].
            batch_size: images per forward pass.
            unknown: share of images of known classes that may be labelled ``unknown``. An image is
                labelled so if its confidence
                (:func:`~cl_prompts.metrics.confidence.confidence`) is below that of all but this
                share of held-out images. None: label no image so.

        Raises:
            InputError: a tensor of another kind, or files for a data set of one's own, whose
                function alone knows what becomes of them; or a share that is none or too
                small for the number of held-out images.
            RunError: a file that cannot be read.
        """
        own, several = self.card.calibration, self.network.multi_label
        threshold = None if unknown is None else threshold_at(unknown, own.confidence)
        logits = self.logits(items_of(images), batch_size) / (own.temperature or 1.0)
        scores, labels = scored(self.network, self.classes, logits)
        if threshold is not None:
            found = confidence(logits, self.network.seen.cpu() if several else None)
            sure = (found >= threshold).tolist()
            none = (UNKNOWN,) if several else UNKNOWN
            labels = [name if s else none for name, s in zip(labels, sure, strict=True)]
        probable = self.network.score_threshold is None if several else own.temperature is not None
        return Predictions(self.classes, scores, tuple(labels), calibrated=probable)

    @torch.no_grad()
    def logits(self, items: Sequence[Item], batch_size: int = 64) -> Tensor:
        """Return the logits (n, classes) of images, on the CPU."""
        transform = self.card.transform_of(items)
        device = self.network.seen.device
        parts = [torch.zeros(0, len(self.classes))]
        for start in range(0, len(items), batch_size):
            inputs = [input_of(item, transform) for item in items[start : start + batch_size]]
            batch = torch.stack(inputs)
            check_input(self.network.backbone, batch)
            parts.append(self.network(batch.to(device)).float().cpu())
        return torch.cat(parts)

    def evaluate(self, place: str | Path, *, skip_learned: bool = False) -> Assessment:
        """Score the model on labelled images; classes are matched by name.

        Args:
            place: folder, table or data set of the hub, see
                :func:`~cl_prompts.experiments.trained.evaluating.labelled_images`.
            skip_learned: leave out images that the model has learned.

        Raises:
            InputError: no such images, none of a known class, or images that the model has learned.
            RunError: a file that cannot be read.
        """
        several = self.network.multi_label
        files, targets, other = known_images(Path(place), self.classes, multi_label=several)
        if self.ledger is not None:
            learned = np.flatnonzero(self.ledger.places(contents_of(files)) >= 0)
            if len(learned):
                every = len(learned) == len(files)
                if every or not skip_learned:
                    what = f"{len(learned)} of {len(files)} test images were learned by the model"
                    some = first_of([files[i] for i in learned], 3)
                    hint = "give others" if every else "leave them out (skip_learned)"
                    raise InputError(f"{what} ({some}): {hint}")
                kept = np.setdiff1d(np.arange(len(files)), learned)
                targets, files = targets[kept], [files[i] for i in kept]
        scores = self.predict(files).scores
        found = assessment(scores, targets, self.classes, multi_label=several)
        return found._replace(unknown=other)

    # ------------------------------------------------------------------------------ closed forms

    def sums(self, what: str, sign: int = 1) -> Sums:
        """Return what the model has learned as a value that can be added and subtracted.

        Args:
            what: what the model is asked to do, for the message.
            sign: 1: add, -1: subtract.

        Raises:
            InputError: the method learns by gradients, or its state is not a sum.
        """
        network, strategy = self.network, self.strategy
        if not isinstance(network, PrototypeViT):
            raise InputError(
                f"this model cannot {what}: {self.card.method} learns by gradients. Train it on all"
                " images, or continue its run: cl-prompts learn RUN FOLDER"
            )
        reason = not_sums(network.head, sign)
        if sign < 0:
            # A kernel width that images of the first batch set would still tell of them.
            reason = reason or order_matters(network.head)
        if reason or self.ledger is None:
            reason = reason or (
                "its images were augmented or read by own code. Train it on image files with"
                " augment=false"
            )
            raise InputError(f"this model cannot {what}: {reason}")
        assert isinstance(strategy, PrototypeStrategy)
        build = partial(strategy.build_model, network.backbone)
        return Sums(network, self.ledger, self.classes, build)

    def learn(
        self,
        images: Images,
        labels: Labels | None = None,
        *,
        progress: Progress | None = None,
    ) -> Model:
        """Learn images of known and new classes, in one forward pass and one addition.

        Args:
            images: as for :meth:`predict`; without labels a folder or table, whose training part is
                learned.
            labels: class of all images, or of each, or the classes of each; an integer is the class
                of this name. None for a folder or table.
            progress: called with the number of images so far, and of all.

        Returns:
            This model.

        Raises:
            InputError: a method that learns by gradients, images that the model has learned, the
                same image twice, or labels that do not fit; the model is unchanged.
            RunError: a file that cannot be read; the model is unchanged.
        """
        sums = self.sums("learn further images")
        what = ""
        if labels is None:
            if not isinstance(images, str | Path):
                raise InputError(
                    "labels are missing: give one class for all, or one for each image"
                )
            what = f" of {images}"
            images, labels = labelled_images(Path(images), TRAINING)
        items = items_of(images)
        names = names_of(labels, len(items), multi_label=self.network.multi_label)
        part = sums.of_images(items, names, self.card.transform_of(items), self._most, progress)
        whole = sums.plus(part, self._most)
        return self.take(whole, f"learned {len(items)} images{what}", part.ledger.hashes)

    def merge(self, other: Model) -> Model:
        """Add another model of the same method and backbone that learned other images.

        Returns:
            This model.

        Raises:
            InputError: another method, backbone or transform, a model that is not a sum, or images
                that both have learned; the model is unchanged.
        """
        ours, theirs = self.sums("be merged"), other.sums("be merged")
        mine, foreign = self.card.described(), other.card.described()
        for name in {**mine, **foreign}:
            if mine.get(name) != foreign.get(name):
                said = f"{name} is {mine.get(name)!r} in one model and {foreign.get(name)!r}"
                if name == "backbone.sha256":  # names of files say more than hashes
                    own, of_other = (one.card.backbone.weights for one in (self, other))
                    said = f"the weights are {own!r} in one model and {of_other!r}"
                raise InputError(
                    f"{said} in the other: merge models of one method, backbone and transform"
                )
        ours.check_new(theirs.ledger.hashes)
        what = f"merged with a model of {len(theirs.ledger)} images"
        return self.take(ours.plus(theirs, self._most), what, theirs.ledger.hashes)

    def forget(self, images: Images | None = None, *, class_name: str | None = None) -> Model:
        """Remove learned images, as if they had never been learned.

        Features that are not stored are computed again, from images with the same content.

        Args:
            images: learned images, as for :meth:`predict`, or a table; labels do not matter. A PIL
                image or array is found by its pixels, a file by its content.
            class_name: remove all images of this class; ``images`` must contain those whose
                features are not stored.

        Returns:
            This model.

        Raises:
            InputError: an image that the model has not learned, an unknown class, or a method
                whose state cannot be subtracted; the model is unchanged.
        """
        sums = self.sums("forget images", -1)
        if images is None and class_name is None:
            raise InputError("give images to forget, or a class_name")
        given = {} if images is None else sums.find(items_of(images), every=class_name is None)
        rows = np.array(sorted(given)) if class_name is None else self._rows_of(class_name)
        if len(rows) == len(sums.ledger):
            raise InputError("no image would remain: remove the folder of the model instead")
        left = sums.minus(rows, sums.features(rows, given, self.card))
        what = f"{len(rows)} images" if class_name is None else f"class {class_name}"
        return self.take(left, f"forgot {what}", sums.ledger.hashes[rows])

    def take(self, sums: Sums, what: str, changed: np.ndarray) -> Model:
        """Continue with other sums: calibrate them, and record what ``changed``, as hashes."""
        self.network = self.strategy.model = sums.network.eval()
        self.ledger = sums.ledger
        calibration, found = sums.calibrated()
        event = Event(what=what, images=len(sums.ledger), digest=digest(changed))
        update: dict[str, object] = {
            "classes": list(sums.classes),
            "first": [len(sums.classes), self.card.first[1]],
            "per_class": sums.ledger.per_class(len(sums.classes)),
            "calibration": calibration,
            "history": [*self.card.history, event],
        }
        self.card = self.card.model_copy(update=update)
        exact = sums.network.head.leaves_one_out
        self.take_accuracy(found, "leave-one-out" if exact else "5-fold")
        return self

    # ----------------------------------------------------------------------------------- private

    @property
    def _most(self) -> int | None:
        return None if self.card.keep_features else SAMPLED

    def _rows_of(self, name: str) -> np.ndarray:
        assert self.ledger is not None
        if self.network.multi_label:
            raise InputError("images have several classes each: give the images to forget")
        if name not in self.classes:
            raise unknown("class", name, self.classes)
        return np.flatnonzero(self.ledger.labels == self.classes.index(name))

    def take_accuracy(self, found: Assessment | None, how: str = "test images") -> None:
        """Record scores in the card; ``how`` they were obtained."""
        self.assessment, accuracy = found, None
        if found is not None:
            measure: Any = "mAP" if self.network.multi_label else "accuracy"
            total = {key: getattr(found.total, key) for key in ("value", "low", "high", "images")}
            accuracy = Accuracy(measure=measure, how=how, **total)
        self.card = self.card.model_copy(update={"accuracy": accuracy})
