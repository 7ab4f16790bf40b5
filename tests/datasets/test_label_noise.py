"""Wrong labels of training images: rules, files, groups of classes, and what is refused."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cl_prompts.datasets.combined import joined
from cl_prompts.datasets.dataset import DataSet, ImageSet
from cl_prompts.datasets.label_noise import CIFAR100_GROUPS, LabelNoise
from cl_prompts.scenarios import si_blurry_split
from tests.datasets.toys import load, refusal, write_csv, write_folder, write_image

GROUPS = [own.split() for own in CIFAR100_GROUPS.split(";")]
NAMES = sorted(itertools.chain(*GROUPS))


def images(labels: Any, **others: Any) -> ImageSet:
    return ImageSet(torch.zeros(len(labels), 3, 8, 8), np.asarray(labels), **others)


def noisy(data: ImageSet, kind: str, **settings: Any) -> ImageSet:
    return LabelNoise(kind, **settings).apply(data)


def changes(data: ImageSet) -> dict[int, int]:
    """New label of each row whose label is wrong."""
    rows = np.flatnonzero(data.targets != data.truth).tolist()
    return {row: int(data.targets[row]) for row in rows}


def test_noise_of_seed_1_for_three_classes_is_fixed() -> None:
    data = noisy(images([0, 1, 2] * 5), "symmetric", rate=0.4)
    assert changes(data) == {0: 2, 4: 0, 5: 0, 12: 2, 13: 2, 14: 0}
    # An image is in the task of the label that it carries.
    clean, given = (si_blurry_split(own, n_tasks=2, seed=2) for own in (data.true, data.targets))
    assert clean[0].tolist() == [9, 12, 6, 3, 0]
    assert given[0].tolist() == [5, 14, 9, 3, 6, 4]
    assert given[1].tolist() == [12, 8, 1, 2, 0, 10, 11, 13, 7]


def test_exactly_a_share_of_each_class_is_wrong_and_rates_nest() -> None:
    data = images(np.repeat([0, 1, 2, 4], [7, 40, 1, 300]))
    labels = data.targets
    by_rate = {r: changes(noisy(data, "symmetric", rate=r, seed=3)) for r in (0, 0.1, 0.2, 0.5)}
    for rate, found in by_rate.items():
        for label, n in ((0, 7), (1, 40), (2, 1), (4, 300)):
            assert sum(labels[row] == label for row in found) == round(rate * n)
    assert by_rate[0.1].items() <= by_rate[0.2].items() <= by_rate[0.5].items()
    drawn = np.bincount([by_rate[0.5][row] for row in by_rate[0.5] if labels[row] == 4])
    assert len(drawn) == 3
    assert (drawn > 30).all()  # uniform over the other classes: 50 each
    other = changes(LabelNoise("symmetric", rate=0.2).apply(data, seed=4))
    assert changes(noisy(data, "symmetric", rate=0.2, seed=4)) == other != by_rate[0.2]


def test_superclasses_of_cifar100_are_not_consecutive() -> None:
    assert [*map(len, GROUPS)] == [5] * 20
    assert len({*NAMES}) == 100
    mammals = [NAMES.index(name) for name in GROUPS[0]]
    assert mammals == [4, 30, 55, 72, 95]
    given = LabelNoise("similar", rate=1).apply(images(range(100)), NAMES).targets[mammals]
    assert [NAMES[label] for label in given] == ["dolphin", "otter", "seal", "whale", "beaver"]


def test_similar_classes_come_from_the_groups_of_the_data_set() -> None:
    data = images([0, 0, 1, 1, 2, 2, 3, 3], groups=("pet", "pet", "wild", "pet"))
    wrong = noisy(data, "similar", rate=0.5)
    assert sorted(changes(wrong).values()) == [0, 1, 3]
    zoo = DataSet("zoo", wrong, data, ("ant", "bee", "cat", "dog"))
    said = LabelNoise("similar", rate=0.5).says(zoo)
    assert said.startswith("similar label noise at rate 0.5: 3 of 8 training labels are wrong")
    assert said.endswith("; 1 classes are alone in their group and keep their labels")


def test_pairs_are_named_by_class_or_label() -> None:
    data = images([0] * 4 + [1] * 4 + [2] * 4, classes=("cat", "dog", "emu"))
    for pairs in ({"cat": "dog"}, {0: 1}, {"cat": 1}):
        assert [*changes(noisy(data, "pairs", rate=0.5, pairs=pairs)).values()] == [1, 1]


@pytest.mark.parametrize("kind", ["missing", "extra"])
def test_pairs_of_image_and_class_are_missing_or_extra(kind: str) -> None:
    labels = np.zeros((60, 2), dtype=np.uint8)
    labels[:20, 0] = labels[15:25, 1] = 1
    few, many = (noisy(images(labels), kind, rate=rate).targets for rate in (0.1, 0.5))
    for given, numbers in ((few, [2, 1]), (many, [10, 5])):
        assert (given != labels).sum(axis=0).tolist() == numbers
        assert (given[given != labels] == int(kind == "extra")).all()
    assert ((few != labels) <= (many != labels)).all()


ROWS = images([0, 1, 2], classes=("cat", "2", "emu"))
MATRIX = images(np.array([[1, 0], [1, 1]], dtype=np.uint8), classes=("cat", "dog"))


def test_labels_of_a_file_by_row(tmp_path: Path) -> None:
    for data, labels, text in ((ROWS, [2, 1, 0], "emu 2 0"), (MATRIX, [[0, 1], [1, 0]], "dog cat")):
        np.save(tmp_path / "given.npy", labels)
        (tmp_path / "given.csv").write_text("\n".join(["label", *text.split()]))
        for name in ("given.npy", "given.csv"):
            found = noisy(data, "given", file=str(tmp_path / name)).targets
            assert found.tolist() == labels
            assert found.dtype == data.targets.dtype


def test_labels_of_a_file_by_path(tmp_path: Path) -> None:
    data = load("folder", write_folder(tmp_path)).train
    files = [Path(str(file)) for file in data.files]
    wrong = {files[0]: "cat", files[8]: "ant"}
    rows = [f"{file.relative_to(tmp_path)},{wrong.get(file, file.parent.name)}" for file in files]
    listed = tmp_path / "given.csv"
    listed.write_text("\n".join(["path,label", *reversed(rows)]))
    assert changes(noisy(data, "given", file=str(listed))) == {0: 2, 8: 0}
    listed.write_text("\n".join(["path,label", *rows[:-1], "elsewhere.png,ant"]))
    said = refusal(lambda: noisy(data, "given", file=str(listed)))
    assert said == f"{listed} has no row for {files[8]}: add one"


def test_groups_are_folders_above_the_classes_or_a_column(tmp_path: Path) -> None:
    for name, number in itertools.product(("pet/cat", "pet/dog", "bird/emu"), range(2)):
        write_image(tmp_path / "nested" / name / f"{number}.png")
    data = load("folder", tmp_path / "nested", test_percent=50, groups=True, classes=["emu", "cat"])
    assert (data.train.groups, data.domains) == (("bird", "pet"), ())
    root = write_csv(tmp_path)
    rows = "path,label,group\nimages/{}.jpg,dog,pet\nimages/{}.jpg,emu,{}"
    (root / "train.csv").write_text(rows.format("a", "b", "x"))
    (root / "test.csv").write_text(rows.format("c", "d", "x"))
    data = load("csv", root)
    assert (data.train.groups, data.train.targets.tolist()) == (("pet", "x"), [0, 1])
    (root / "test.csv").write_text(rows.format("c", "d", "pet"))
    assert "class 'emu' is in the groups 'x' and 'pet'" in refusal(lambda: load("csv", root))


def test_noise_stays_with_its_images_and_is_no_part_of_the_fingerprint() -> None:
    clean = DataSet("a", images([0, 1, 1, 1]), images([0, 1]), ("cat", "dog"))
    wrong = noisy(clean.train, "pairs", rate=0.4, pairs={1: 0})
    (row,) = changes(wrong)
    assert changes(wrong.at(np.array([row, 0]))) == {0: 0}
    given = DataSet("a", wrong, clean.test, clean.classes)
    assert given.fingerprint() == clean.fingerprint()
    later = DataSet("b", images([0, 1]), images([0, 1]), ("emu", "cat"))
    both = joined(given, later)
    assert both.train.truth.tolist() == [0, 1, 1, 1, 2, 0]
    assert changes(both.train) == changes(both.train.plain()) == {row: 0}
    assert both.fingerprint() == joined(clean, later).fingerprint()


ONE, SEVERAL = images([0, 0, 1, 1]), images(np.eye(2, dtype=np.uint8))
PAIR = {"rate": 0.1, "pairs": {0: 1}}


@pytest.mark.parametrize(
    ("data", "kind", "settings", "says"),
    [
        (ONE, "symetric", {"rate": 0.1}, "did you mean 'symmetric'"),
        (ONE, "symmetric", {}, "needs a rate: add label_noise.rate"),
        (ONE, "symmetric", {"rate": 1.1}, "rate is 1.1"),
        (ONE, "given", {"rate": 0.1, "file": "x"}, "a rate: leave out label_noise.rate"),
        (ONE, "missing", {"rate": 0.1}, "use symmetric, similar, pairs or given"),
        (SEVERAL, "pairs", PAIR, "use missing, extra or given"),
        (SEVERAL, "missing", {"rate": 1}, "leaves class '0' without training images"),
        (ONE, "similar", {"rate": 0.1}, "needs groups of classes"),
        (ONE, "pairs", {"rate": 0.1, "pairs": {0: 2}}, "must be labels 0 to 1"),
        (ONE, "pairs", PAIR | {"rate": 1}, "leaves class '0' without"),
        (images([0, 0]), "symmetric", {"rate": 0.1}, "needs two classes"),
        (ONE, "given", {"file": "three.npy"}, "labels of 3 images, and there are 4"),
        (ONE, "given", {"file": "pickled.npy"}, "is not an array of numbers"),
        (ONE, "given", {"file": "unknown.csv"}, "unknown.csv has ['gnu']: give one"),
    ],
)
def test_refusals(
    data: ImageSet, kind: str, settings: Any, says: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("three.npy", [0, 1, 1])
    np.save("pickled.npy", np.array({"labels": [0, 1]}), allow_pickle=True)
    Path("unknown.csv").write_text("label\n0\ngnu\n1\n1\n")
    assert says in refusal(lambda: noisy(data, kind, **settings))
