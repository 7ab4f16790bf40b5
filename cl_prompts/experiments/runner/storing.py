"""Store the features of a recipe's images, for ``dataset=features``."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch.utils.data import DataLoader

from cl_prompts.backbones.devices import pick_device
from cl_prompts.datasets.collate import HeldOutItems, collate
from cl_prompts.datasets.stored_features import ABOUT, CLASSES
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.runner.building import Resources


@torch.no_grad()
def store_features(
    recipe: str,
    settings: Sequence[str],
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    batch_size: int = 64,
) -> None:
    """Pass all images of a recipe through its backbone once, and store their features.

    Images are not augmented. The features of a part are in memory until they are written.

    Args:
        recipe: recipe of the package or a YAML file.
        settings: ``key=value`` texts; the strategy of the recipe says which ``features``.
        folder: for ``dataset.root``; must not exist.
        dtype: of the files; ``torch.float16`` halves them.
        batch_size: images per pass.

    Raises:
        InputError: settings that do not fit, or the folder exists.

    Example::

        store_features("digits", ["strategy=recommended"], "digit_features")
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder} exists already: name another folder")
    run = plan(recipe, settings)[0]
    resources = Resources()
    data = resources.data(run)
    name = str(run.options.get("features") or "token")
    device = pick_device(run.device)
    backbone = resources.backbone(run, data).with_features(name).to(device)
    about = {"backbone": run.backbone["name"], "features": name}
    with files.replacing_folder(folder) as place:
        for part, images in (("train", data.train.plain()), ("test", data.test)):
            items = HeldOutItems(images, images.targets)
            loader = DataLoader(items, batch_size, collate_fn=collate, generator=torch.Generator())
            found = [backbone(batch[0].to(device)).to("cpu", dtype) for batch in loader]
            labels = torch.from_numpy(images.targets)
            (place / part).mkdir()
            piece = save({"features": torch.cat(found), "labels": labels})
            files.replace(place / part / "all.safetensors", [piece])
        files.replace(place / CLASSES, [json.dumps(list(data.classes)).encode()])
        files.write_json(place / ABOUT, about)
