"""What ``model.json`` says of a model, and the network that it describes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weight_files import weights_hash
from cl_prompts.backbones.weights import check_at_hand, create_backbone
from cl_prompts.datasets.fingerprint import all_seeded
from cl_prompts.datasets.registry import crop_of, fixed_transform
from cl_prompts.datasets.transforms import ImageTransform
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.values import flat
from cl_prompts.experiments.run_folder import files
from cl_prompts.strategies import STRATEGIES, make_plugins, strategy_class
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.user_code import Trust, check_trust, is_dotted, label_of
from cl_prompts.versions import __version__

CARD_FILE = "model.json"
MODEL_FILE = "model.safetensors"
IMAGES_FILE = "images.npz"
MODEL_FILES = (CARD_FILE, MODEL_FILE, IMAGES_FILE)
#: settings that change the training, not the model
OF_TRAINING = {
    *("lr", "schedule", "new_optimizer", "clip_norm", "class_mask", "loss_norm", "compile"),
    *("train_mb_size", "eval_mb_size", "buffer_batch_size", "train_epochs", "online_iter", "views"),
    "training_scores",
}


def of_model(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a strategy that define the model, without those of its training."""
    return {
        key: value
        for key, value in options.items()
        if key not in OF_TRAINING and not key.endswith(("_lr", "weight_decay"))
    }


class Part(BaseModel):
    """Part of the file: unknown keys and values of another type are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Backbone(Part):
    """Frozen ViT, see :func:`~cl_prompts.backbones.weights.create_backbone`.

    Attributes:
        sha256: :func:`~cl_prompts.backbones.weight_files.weights_hash` of its weights.
    """

    name: str
    weights: str
    image_size: int
    precision: Literal["fp32", "bf16"]
    normalisation: list[list[float]]
    sha256: str

    @classmethod
    def of(cls, name: str, weights: str, vit: FrozenViT) -> Backbone:
        """Describe a ViT by what it is; ``weights`` says where to read them again."""
        return cls(
            name=name,
            weights=weights,
            image_size=vit.image_size,
            precision=vit.precision,
            normalisation=[vit.mean.flatten().tolist(), vit.std.flatten().tolist()],
            sha256=weights_hash(vit),
        )


class Images(Part):
    """How an image file becomes the input of the backbone.

    Attributes:
        dataset: whose test images are transformed alike; a dotted name has no known transform.
        crop: see :func:`~cl_prompts.datasets.registry.fixed_transform`.
    """

    dataset: str
    crop: Literal["published", "whole", "square", "random_area"] | None


class Calibration(Part):
    """What makes probabilities of scores, and of a low one the answer "unknown".

    Attributes:
        temperature: divides the logits; None if it could not be fitted.
        confidence: in held-out images of known classes, ascending.
        how: where these images come from.
    """

    temperature: float | None = None
    confidence: list[float] = []
    how: str = ""


class Accuracy(Part):
    """Share of right answers, or mean average precision, with its 95 % interval.

    Attributes:
        images: number of images behind it.
        how: "test images" or "5-fold".
    """

    measure: Literal["accuracy", "mAP"]
    value: float
    low: float | None
    high: float | None
    images: int
    how: str

    def __str__(self) -> str:
        name = "mAP " if self.measure == "mAP" else ""
        if self.low is None or self.high is None:
            return f"{name}{100 * self.value:.1f} %"
        return f"{name}{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


class Event(Part):
    """One operation in the history of a model.

    Attributes:
        what: such as "learned 20 images of birds".
        images: learned so far.
        digest: SHA-256 of the hashes of the images that were added or removed.
    """

    what: str
    images: int
    digest: str = ""
    date: str = Field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M:%S %z"))
    version: str = __version__


class Card(Part):
    """Content of ``model.json``.

    Attributes:
        settings: settings of the method that define the model, without those of its training.
        first: numbers of classes and tasks of the untrained model, from which it grew to those of
            ``classes`` and ``n_tasks``.
        per_class: learned images of each class; empty if unknown.
        keep_features: whether the features of all learned images are stored.
        fixed: why images cannot be added or removed; empty if they can.
    """

    format: Literal[1] = 1
    method: str
    settings: dict[str, Any]
    seed: int
    backbone: Backbone
    images: Images
    classes: list[str]
    multi_label: bool
    n_tasks: int
    first: list[int]
    announced: bool
    per_class: list[int] = []
    keep_features: bool = False
    fixed: str = ""
    calibration: Calibration = Calibration()
    accuracy: Accuracy | None = None
    history: list[Event] = []

    def __str__(self) -> str:
        images = f", {self.history[-1].images} images" if self.history else ""
        score = "" if self.accuracy is None else f", {self.accuracy}"
        return f"{label_of(self.method)}, {len(self.classes)} classes{images}{score}"

    @property
    def sums(self) -> bool:
        """Whether images can be added to the model."""
        return bool(self.per_class) and not self.fixed

    def user_code(self) -> list[str]:
        """Return the dotted names that loading the model imports."""
        names = [self.method, *(self.settings.get("plugins") or {}), self.images.dataset]
        return [name for name in names if is_dotted(name)]

    def differences(self, other: Card) -> Iterator[tuple[str, object, object]]:
        """Yield the settings of the model in which two cards differ, with both values."""
        first, second = (dict(flat(card.described())) for card in (self, other))
        for name in {**first, **second}:
            if first.get(name) != second.get(name):
                yield name, first.get(name), second.get(name)

    def described(self) -> dict[str, Any]:
        """Return what two models need in common to be merged."""
        own = self.images
        crop = own.dataset if is_dotted(own.dataset) else crop_of(own.dataset, own.crop)
        backbone = self.backbone.model_dump(exclude={"weights"})
        return {"method": self.method, "crop": crop, "backbone": backbone, **self.settings}

    def transform(self) -> ImageTransform:
        """Return the function that makes an input of a decoded image.

        Raises:
            InputError: only the user's own data set knows it.
        """
        own = self.images
        if is_dotted(own.dataset):
            raise InputError(
                f"the transform of data set {own.dataset!r} is not known: give a tensor of images"
            )
        size = self.backbone.image_size
        return fixed_transform(own.dataset, size, own.crop)


def read_card(folder: Path, trust_code: Trust = False) -> Card:
    """Read ``model.json`` of a folder, possibly of another user.

    Raises:
        InputError: it is missing or damaged, or names untrusted code, or weights that would be
            downloaded.
    """
    file = folder / CARD_FILE
    if not file.is_file():
        run = (folder / "config.yaml").is_file()
        hint = f": finish the run with cl-prompts run --resume {folder}" if run else ""
        raise InputError(f"{folder} is not a model, it has no {CARD_FILE}{hint}")
    try:
        card = Card.model_validate_json(files.read_text(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{file} cannot be used: {where}: {first['msg']}") from error
    try:
        check_trust(card.user_code(), trust_code)
        check_at_hand(card.backbone.name, card.backbone.weights)
    except InputError as error:
        raise InputError(f"{file} cannot be used: {error}") from error
    return card


class Sizes(NamedTuple):
    """Facts about a stream that the construction of a strategy needs."""

    n_classes: int
    multi_label: bool
    n_tasks: int
    announced: bool


def strategy_of(card: Card, device: str) -> OnlineStrategy:
    """Build the untrained strategy of a model; global random generators do not change."""
    own = card.backbone
    with all_seeded(card.seed):
        backbone = create_backbone(
            own.name,
            weights=own.weights,
            image_size=own.image_size,
            normalisation=own.normalisation,
            precision=own.precision,
            seed=card.seed,
        )
        n_classes, n_tasks = card.first
        sizes = Sizes(n_classes, card.multi_label, n_tasks, card.announced)
        made = make_strategy(
            card.method, card.settings, backbone, sizes, device=device, seed=card.seed
        )
        made.grow(len(card.classes) - n_classes, card.n_tasks - n_tasks)
    return made


def make_strategy(
    method: str,
    options: Mapping[str, Any],
    backbone: FrozenViT,
    sizes: Sizes,
    *,
    device: str,
    seed: int,
    plugins: Sequence[Any] = (),
) -> OnlineStrategy:
    """Return an untrained strategy.

    Args:
        method: its name, short or dotted.
        options: its settings.
        backbone: the frozen ViT.
        sizes: of the stream.
        device: where to compute.
        seed: of the strategy.
        plugins: plugins in front of those in ``options``.

    Raises:
        InputError: a setting is out of range, or the method does not fit the data.
    """
    options = dict(options)
    accepted = strategy_class(method).settings()
    if "multi_label" in accepted:
        options["multi_label"] = sizes.multi_label
    elif sizes.multi_label:
        able = [name for name in STRATEGIES if "multi_label" in strategy_class(name).settings()]
        raise InputError(
            f"strategy {method!r} is defined for one class per image, and these images have"
            f" several: use {', '.join(able)}"
        )
    if "n_tasks" in accepted and sizes.announced:
        options["n_tasks"] = sizes.n_tasks
    return strategy_class(method)(
        backbone=backbone,
        n_classes=sizes.n_classes,
        device=device,
        evaluator=None,
        plugins=[*plugins, *make_plugins(options.pop("plugins", None) or {})],
        seed=seed,
        **options,
    )
