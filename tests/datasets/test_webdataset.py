"""WebDataset shards: the images of a folder, and runs on them."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cl_prompts.datasets.registry import load_dataset
from tests.datasets.tables import own_cache


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with own_cache(tmp_path_factory.mktemp("cache")):
        yield


def write_shards(root: Path, labels: dict[str, list[str]], kind: str = "cls") -> np.ndarray:
    """Shards of at most five images; returns the pixels of all training images."""
    root.mkdir(exist_ok=True)
    n = len(labels["train"])
    pixels = np.random.default_rng(0).integers(0, 256, (n + len(labels["test"]), 8, 8, 3), np.uint8)
    for part, texts in labels.items():
        for i, text in enumerate(texts):
            with tarfile.open(root / f"{part}-{i // 5:03d}.tar", "a") as tar:
                image = io.BytesIO()
                Image.fromarray(pixels[i + n * (part == "test")]).save(image, "PNG")
                label = f"{text}\n"
                if kind == "json":
                    label = json.dumps({"label": text or None, "source": f"photo {i}"})
                files = {kind: label.encode(), "png": image.getvalue(), "pyd": b"a pickle"}
                for suffix, content in files.items():
                    member = tarfile.TarInfo(f"images/{i}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return pixels[:n]


@pytest.mark.parametrize("kind", ["cls", "txt", "json"])
def test_images_are_read_in_any_order(kind: str, tmp_path: Path) -> None:
    texts = ["10", "9", "9", "10", "2", "2", "9"]
    pixels = write_shards(tmp_path, {"train": texts, "test": ["2", "9", "10"]}, kind)
    data = load_dataset("webdataset", root=tmp_path, image_size=8, augment=False)
    assert data.classes == (("2", "9", "10") if kind == "cls" else ("10", "2", "9"))
    assert [data.classes[label] for label in data.train.targets] == texts
    for row in (6, 0, 5):
        found = (255 * data.train[row][0]).round().byte()
        assert torch.equal(found, torch.from_numpy(pixels[row]).permute(2, 0, 1))
