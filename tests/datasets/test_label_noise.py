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
    labels = np.asarray(labels)
    return ImageSet(torch.zeros(len(labels), 3, 8, 8), labels, **others)


def changes(noisy: ImageSet) -> dict[int, int]:
    """New label of each row whose label is wrong."""
    rows = np.flatnonzero(noisy.targets != noisy.truth).tolist()
    return {row: int(noisy.targets[row]) for row in rows}


def test_noise_of_seed_1_for_three_classes_is_fixed() -> None:
    noisy = LabelNoise("symmetric", rate=0.4).apply(images([0, 1, 2] * 5))
    assert changes(noisy) == {0: 2, 4: 0, 5: 0, 12: 2, 13: 2, 14: 0}
    # An image is in the task of the label that it carries.
    clean, given = (si_blurry_split(own, n_tasks=2, seed=2) for own in (noisy.true, noisy.targets))
    assert clean[0].tolist() == [9, 12, 6, 3, 0]
    assert given[0].tolist() == [5, 14, 9, 3, 6, 4]
    assert given[1].tolist() == [12, 8, 1, 2, 0, 10, 11, 13, 7]


def test_exactly_a_share_of_each_class_is_wrong_and_rates_nest() -> None:
    labels = np.repeat([0, 1, 2, 4], [7, 40, 1, 300])
    by_rate = {}
    for rate in (0.0, 0.1, 0.2, 0.5):
        noisy = LabelNoise("symmetric", rate=rate, seed=3).apply(images(labels))
        found = by_rate[rate] = changes(noisy)
        for label, n in ((0, 7), (1, 40), (2, 1), (4, 300)):
            assert sum(labels[row] == label for row in found) == round(rate * n)
        assert {*found.values()} <= {0, 1, 2, 4}
        assert np.array_equal(noisy.true, labels)
    assert by_rate[0.1].items() <= by_rate[0.2].items() <= by_rate[0.5].items()
    drawn = np.bincount([by_rate[0.5][row] for row in by_rate[0.5] if labels[row] == 4])
    assert (drawn > 30).all()  # uniform over the other classes: 50 each
    other = changes(LabelNoise("symmetric", rate=0.2).apply(images(labels), seed=4))
    assert other != by_rate[0.2]
    assert other == changes(LabelNoise("symmetric", rate=0.2, seed=4).apply(images(labels)))


def test_superclasses_of_cifar100_are_not_consecutive() -> None:
    assert [*map(len, GROUPS)] == [5] * 20
    assert len({*NAMES}) == 100
    mammals = [NAMES.index(name) for name in GROUPS[0]]
    assert mammals == [4, 30, 55, 72, 95]
    noisy = LabelNoise("similar", rate=1).apply(images(range(100)), NAMES)
    wrong = [NAMES[noisy.targets[label]] for label in mammals]
    assert wrong == ["dolphin", "otter", "seal", "whale", "beaver"]


def test_similar_classes_come_from_the_groups_of_the_data_set() -> None:
    data = images([0, 0, 1, 1, 2, 2, 3, 3], groups=("pet", "pet", "wild", "pet"))
    noise = LabelNoise("similar", rate=0.5, seed=1)
    noisy = noise.apply(data)
    assert sorted(changes(noisy).values()) == [0, 1, 3]
    said = noise.says(DataSet("zoo", noisy, data, ("ant", "bee", "cat", "dog")))
    assert said.startswith("similar label noise at rate 0.5: 3 of 8 training labels are wrong")
    assert said.endswith("; 1 classes are alone in their group and keep their labels")


def test_pairs_are_named_by_class_or_label() -> None:
    data = images([0] * 4 + [1] * 4 + [2] * 4, classes=("cat", "dog", "emu"))
    for pairs in ({"cat": "dog"}, {0: 1}, {"cat": 1}):
        assert [*changes(LabelNoise("pairs", rate=0.5, pairs=pairs).apply(data)).values()] == [1, 1]


@pytest.mark.parametrize("kind", ["missing", "extra"])
def test_pairs_of_image_and_class_are_missing_or_extra(kind: str) -> None:
    labels = np.zeros((60, 2), dtype=np.uint8)
    labels[:20, 0] = labels[15:25, 1] = 1
    few, many = (LabelNoise(kind, rate=r).apply(images(labels)).targets for r in (0.1, 0.5))
    value = int(kind == "extra")
    for noisy, numbers in ((few, [2, 1]), (many, [10, 5])):
        assert ((noisy != labels) & (noisy == value)).sum(axis=0).tolist() == numbers
        assert (noisy != labels).sum() == sum(numbers)
    assert ((few != labels) <= (many != labels)).all()


def test_labels_of_a_file_by_row(tmp_path: Path) -> None:
    data = images([0, 1, 2], classes=("cat", "2", "emu"))
    np.save(tmp_path / "rows.npy", [2, 1, 0])
    (tmp_path / "rows.csv").write_text("label\nemu\n2\n0\n")
    for name in ("rows.npy", "rows.csv"):
        noisy = LabelNoise("given", file=str(tmp_path / name)).apply(data)
        assert noisy.targets.tolist() == [2, 1, 0]
    several = images(np.array([[1, 0], [1, 1]], dtype=np.uint8), classes=("cat", "dog"))
    np.save(tmp_path / "matrix.npy", [[0, 1], [1, 0]])
    (tmp_path / "several.csv").write_text("label\ndog\ncat\n")
    for name in ("matrix.npy", "several.csv"):
        noisy = LabelNoise("given", file=str(tmp_path / name)).apply(several)
        assert noisy.targets.tolist() == [[0, 1], [1, 0]]
        assert noisy.targets.dtype == np.uint8


def test_labels_of_a_file_by_path(tmp_path: Path) -> None:
    data = load("folder", write_folder(tmp_path))
    files = [Path(str(file)) for file in data.train.files]
    wrong = {files[0]: "cat", files[8]: "ant"}
    rows = [f"{file.relative_to(tmp_path)},{wrong.get(file, file.parent.name)}" for file in files]
    listed = tmp_path / "given.csv"
    listed.write_text("\n".join(["path,label", *reversed(rows)]))
    noisy = LabelNoise("given", file=str(listed)).apply(data.train)
    assert changes(noisy) == {0: 2, 8: 0}
    listed.write_text("\n".join(["path,label", *rows[:-1], "elsewhere.png,ant"]))
    said = refusal(lambda: LabelNoise("given", file=str(listed)).apply(data.train))
    assert said.startswith(f"{listed} has no row for {files[8]}: add one")


def test_groups_are_folders_above_the_classes_or_a_column(tmp_path: Path) -> None:
    for name in ("pet/cat", "pet/dog", "bird/emu"):
        for number in range(2):
            write_image(tmp_path / "nested" / name / f"{number}.png")
    data = load("folder", tmp_path / "nested", test_percent=50, groups=True, classes=["emu", "cat"])
    assert (data.classes, data.train.groups) == (("emu", "cat"), ("bird", "pet"))
    assert data.domains == ()
    root, rows = (
        write_csv(tmp_path),
        "path,label,group\nimages/{}.jpg,dog,pet\nimages/{}.jpg,emu,{}",
    )
    (root / "train.csv").write_text(rows.format("a", "b", "x"))
    (root / "test.csv").write_text(rows.format("c", "d", "x"))
    data = load("csv", root)
    assert (data.train.groups, data.train.targets.tolist()) == (("pet", "x"), [0, 1])
    (root / "test.csv").write_text(rows.format("c", "d", "pet"))
    assert "class 'emu' is in the groups 'x' and 'pet'" in refusal(lambda: load("csv", root))


def test_noise_stays_with_its_images(tmp_path: Path) -> None:
    clean = DataSet("a", images([0, 1, 1, 1]), images([0, 1]), ("cat", "dog"))
    wrong = LabelNoise("pairs", rate=0.4, pairs={1: 0}).apply(clean.train)
    (row,) = changes(wrong)
    assert changes(wrong.at(np.array([row, 0]))) == {0: 0}
    assert changes(wrong.plain()) == {row: 0}
    noisy = DataSet("a", wrong, clean.test, clean.classes)
    assert noisy.fingerprint() == clean.fingerprint()  # of the data before noise
    later = DataSet("b", images([0, 1]), images([0, 1]), ("emu", "cat"))
    both = joined(noisy, later)
    assert both.train.truth.tolist() == [0, 1, 1, 1, 2, 0]
    assert changes(both.train) == changes(both.train.plain()) == {row: 0}
    assert both.fingerprint() == joined(clean, later).fingerprint()


ONE, SEVERAL = images([0, 0, 1, 1]), images(np.eye(2, dtype=np.uint8))


@pytest.mark.parametrize(
    ("data", "arguments", "says"),
    [
        (ONE, {"kind": "symetric", "rate": 0.1}, "did you mean 'symmetric'"),
        (ONE, {"kind": "symmetric"}, "needs a rate: add label_noise.rate"),
        (ONE, {"kind": "symmetric", "rate": 1.1}, "rate is 1.1"),
        (
            ONE,
            {"kind": "given", "rate": 0.1, "file": "x.npy"},
            "does not use a rate: leave out label_noise.rate",
        ),
        (ONE, {"kind": "missing", "rate": 0.1}, "use symmetric, similar, pairs or given"),
        (SEVERAL, {"kind": "pairs", "rate": 0.1, "pairs": {0: 1}}, "use missing, extra or given"),
        (SEVERAL, {"kind": "missing", "rate": 1}, "leaves class '0' without training images"),
        (ONE, {"kind": "similar", "rate": 0.1}, "needs groups of classes"),
        (ONE, {"kind": "pairs", "rate": 0.1, "pairs": {0: 2}}, "must be labels 0 to 1"),
        (ONE, {"kind": "pairs", "rate": 1, "pairs": {0: 1}}, "leaves class '0' without"),
        (images([0, 0]), {"kind": "symmetric", "rate": 0.1}, "needs two classes"),
        (ONE, {"kind": "given", "file": "three.npy"}, "labels of 3 images, and there are 4"),
        (ONE, {"kind": "given", "file": "pickled.npy"}, "is not an array of numbers"),
        (ONE, {"kind": "given", "file": "unknown.csv"}, "unknown.csv has ['gnu']: give one"),
    ],
)
def test_refusals(data: ImageSet, arguments: dict[str, Any], says: str, tmp_path: Path) -> None:
    np.save(tmp_path / "three.npy", [0, 1, 1])
    np.save(tmp_path / "pickled.npy", np.array({"labels": [0, 1]}), allow_pickle=True)
    (tmp_path / "unknown.csv").write_text("label\n0\ngnu\n1\n1\n")
    if "file" in arguments:
        arguments = {**arguments, "file": str(tmp_path / arguments["file"])}
    assert says in refusal(lambda: LabelNoise(**arguments).apply(data))
