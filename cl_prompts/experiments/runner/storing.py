"""Store the features of a recipe's images, for ``dataset=features``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weight_files import backbone_hash
from cl_prompts.datasets.collate import HeldOutItems, collate
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.stored_features import ABOUT, CLASSES
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.runner.building import Resources

#: rows of a piece
PIECE = 2**16


def store_features(
    recipe: str,
    settings: Sequence[str],
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    batch_size: int = 64,
) -> None:
    """Pass all images of a recipe through its backbone once, and store their features.

    Images are not augmented. Pieces that are there already are kept, so that an interrupted call
    can be made again.

    Args:
        recipe: recipe of the package or a YAML file.
        settings: ``key=value`` texts; the strategy of the recipe says which ``features``.
        folder: for ``dataset.root``; made if it is missing.
        dtype: of the files; ``torch.float16`` halves them.
        batch_size: images per pass.

    Raises:
        InputError: settings that do not fit, or a folder of other features.

    Example::

        store_features("digits", ["strategy=recommended"], "digit_features")
    """
    run = plan(recipe, settings)[0]
    resources = Resources()
    data = resources.data(run)
    name = str(run.options.get("features") or "token")
    backbone = resources.backbone(run, data).with_features(name).to(pick_device(run.device))
    about = {
        "backbone": run.backbone["name"],
        "features": name,
        "sha256": backbone_hash(backbone),
        "type": str(dtype).removeprefix("torch."),
        "data": data.fingerprint(),
    }
    folder = Path(folder)
    known = folder / ABOUT
    if known.is_file() and json.loads(known.read_text("utf-8")) != about:
        raise InputError(f"{folder} has features of other images or settings: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    files.replace(folder / CLASSES, [json.dumps(list(data.classes)).encode()])
    files.replace(known, [json.dumps(about, indent=1).encode()])
    for part, images in (("train", data.train.plain()), ("test", data.test)):
        (folder / part).mkdir(exist_ok=True)
        _store_part(backbone, images, folder / part, dtype, batch_size)


@torch.no_grad()
def _store_part(
    backbone: FrozenViT, images: ImageSet, folder: Path, dtype: torch.dtype, batch_size: int
) -> None:
    for start in range(0, len(images), PIECE):
        place = folder / f"{start:012d}.safetensors"
        if place.is_file():
            continue
        rows = list(range(start, min(start + PIECE, len(images))))
        batches = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
        device = backbone.mean.device
        found = [backbone(b.to(device)).to("cpu", dtype) for b in image_batches(images, batches)]
        labels = torch.from_numpy(images.targets[rows])
        files.replace(place, [save({"features": torch.cat(found), "labels": labels})])


def image_batches(
    images: ImageSet, batches: Sequence[list[int]], workers: int = 0
) -> Iterator[Tensor]:
    """Yield images (batch, 3, size, size) of batches of rows, the same at each call."""
    loader = DataLoader(
        HeldOutItems(images, images.targets),
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=workers,
        generator=torch.Generator(),
    )
    return (batch[0] for batch in loader)
