"""Tiny data sets in the formats of the library ``datasets``."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

datasets = pytest.importorskip("datasets")
NAMES = ["ant", "bee", "cat"]


def png(value: int) -> bytes:
    """A flat image whose grey value tells which one it is."""
    file = io.BytesIO()
    Image.new("RGB", (12, 10), (value, value, value)).save(file, "PNG")
    return file.getvalue()


def table(labels: Sequence[Any], kind: Any = None, first: int = 0, **columns: Any) -> Any:
    """A table with an image and a label in each row; the images are grey from ``first``."""
    images = [{"bytes": png(first + row), "path": None} for row in range(len(labels))]
    features = {"img": datasets.Image(), "fine": kind or datasets.ClassLabel(names=NAMES)}
    features |= {name: datasets.ClassLabel(names=["x", "y"]) for name in columns}
    content = {"img": images, "fine": list(labels), **columns}
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def parts(**splits: Any) -> Any:
    return datasets.DatasetDict(splits)


def pets() -> Any:
    return parts(train=table([0, 1, 2] * 2), test=table([2, 0, 1], first=100))


def write(form: str, found: Any, place: Path) -> Path:
    """Write a data set as Parquet, as an image folder, or by ``save_to_disk``."""
    if form == "save_to_disk":
        found.save_to_disk(str(place))
        return place
    for split, rows in found.items():
        (place / split).mkdir(parents=True)
        if form == "parquet":
            rows.to_parquet(str(place / split / "0.parquet"))
            continue
        lines = []
        for row in range(len(rows)):
            encoded = rows.cast_column("img", datasets.Image(decode=False))[row]
            (place / split / f"{row}.png").write_bytes(encoded["img"]["bytes"])
            name = NAMES[encoded["fine"]]
            lines.append(json.dumps({"file_name": f"{row}.png", "fine": name}))
        (place / split / "metadata.jsonl").write_text("\n".join(lines))
    return place


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Keep what the library writes in a folder, without progress bars."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder))
        datasets.disable_progress_bars()
        yield
        datasets.enable_progress_bars()
