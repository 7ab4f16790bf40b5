"""Files that a user can name, spoilt at random: doubled items, wrong types, special files.

A spoilt file is refused in one sentence, or read as if nothing were wrong with it, and never waited
for; a doubled item is refused.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import os
import random
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cl_prompts.datasets.registry import load_dataset
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.recipe_files import load_recipe
from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.results.comparison import compare
from cl_prompts.experiments.results.comparison_text import written
from cl_prompts.experiments.run_folder.plans import Plan, PlannedRun
from tests.datasets.toys import write_coco, write_csv
from tests.experiments.fake_runs import fake_run

PATIENCE = 60  # seconds after which a reader is said to hang
WRONG = [
    *(None, True, -1, 2**70, 1.5, float("nan"), 1e400, "", "x", "\ud800", "1", "x" * 5000),
    *([], [0], [[]], ["a"], {}, {"a": 1}, {"a": {"b": []}}),
]
KINDS = ("doubles", "types", "special")


@dataclass(frozen=True)
class Place:
    """A file that is read, as it should be.

    Attributes:
        path: of the file.
        read: reads it.
        parse, text: its content from a text, and the text of a content.
        lists: lists in it that hold each item once, by their keys; of a table, [] for its rows.
    """

    path: Path
    read: Callable[[], object]
    parse: Callable[[str], Any]
    text: Callable[[Any], str]
    lists: tuple[tuple[str, ...], ...] = ()


def _rows(text: str) -> list[list[str]]:
    return [row for row in csv.reader(io.StringIO(text)) if row]


def _table(rows: Any) -> str:
    out = io.StringIO()
    whole = rows if isinstance(rows, list) else [rows]
    csv.writer(out).writerows(r if isinstance(r, list) else [r] for r in whole)
    return out.getvalue()


def places(root: Path) -> list[Place]:
    """Files of all kinds below a folder."""
    coco, table, runs = write_coco(root / "coco"), write_csv(root / "csv"), root / "runs"
    run = fake_run(runs)
    settings = plan("digits", ["strategy=ncm", "seed=1"])[0]
    planned = Plan("it", (PlannedRun(root / "plan" / "a", settings),)).write(root / "plan")
    content = json.loads(planned.read_text())
    content.pop("sha256")  # of what is not spoilt
    planned.write_text(json.dumps(content))
    recipe = root / "recipe.yaml"
    recipe.write_text("extends: digits\nseeds: [1]\nscenario: {name: si_blurry, n_tasks: 5}\n")

    def load(name: str, at: Path) -> Callable[[], object]:
        return lambda: load_dataset(name, root=at, image_size=8, on_bad_image="defer")

    of_json = (json.loads, json.dumps)
    of_yaml = (yaml.safe_load, yaml.safe_dump)
    found = [
        Place(
            coco / "annotations" / f"instances_{part}2014.json",
            load("coco2014", coco),
            *of_json,
            (("images",), ("categories",)),
        )
        for part in ("train", "val")
    ]
    found += [Place(table / f"{p}.csv", load("csv", table), _rows, _table, ((),)) for p in PARTS]
    for name in ("summary.json", "stream.json", "environment.json", "config.yaml"):
        kind = of_yaml if name.endswith("yaml") else of_json
        found.append(Place(run / name, lambda: written(compare([runs]), "markdown"), *kind))
    found.append(Place(planned, lambda: Plan.read(planned), *of_json))
    found.append(Place(recipe, lambda: load_recipe(str(recipe)), *of_yaml))
    return found


PARTS = ("train", "test")


def with_double(chance: random.Random, place: Place, content: Any) -> Any:
    """The content with an item of a list that stands there twice, the second time changed."""
    keys = chance.choice(place.lists)
    items = content
    for key in keys:
        items = items[key]
    first = 1 if place.parse is _rows else 0
    item = copy.deepcopy(items[chance.randrange(first, len(items))])
    if isinstance(item, dict) and "file_name" in item and chance.random() < 0.5:
        item["id"] += 1000  # another id of the same file
    elif isinstance(item, list):
        item[1] = "cat"
    items.insert(chance.randrange(first, len(items) + 1), item)
    return content


def with_wrong_type(chance: random.Random, content: Any) -> Any:
    """The content with something wild in the place of one of its values."""
    if not content or not isinstance(content, dict | list) or chance.random() < 0.1:
        return chance.choice(WRONG)
    key = chance.choice(list(content)) if isinstance(content, dict) else None
    at = key if isinstance(content, dict) else chance.randrange(len(content))
    if isinstance(content, dict) and chance.random() < 0.1:
        del content[at]
    else:
        content[at] = with_wrong_type(chance, content[at])
    return content


def make_special(chance: random.Random, path: Path) -> str:
    """Put something that is no text in the place of a file; what it is."""
    kind = chance.choice(["fifo", "device", "folder", "sparse", "deep", "bytes", "empty", "loop"])
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("device", "loop"):
        path.symlink_to("/dev/zero" if kind == "device" else path)
    else:
        text = {"deep": b"[" * 100_000, "bytes": b"\xff\xfe\0\xe9", "empty": b"", "sparse": b"{"}
        path.write_bytes(text[kind])
        if kind == "sparse":
            os.truncate(path, 10**11)
    return kind


def clear(path: Path) -> None:
    """Remove whatever is there."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@contextmanager
def patience() -> Iterator[None]:
    """End a reader that waits for ever."""

    def give_up(number: int, frame: object) -> None:
        raise TimeoutError(f"it took more than {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(count: int, number: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Spoil and read as many files.

    Args:
        count: of cases.
        number: the seed.
        folder: for the files.

    Returns:
        What was counted, and each fault with what was spoilt.
    """
    counts = Counter(dict.fromkeys(("cases", "read", "refused", "faults", *KINDS), 0))
    problems: list[str] = []
    chance = random.Random(number)
    whole = [(place, place.path.read_bytes()) for place in places(folder)]
    with patience():
        for place, _ in whole:
            place.read()
    for _ in range(count):
        place, content = chance.choice(whole)
        kind = chance.choice(KINDS if place.lists else KINDS[1:])
        what = f"{kind} in {place.path.name}"
        clear(place.path)
        place.path.write_bytes(content)
        if kind == "special":
            what += f": {make_special(chance, place.path)}"
        else:
            value = place.parse(content.decode())
            change = with_double(chance, place, value) if kind == "doubles" else None
            value = with_wrong_type(chance, value) if kind == "types" else change
            place.path.write_text(place.text(value), errors="surrogatepass")
            what += f": {place.path.read_bytes()[:2000]!r}" if kind == "types" else ""
        counts.update(["cases", kind])
        problem = _fault(place, kind, counts)
        if problem:
            counts["faults"] += 1
            problems.append(f"{what}: {problem}")
        clear(place.path)
        place.path.write_bytes(content)
    return counts, problems


def _fault(place: Place, kind: str, counts: Counter[str]) -> str:
    """Read a spoilt file; what was wrong with the reading, empty if nothing was."""
    try:
        with patience():
            place.read()
    except InputError as error:
        counts["refused"] += 1
        said = str(error)
        return "" if "\n" not in said and len(said) < 1000 else f"no sentence: {said}"
    except Exception:
        return traceback.format_exc()
    counts["read"] += 1
    return "it was read" if kind == "doubles" else ""
