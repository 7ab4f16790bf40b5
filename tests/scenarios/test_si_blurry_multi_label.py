"""The multi-label Si-Blurry stream: its definition written out by hand, its invariants, and
equality with Si-Blurry."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.scenarios import si_blurry_multi_label_split, si_blurry_split
from tests.scenarios.labels import blurry_parameters, label_lists, matrices


def parameters(n_classes: int) -> st.SearchStrategy[dict[str, Any]]:
    """Parameters of the split, ``leftover`` included."""
    leftover = st.sampled_from(["keep", "drop"])
    return st.builds(
        lambda drawn, word: {**drawn, "leftover": word}, blurry_parameters(n_classes), leftover
    )


@pytest.mark.slow
@given(st.data())
@settings(max_examples=60)
def test_one_label_per_image_is_si_blurry(data: st.DataObject) -> None:
    labels = np.array(data.draw(label_lists(10, 60)))
    n_classes = int(labels.max()) + 1
    chosen = data.draw(parameters(n_classes))
    expected = si_blurry_split(labels, **chosen)
    matrix = np.eye(n_classes, dtype=np.uint8)[labels]
    split = si_blurry_multi_label_split(matrix, **chosen)
    assert split.anchors == expected
    assert all(map(np.array_equal, split.tasks, expected.tasks))
    assert np.array_equal(split.counts, expected.counts)
    assert np.array_equal(split.visible, expected.visible)
    assert split.sizes == expected.sizes
    assert split.name == expected.name
    assert split.parameters == expected.parameters
    assert split.ordered == expected.ordered
    assert split.boundaries == expected.boundaries
    # Images without labels in between change nothing but the numbering.
    places = np.sort(np.random.default_rng(0).permutation(len(labels) + 5)[: len(labels)])
    thinned = np.zeros((len(labels) + 5, n_classes), dtype=np.uint8)
    thinned[places] = matrix
    spread = si_blurry_multi_label_split(thinned, **chosen)
    assert [rows.tolist() for rows in spread.tasks] == [
        places[rows].tolist() for rows in expected.tasks
    ]


@pytest.mark.slow
@given(st.data())
@settings(max_examples=80)
def test_invariants(data: st.DataObject) -> None:
    matrix = data.draw(matrices())
    n_classes = matrix.shape[1]
    chosen = data.draw(parameters(n_classes))
    split = si_blurry_multi_label_split(matrix, **chosen)
    labelled = np.flatnonzero(matrix.any(axis=1))
    rows = np.concatenate(split.tasks)
    keep = chosen["leftover"] == "keep"
    # Each image with a label comes once; none is lost when leftovers are kept.
    assert len(set(rows.tolist())) == len(rows)
    assert set(rows.tolist()) <= set(labelled.tolist())
    if keep:
        assert sorted(rows.tolist()) == labelled.tolist()
    # Its anchor is the rarest of its labels, and visible.
    frequency = matrix.sum(axis=0)
    anchor = {
        row: min(np.flatnonzero(matrix[row]), key=lambda c: (frequency[c], c))
        for row in labelled.tolist()
    }
    stream = split.anchors
    for task, task_rows in enumerate(split.tasks):
        anchored = {int(anchor[row]) for row in task_rows.tolist()}
        assert stream.counts[task].tolist() == [
            sum(anchor[row] == c for row in task_rows.tolist()) for c in range(n_classes)
        ]
        home = {*stream.disjoint_classes[task], *stream.blurry_classes[task]}
        present = set(np.flatnonzero(matrix[task_rows].any(axis=0)).tolist())
        shown_classes = set(np.flatnonzero(split.visible[task]).tolist())
        assert shown_classes == (anchored | home) & present
        assert anchored <= shown_classes
        shown = matrix[task_rows].sum(axis=0) * split.visible[task]
        assert split.counts[task].tolist() == shown.tolist()
    # Homes divide the classes; a disjoint class is visible at home alone.
    homes = [c for classes in stream.disjoint_classes + stream.blurry_classes for c in classes]
    assert sorted([*homes, *np.flatnonzero(stream.homes < 0).tolist()]) == list(range(n_classes))
    for task, classes in enumerate(stream.disjoint_classes):
        assert not np.delete(split.visible[:, list(classes)], task, axis=0).any()
    if keep:
        assert split.seen[-1].all()
        assert split.test_indices(matrix, split.n_tasks - 1).tolist() == labelled.tolist()
    assert split.counts.sum() <= matrix.sum()
    assert not split.boundaries
    assert split.ordered


def test_a_class_without_anchors_lives_where_its_images_come() -> None:
    # Class 2 is always beside the rarer 0 or 1, three times as often beside 1.
    matrix = np.array([[1, 0, 1, 0]] * 2 + [[0, 1, 1, 0]] * 4 + [[0, 0, 0, 1]] * 9)
    for seed in range(20):
        split = si_blurry_multi_label_split(
            matrix, n_tasks=4, disjoint_percent=100, seed=seed, stochastic=False
        )
        task = split.anchors.homes[1]
        assert split.anchors.homes[2] == task
        assert np.flatnonzero(split.visible[task]).tolist() == [1, 2]
        assert split.counts[:, 2].sum() == 4
        assert matrix.sum() - split.counts.sum() == 2  # those beside class 0 are hidden


def test_a_class_without_anchors_stays_at_home_if_no_task_has_more_images() -> None:
    # Two images of class 2 come in each task; its home is the second one, and stays so.
    matrix = np.array([[1, 0, 1], [0, 1, 1]] * 2)
    split = si_blurry_multi_label_split(
        matrix, n_tasks=2, disjoint_percent=0, blurry_percent=0, seed=7
    )
    assert split.anchors.homes.tolist() == [0, 1, 1]
