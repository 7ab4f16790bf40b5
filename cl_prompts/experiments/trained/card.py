"""What ``model.json`` says of a model, and the network that it describes."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from avalanche.core import BasePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weight_files import weights_hash
from cl_prompts.backbones.weights import check_at_hand
from cl_prompts.datasets.registry import augmentation_of
from cl_prompts.datasets.transforms import Crop, ImageTransform
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.values import flat
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.trained import MODELS
from cl_prompts.seeds import seeded
from cl_prompts.strategies import STRATEGIES, make_plugins, strategy_class
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.user_code import Trust, check_trust, is_dotted, label_of
from cl_prompts.versions import __version__

CARD_FILE = "model.json"
MODEL_FILE = "model.safetensors"
IMAGES_FILE = "images.npz"
MODEL_FILES = (CARD_FILE, MODEL_FILE, IMAGES_FILE)
#: settings that change the training, not the model
_OF_TRAINING = re.compile(
    "lr|schedule|new_optimizer|clip_norm|class_mask|loss_norm|one_view|train_epochs|online_iter"
    "|(train_mb|eval_mb|buffer_batch)_size|.*_lr|.*weight_decay"
)


def of_model(options: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a strategy that define the model, without those of its training."""
    return {key: value for key, value in options.items() if not _OF_TRAINING.fullmatch(key)}


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
        crop: see :func:`~cl_prompts.datasets.registry.load_dataset`.
    """

    dataset: str
    crop: Crop | None


class Calibration(Part):
    """What makes probabilities of scores, and of a low one the answer "unknown".

    Attributes:
        temperature: divides the logits; None if it could not be fitted.
        confidence: in held-out images of known classes, ascending.
    """

    temperature: float | None = None
    confidence: list[float] = []


class Accuracy(Part):
    """Share of right answers, or mean average precision, with its 95 % interval.

    Attributes:
        low, high: the interval; None for the mean average precision of a run.
        images: number of images behind it.
        how: "test images", "leave-one-out" or "5-fold".
    """

    measure: Literal["accuracy", "mAP"]
    value: float
    low: float | None
    high: float | None
    images: int
    how: str

    def __str__(self) -> str:
        ends = [f"{100 * end:.1f}" for end in (self.low, self.high) if end is not None]
        interval = f" [{', '.join(ends)}]" if ends else ""
        return f"{'mAP ' * (self.measure == 'mAP')}{100 * self.value:.1f} %{interval}"


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
        per_class: learned images of each class; empty if images cannot be added.
        keep_features: whether the features of all learned images are stored.
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
    calibration: Calibration = Calibration()
    accuracy: Accuracy | None = None
    history: list[Event] = []

    def __str__(self) -> str:
        images = f", {self.history[-1].images} images" if self.history else ""
        score = "" if self.accuracy is None else f", {self.accuracy}"
        return f"{label_of(self.method)}, {len(self.classes)} classes{images}{score}"

    def described(self) -> dict[str, object]:
        """Return what two models need in common to be merged, by flat names."""
        own = self.images
        crop = own.dataset
        if not is_dotted(own.dataset):
            crop = augmentation_of(own.dataset, own.crop).crop
        backbone = self.backbone.model_dump(exclude={"weights"})
        found = {"method": self.method, "crop": crop, "backbone": backbone, **self.settings}
        return dict(flat(found))

    def transform_of(self, items: Sequence[object]) -> ImageTransform | None:
        """Return the function that makes an input of a decoded image; None for floats.

        Raises:
            InputError: only the user's own data set knows it.
        """
        own = self.images
        if all(isinstance(one, Tensor) and one.is_floating_point() for one in items):
            return None
        if is_dotted(own.dataset):
            raise InputError(
                f"the transform of data set {own.dataset!r} is not known: give a tensor of images"
            )
        return augmentation_of(own.dataset, own.crop).test(self.backbone.image_size)


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
        near = [*MODELS.glob(f"*/{CARD_FILE}"), *folder.parent.glob(f"*/{CARD_FILE}")]
        found = {place.parent.name: place.parent for place in near}
        if alike := get_close_matches(folder.name, found, n=1):
            hint = f": did you mean {found[alike[0]]}?"
        elif runs := sorted(folder.glob(f"*/{files.MODEL}/{CARD_FILE}")):
            hint = f": did you mean {runs[0].parent.parent}?"
        raise InputError(f"{folder} is not a model, it has no {CARD_FILE}{hint}")
    text = files.read_text(file)
    try:
        card = Card.model_validate_json(text)
        names = [card.method, *(card.settings.get("plugins") or {}), card.images.dataset]
        check_trust(filter(is_dotted, names), trust_code)
        check_at_hand(card.backbone.name, card.backbone.weights)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"{file} cannot be used: {where}: {first['msg']}") from error
    except InputError as error:
        raise InputError(f"{file} cannot be used: {error}") from error
    return card


def strategy_of(card: Card, backbone: FrozenViT, device: str) -> OnlineStrategy:
    """Build the untrained strategy of a model; global random generators do not change."""
    n_classes, n_tasks = card.first
    with seeded(card.seed):
        made = make_strategy(
            card.method,
            card.settings,
            backbone,
            n_classes,
            multi_label=card.multi_label,
            n_tasks=n_tasks if card.announced else None,
            device=device,
            seed=card.seed,
        )
        made.grow(len(card.classes) - n_classes, card.n_tasks - n_tasks)
    return made


def make_strategy(
    method: str,
    options: Mapping[str, Any],
    backbone: FrozenViT,
    n_classes: int,
    *,
    multi_label: bool,
    n_tasks: int | None,
    device: str,
    seed: int,
    plugins: Sequence[BasePlugin] = (),
) -> OnlineStrategy:
    """Return an untrained strategy.

    Args:
        method: its name, short or dotted.
        options: its settings.
        backbone: the frozen ViT.
        n_classes: number of classes.
        multi_label: whether an image may have several classes.
        n_tasks: number of tasks; None if it is not announced.
        device: where to compute.
        seed: of the strategy.
        plugins: plugins in front of those in ``options``.

    Raises:
        InputError: a setting is out of range, or the method does not fit the data.
    """
    options = dict(options)
    accepted = strategy_class(method).settings()
    if "multi_label" in accepted:
        options["multi_label"] = multi_label
    elif multi_label:
        able = [name for name in STRATEGIES if "multi_label" in strategy_class(name).settings()]
        raise InputError(
            f"strategy {method!r} is defined for one class per image, and these images have"
            f" several: use {', '.join(able)}"
        )
    if "n_tasks" in accepted and n_tasks is not None:
        options["n_tasks"] = n_tasks
    return strategy_class(method)(
        backbone=backbone,
        n_classes=n_classes,
        device=device,
        evaluator=None,
        plugins=[*plugins, *make_plugins(options.pop("plugins", None) or {})],
        seed=seed,
        **options,
    )
