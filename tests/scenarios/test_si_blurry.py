"""Si-Blurry splits against the golden streams, a generator written out by hand, and invariants."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cl_prompts.scenarios import Split, disjoint_split, i_blurry_split, si_blurry_split
from tests import GOLDEN_FILES
from tests.scenarios.labels import blurry_parameters, label_lists

GOLDEN = json.loads((GOLDEN_FILES / "si_blurry_streams.json").read_text())


def lists(split: Split) -> list[list[int]]:
    return [rows.tolist() for rows in split]


def golden_split(case: dict[str, Any], leftover: str) -> Split:
    return si_blurry_split(
        GOLDEN["label_sets"][case["label_set"]],
        n_tasks=case["num_tasks"],
        disjoint_percent=case["n"],
        blurry_percent=case["m"],
        seed=case["seed"],
        stochastic=case["mode"] == "stochastic",
        leftover=leftover,
    )


def case_name(case: dict[str, Any]) -> str:
    return "-".join(str(case[key]) for key in ("mode", "label_set", "num_tasks", "n", "m", "seed"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=case_name)
def test_golden_streams(case: dict[str, Any]) -> None:
    for leftover in ("drop", "keep"):
        if leftover == "keep" and case["missing_indices"]:
            continue
        split = golden_split(case, leftover)
        assert lists(split) == case["task_indices"]
        assert [list(classes) for classes in split.disjoint_classes] == case["disjoint_classes"]
        assert [list(classes) for classes in split.blurry_classes] == case["blurry_classes"]


# A sampler written out from the definition, on plain lists and NumPy's Mersenne Twister, as the
# oracle.


def twister(seed: int) -> Callable[[], int]:
    state = np.random.RandomState(seed % 2**32)
    return lambda: int(state.randint(0, 2**32, dtype=np.uint64))


def permutation(k: int, u: Callable[[], int]) -> list[int]:
    items = list(range(k))
    for i in range(k - 1):
        z = u() % (k - i)
        items[i], items[i + z] = items[i + z], items[i]
    return items


def cuts(h: int, n_tasks: int, u: Callable[[], int]) -> list[int]:
    return [0, *sorted(u() % h for _ in range(n_tasks - 1)), h]


def divide(
    classes: list[int], n_tasks: int, stochastic: bool, u: Callable[[], int]
) -> list[list[int]]:
    share = len(classes) // n_tasks
    points = [share * j for j in range(n_tasks + 1)]
    if stochastic and classes:
        points = cuts(len(classes), n_tasks, u)
    return [classes[points[j] : points[j + 1]] for j in range(n_tasks)]


def oracle(
    labels: list[int], n_tasks: int, n: int, m: int, seed: int, stochastic: bool, leftover: str
) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    u = twister(seed)
    n_classes = len(set(labels))
    tasks = range(n_tasks)
    order = permutation(n_classes, u)
    d = n_classes * n // 100 // n_tasks * n_tasks
    b = (n_classes - d) // n_tasks * n_tasks
    disjoint = divide(order[:d], n_tasks, stochastic, u)
    blurry = divide(order[d : d + b], n_tasks, stochastic, u)
    own = [[i for i, label in enumerate(labels) if label in disjoint[j]] for j in tasks]
    mixed = [[i for i, label in enumerate(labels) if label in blurry[j]] for j in tasks]
    undealt: list[int] = []
    if stochastic:
        k = sum(map(len, mixed)) * m // 100
        points = cuts(k, n_tasks, u) if k else [0] * (n_tasks + 1)
        gives = gets = [points[j + 1] - points[j] for j in tasks]
    else:
        gives = [len(mixed[j]) * m // 100 for j in tasks]
        gets = [sum(gives) // n_tasks] * n_tasks
    pool = [i for j in tasks for i in mixed[j][: gives[j]]]
    pool = [pool[t] for t in permutation(len(pool), u)]
    streams = []
    for j in tasks:
        everything = own[j] + mixed[j][gives[j] :] + pool[: gets[j]]
        pool = pool[gets[j] :]
        streams.append([everything[t] for t in permutation(len(everything), u)])
    undealt = pool
    if leftover == "keep":
        rest = order[d + b :]
        homes = [u() % n_tasks for _ in rest] if stochastic else list(range(len(rest)))
        for j in tasks:
            new = [c for c, home in zip(rest, homes, strict=True) if home == j]
            extra = undealt[j : j + 1] + [i for i, label in enumerate(labels) if label in new]
            blurry[j] = blurry[j] + new
            if extra:
                places = permutation(len(streams[j]) + len(extra), u)[: len(extra)]
                published = iter(streams[j])
                where = dict(zip(places, extra, strict=True))
                streams[j] = [
                    where[t] if t in where else next(published)
                    for t in range(len(streams[j]) + len(extra))
                ]
    return streams, disjoint, blurry


NAMES = ("n_tasks", "disjoint_percent", "blurry_percent", "seed", "stochastic")


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], dict[str, Any]]:
    labels = draw(label_lists())
    return labels, draw(blurry_parameters(len(set(labels))))


@given(cases(), st.sampled_from(["keep", "drop"]))
# Two leftover classes of one task, whose samples alternate.
@example(([0, 1, 2, 3, 4] * 2, dict(zip(NAMES, (3, 0, 0, 0, True), strict=True))), "keep")
@settings(max_examples=60)
def test_equals_the_definition_on_a_plain_twister(
    case: tuple[list[int], dict[str, Any]], leftover: Any
) -> None:
    labels, parameters = case
    split = si_blurry_split(labels, leftover=leftover, **parameters)
    expected = oracle(labels, *parameters.values(), leftover)
    assert lists(split) == expected[0]
    assert [list(classes) for classes in split.disjoint_classes] == expected[1]
    assert [list(classes) for classes in split.blurry_classes] == expected[2]


def test_relatives() -> None:
    labels = np.arange(260) % 13
    i_blurry = i_blurry_split(labels, seed=3)
    assert i_blurry == si_blurry_split(labels, seed=3, stochastic=False)
    disjoint = disjoint_split(labels, n_tasks=5, seed=3)
    expected = si_blurry_split(labels, n_tasks=5, seed=3, stochastic=False, disjoint_percent=100)
    assert disjoint == replace(expected, name="disjoint", parameters=disjoint.parameters)
    assert (np.count_nonzero(disjoint.counts, axis=0) == 1).all()
    assert [len(rows) for rows in disjoint] == [60, 60, 60, 40, 40]
    assert (disjoint.name, disjoint.parameters) == ("disjoint", {"seed": 3, "leftover": "keep"})


@given(cases(), st.integers(0, 9))
@settings(max_examples=30)
def test_both_kinds_of_classes_come_in_a_given_order(
    case: tuple[list[int], dict[str, Any]], order_seed: int
) -> None:
    labels, parameters = case
    order = np.random.default_rng(order_seed).permutation(len(set(labels))).tolist()
    split = si_blurry_split(labels, class_order=order, leftover="drop", **parameters)
    place = {c: i for i, c in enumerate(order)}
    for kind in (split.disjoint_classes, split.blurry_classes):
        found = [place[c] for classes in kind for c in classes]
        assert found == sorted(found)
    # Only the classes change places: as many of each kind have their home in each task.
    drawn = si_blurry_split(labels, leftover="drop", **parameters)
    for one, other in (
        (split.disjoint_classes, drawn.disjoint_classes),
        (split.blurry_classes, drawn.blurry_classes),
    ):
        assert [*map(len, one)] == [*map(len, other)]
    assert split.parameters["class_order"] == order
    assert "class_order" not in drawn.parameters
