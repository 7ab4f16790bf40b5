"""What is found in folders and tables of one's own images."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_prompts.datasets.registry import load_dataset
from cl_prompts.errors import InputError
from cl_prompts.experiments.runner.findings import Survey
from cl_prompts.experiments.runner.own_images import survey
from tests.experiments.own_photos import photo, photos


def test_class_folders_alone_are_divided_as_the_run_will_divide_them(tmp_path: Path) -> None:
    photos(tmp_path, {"cat": 10, "dog": 5})
    found = survey(tmp_path, test_percent=40, seed=3)
    assert found.settings["test_percent"] == 40
    assert found.lines()[1].startswith("there is no test part: 40 % of the images are test images")
    settings = {key: value for key, value in found.settings.items() if key != "name"}
    data = load_dataset("folder", image_size=8, **settings)
    assert tuple(look.path for look in found.train) == data.train.files
    assert tuple(look.path for look in found.test) == data.test.files
    assert found.counts == {"cat": 6, "dog": 3}
    assert found.lines()[3] == "every image has 10 x 8 pixels"


def test_a_table_without_parts_is_divided_into_two(tmp_path: Path) -> None:
    photos(tmp_path / "images", {"all": 20})
    rows = [f"images/all/{i:03d}.png,{'cat' if i % 2 else 'dog;owl'}" for i in range(20)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,label", *rows]))
    out = tmp_path / "out"
    found = survey(table, tables=out)
    assert not out.exists()  # a look writes nothing
    found.keep()
    assert found.multi_label
    assert found.settings == {"name": "csv", "root": str(out.resolve())}
    assert found.lines()[0] == "3 classes, several labels per image, 16 training and 4 test images"
    data = load_dataset("csv", image_size=8, root=out)
    assert (len(data.train), len(data.test)) == (16, 4)
    assert survey(out / "train.csv").lines()[0] == found.lines()[0]
    with pytest.raises(InputError, match=r"train\.csv exists already"):
        survey(table, tables=out)
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(InputError, match="link is a link, through which nothing is written"):
        survey(table, tables=tmp_path / "link")
    others = [survey(table, tables=tmp_path / f"out{seed}", seed=seed).test for seed in (1, 2)]
    assert len({tuple(look.path for look in test) for test in (found.test, *others)}) == 3


def test_a_path_through_a_link_leads_where_the_system_finds_it(tmp_path: Path) -> None:
    photos(tmp_path / "other", {"deep": 10})
    photos(tmp_path, {"table": 10}, first=100)
    for file in (tmp_path / "other" / "deep").iterdir():
        file.rename(tmp_path / "other" / file.name)
    (tmp_path / "table" / "link").symlink_to(tmp_path / "other" / "deep")
    rows = [f"link/../{i:03d}.png,{'cat' if i % 2 else 'dog'}" for i in range(10)]
    (tmp_path / "table" / "labels.csv").write_text("\n".join(["path,label", *rows]))
    found = survey(tmp_path / "table" / "labels.csv", tables=tmp_path / "out")
    read = {Path(look.path).resolve() for look in (*found.train, *found.test)}
    assert {path.parent for path in read} == {tmp_path / "other"}


def test_folders_of_the_same_classes_are_domains(tmp_path: Path) -> None:
    for number, domain in enumerate(("sketch", "art")):
        photos(tmp_path / domain, {"cat": 5, "dog": 10}, first=5000 * number)
    found = survey(tmp_path)
    assert found.domains == ("art", "sketch")
    assert found.settings["domains"] is True
    assert found.lines()[:3] == [
        "2 classes, 24 training and 6 test images",
        "2 domains: art, sketch; folders are read as <domain>/<class>/*, since they hold folders of"
        " the same names",
        "there is no test part: 20 % of the images are test images, chosen by seed 0, of each class"
        " in each domain",
    ]
    settings = {key: value for key, value in found.settings.items() if key != "name"}
    data = load_dataset("folder", image_size=8, **settings)
    assert tuple(look.path for look in found.train) == data.train.files
    for part, first in (("train", 0), ("test", 9000)):
        for number, domain in enumerate(("sketch", "art")):
            folder = tmp_path / "parts" / part / domain
            photos(folder, {"cat": 2, "dog": 2}, first=first + 30000 + 5000 * number)
    parts = survey(tmp_path / "parts")
    assert parts.domains == ("art", "sketch")
    assert not parts.split


def test_a_table_of_domains_is_divided_in_each(tmp_path: Path) -> None:
    photos(tmp_path / "images", {"all": 20})
    names = [("cat", "dog")[i % 2] for i in range(20)]
    rows = [f"images/all/{i:03d}.png,{names[i]},{'new' if i > 9 else 'old'}" for i in range(20)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,label,domain", *rows]))
    found = survey(table, tables=tmp_path / "out")
    found.keep()
    assert found.domains == ("new", "old")
    assert not found.multi_label
    assert found.lines()[1] == "2 domains: new, old"
    data = load_dataset("csv", image_size=8, root=tmp_path / "out")
    assert data.test.domains is not None
    cells = zip(data.test.domains.tolist(), data.test.targets.tolist(), strict=True)
    assert sorted(cells) == [("new", 0), ("new", 1), ("old", 0), ("old", 1)]


def assert_loads_as_found(found: Survey) -> None:
    found.keep()
    settings = {key: value for key, value in found.settings.items() if key != "name"}
    data = load_dataset(found.settings["name"], image_size=8, **settings)
    assert data.classes == found.classes
    assert tuple(look.path for look in found.train) == data.train.files
    assert tuple(look.path for look in found.test) == data.test.files
    assert data.test.targets.tolist() == found.test_targets.tolist()


def test_all_findings_come_in_one_list_and_the_run_is_possible(tmp_path: Path) -> None:
    photos(tmp_path, {"Cat fish": 4, "catfish": 4, "dog": 1, "fox": 3, "owl": 6})
    for name in ("ant", "bee", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "ant" / "one.gif").touch()
    for file in (tmp_path / "fox").iterdir():
        file.write_text("no image")
    photo(tmp_path / "owl" / "again.png", 1)
    photo(tmp_path / "one.png", 1)
    found = survey(tmp_path)
    assert found.classes == ("Cat fish", "catfish", "owl")
    warnings = found.warnings()
    assert warnings.pop(5) == f"1 image beside folders of classes, not read: {tmp_path}/one.png"
    assert warnings[:5] == [
        "2 classes left out, a folder without an image: 'ant', 'bee'",
        "1 class left out, one image, where training and test need one each: 'dog'",
        "1 class left out, no training image that can be read: 'fox'",
        "names that differ in case or blanks alone, 'Cat fish', 'catfish': rename folders or"
        " labels that mean the same",
        f"hidden folders are not read: {tmp_path}/.git",
    ]
    assert warnings[5].startswith("3 images that cannot be read, to be left out: ")
    assert warnings[6] == "no image files: 1 .gif"
    assert warnings[7].startswith(
        "1 image under two labels or more, with the same pixels, the first"
    )
    said = found.lines()[-len(found.warnings()) :]
    assert said == [f"warning: {warning}" for warning in found.warnings()]
    assert_loads_as_found(found)


def test_names_that_a_run_would_refuse_are_refused(tmp_path: Path) -> None:
    photos(tmp_path, {"Cat": 4, "cat": 4, "owl": 6})
    (tmp_path / "ant").mkdir()
    with pytest.raises(InputError, match="names 'Cat' and 'cat' of this") as refused:
        survey(tmp_path)
    assert str(refused.value).endswith("1 class left out, a folder without an image: 'ant'")


def test_a_class_on_one_side_alone_is_left_out(tmp_path: Path) -> None:
    photos(tmp_path / "train", {"cat": 2, "dog": 2, "fox": 2})
    photos(tmp_path / "test", {"cat": 2, "dog": 2, "owl": 2}, first=50)
    found = survey(tmp_path)
    assert found.warnings() == [
        "1 class left out, no folder in test: 'fox'",
        "1 class left out, no folder in train: 'owl'",
    ]
    assert_loads_as_found(found)


def test_a_class_with_one_image_of_a_domain_is_left_out(tmp_path: Path) -> None:
    for number, domain in enumerate(("sketch", "art")):
        photos(tmp_path / domain, {"cat": 5, "dog": 1 + number, "owl": 2}, first=5000 * number)
    found = survey(tmp_path)
    assert (found.classes, found.domains) == (("cat", "owl"), ("art", "sketch"))
    assert_loads_as_found(found)


@pytest.mark.parametrize(("labels", "kept"), [(("cat", "dog;owl"), 9), (("cat", "dog"), 8)])
def test_labels_that_a_table_holds_once_are_left_out(
    labels: tuple[str, str], kept: int, tmp_path: Path
) -> None:
    photos(tmp_path / "images", {"all": 9})
    rows = [f"images/all/{i:03d}.png,{labels[i % 2]}" for i in range(8)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows, "images/all/008.png,fox"]))
    found = survey(tmp_path / "labels.csv", tables=tmp_path / "out")
    assert found.classes == tuple(sorted(";".join(labels).split(";")))
    assert found.warnings() == [
        "1 class left out, one image, where training and test need one each: 'fox'"
    ]
    # Where images have several labels one may have none; where each has one, it goes with it.
    assert sum(table.count(b".png") for table in found.tables.values()) == kept
    assert_loads_as_found(found)


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder or table"):
        survey(tmp_path / "nowhere")
    photos(tmp_path / "one", {"cat": 4})
    with pytest.raises(InputError, match="there is one class, 'cat': at least two are needed"):
        survey(tmp_path / "one")
    photos(tmp_path / "two", {"cat": 4, "dog": 2})
    for file in (tmp_path / "two" / "dog").iterdir():
        file.write_text("no image")
    with pytest.raises(InputError, match=r"one class, 'cat': .*; 1 class left out, no training im"):
        survey(tmp_path / "two")
    photos(tmp_path / "three", {"cat": 1, "dog": 2})
    (tmp_path / "three" / "owl").mkdir()
    with pytest.raises(InputError, match=r"two are needed; 1 class .*: 'cat'; 1 class .*: 'owl'"):
        survey(tmp_path / "three")
    # Folders beside a table are not what was named.
    photos(tmp_path / "four", {"cat": 4, "dog": 4})
    (tmp_path / "four" / "test.csv").write_text("path,label\ncat/000.png,dog")
    with pytest.raises(InputError, match=r"there is no train\.csv beside .*test\.csv: add it"):
        survey(tmp_path / "four" / "test.csv")
