"""Data sets in the formats of the Hugging Face hub."""

import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.datasets import bad_images, decoding
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.datasets.hub import hub_options, labelled_rows
from cl_prompts.datasets.registry import DataSet, load_dataset
from cl_prompts.errors import InputError
from tests.datasets.tables import NAMES, datasets, own_cache, parts, pets, png, table, write
from tests.datasets.toys import grey, shown
from tests.refusals import check_refusals


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path) -> Iterator[None]:
    with own_cache(tmp_path / "cache"):
        yield


def load(place: Path | str, **options: Any) -> DataSet:
    return load_dataset("hf", path=str(place), image_size=8, augment=False, **options)


@pytest.mark.parametrize("form", ["parquet", "imagefolder", "save_to_disk"])
def test_every_format_gives_the_same_data_set(form: str, tmp_path: Path) -> None:
    data = load(write(form, pets(), tmp_path / "pets"))
    assert str(data) == "hf: 3 classes, 6 training and 3 test images"
    assert data.classes == tuple(NAMES)
    assert data.train.targets.tolist() == [0, 1, 2] * 2
    assert data.test.targets.tolist() == [2, 0, 1]
    assert grey(data.train) == [0, 1, 2, 3, 4, 5]
    assert grey(data.test) == [100, 101, 102]
    assert pickle.loads(pickle.dumps(data.test))[0][1] == 2  # as loader processes receive it


def test_the_fingerprint_follows_content_and_not_the_place(tmp_path: Path) -> None:
    place = write("parquet", pets(), tmp_path / "pets")
    before = load(place).fingerprint()
    shutil.copytree(place, tmp_path / "copy")
    saved = write("save_to_disk", pets(), tmp_path / "saved")
    for other in (tmp_path / "copy", saved):
        assert load(other).fingerprint() == before
    changed = parts(train=table([0, 1, 2] * 2), test=table([2, 0, 1], first=101))
    now = load(write("parquet", changed, tmp_path / "changed")).fingerprint()
    assert fingerprint_change(before, now) == "contents of test images changed"


def test_a_downloaded_data_set_is_read_without_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = parts(train=table([0, 1, 2]), test=table([0, 1, 2], first=2))
    place = write("parquet", copied, tmp_path / "pets")
    with pytest.raises(InputError, match="1 test images of data set 'hf' are also training"):
        load(place).fingerprint()
    # as the library stores what comes from the hub
    stored = Path(datasets.load_dataset_builder(str(place)).cache_dir)
    shutil.copytree(stored, tmp_path / "cache" / "me___pets" / "default" / "0.0.0" / ("a" * 40))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    assert load("me/pets").fingerprint()["test"]["images"] == 3  # its copies are its authors'


def test_images_are_decoded_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write("save_to_disk", pets(), tmp_path / "pets")
    decoded = []
    decode = decoding.decode
    spy = lambda file: (decoded.append(str(file)), decode(file))[1]  # noqa: E731
    monkeypatch.setattr(decoding, "decode", spy)
    data = load(place, on_bad_image="defer")
    assert not decoded
    for row in (4, 1):
        data.train[row]
    assert decoded == [f"{place}/train/4", f"{place}/train/1"]


def test_an_image_that_cannot_be_decoded_is_named_and_may_be_left_out(tmp_path: Path) -> None:
    found = pets()
    rows = found["train"].to_dict()
    rows["img"] = [*map(png, range(5)), b"no image"]
    features = datasets.Features(img=datasets.Value("binary"), fine=found["train"].features["fine"])
    features["img"] = {"bytes": datasets.Value("binary")}
    rows["img"] = [{"bytes": content} for content in rows["img"]]
    found["train"] = datasets.Dataset.from_dict(rows, features=features)
    place = write("save_to_disk", found, tmp_path / "pets")
    with pytest.raises(InputError, match=r"image .*/pets/train/5 cannot be read: its format"):
        load(place)
    data = load(place, on_bad_image="skip")
    assert [*map(str, data.skipped)] == [f"{place}/train/5"]
    assert grey(data.train) == [0, 1, 2, 3, 4]
    assert len(bad_images.check_images(data)) == 0


LISTS = datasets.List(datasets.ClassLabel(names=NAMES))


def test_several_labels_an_image(tmp_path: Path) -> None:
    found = parts(train=table([[0, 2], [], [1]], LISTS), test=table([[2, 1, 0]], LISTS))
    data = load(write("save_to_disk", found, tmp_path / "pets"))
    assert data.multi_label
    assert [shown(data, row) for row in range(3)] == [{"ant", "cat"}, set(), {"bee"}]
    assert data.test.targets.tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(("kind", "labels"), [("int64", [10, 9, 10, 9]), ("string", list("baba"))])
def test_labels_without_names(kind: str, labels: list[Any], tmp_path: Path) -> None:
    found = parts(train=table(labels, datasets.Value(kind)))
    data = load(write("parquet", found, tmp_path / "pets"), test_percent=50, split_seed=1)
    assert data.classes == (("9", "10") if kind == "int64" else ("a", "b"))
    assert sorted(data.train.targets) == sorted(data.test.targets) == [0, 1]
    assert sorted(grey(data.train) + grey(data.test)) == [0, 1, 2, 3]


def test_the_rows_of_a_place_on_the_command_line(tmp_path: Path) -> None:
    place = write("parquet", pets(), tmp_path / "pets")
    assert hub_options(tmp_path) == {}
    options = hub_options(Path(f"{place}?label=fine"))
    assert options == {"path": str(place), "label": "fine"}
    found, labels = labelled_rows(options)
    assert [*map(str, found)] == [f"{place}/test/{row}" for row in range(3)]
    assert labels == [["cat"], ["ant"], ["bee"]]
    found, labels = labelled_rows({"path": str(place), "test_split": "train"}, labels=False)
    assert (len(found), labels[0]) == (6, [])
    assert hub_options(Path("hf://me/pets@v1")) == {"path": "me/pets", "revision": "v1"}


def unreachable(*_: Any, **__: Any) -> None:
    raise ConnectionError("Couldn't reach 'me/pets' on the Hub (OfflineModeIsEnabled)")


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "ran"
    Path("code").mkdir()
    Path("code/code.py").write_text(f"open({str(marker)!r}, 'w')")
    Path("csv").mkdir()
    Path("csv/train.csv").write_text("image,label\na.png,1\n")
    write("save_to_disk", pets(), Path("pets"))
    write("save_to_disk", pets()["train"], Path("one"))
    two = table([0, 1, 2], coarse=[0, 1, 1])
    write("save_to_disk", parts(train=two, test=two), Path("two"))
    hidden = parts(train=table([0, 1, 2]), test=table([0, -1, -1]))
    write("save_to_disk", hidden, Path("hidden"))
    bare = pets()["train"].remove_columns("img")
    write("save_to_disk", parts(train=bare, test=bare), Path("bare"))
    cases: dict[str, tuple[str, dict[str, Any]]] = {
        "code": ("./code", {}),
        "other format": ("./csv", {}),
        "no split": ("./pets", {"test_split": "tset"}),
        "no test split": ("./one", {}),
        "one split twice": ("./pets", {"test_split": "train"}),
        "no column": ("./pets", {"label": "label"}),
        "no labels": ("./pets", {"label": "img"}),
        "no image column": ("./bare", {}),
        "two label columns": ("./two", {}),
        "hidden labels": ("./hidden", {}),
    }
    calls: dict[str, Callable[[], object]] = {
        name: lambda place=place, options=options: load(place, **options)
        for name, (place, options) in cases.items()
    }
    calls["option of a place"] = lambda: hub_options("hf://me/pets?labels=fine")
    calls["split of a place"] = lambda: labelled_rows({"path": "./pets", "test_split": "tset"})

    def offline() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(datasets, "load_dataset_builder", unreachable)
            load("me/pets")

    calls["offline"] = offline
    check_refusals(Path(__file__).with_name("refused_hub.txt"), calls)
    assert not marker.exists()
