"""Closed-form methods merge and forget: heads of parts add and subtract."""

from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.closed_form.sums import not_sums, order_matters
from cl_prompts.errors import InputError
from cl_prompts.strategies.base.prototype import PrototypeStrategy
from tests.families.runs import IMAGES, finished, scores
from tests.toy_data import N_CLASSES
from tests.toys import ALL, TABLE, cls_of, make, trained_on

PAGE = Path(__file__).parents[2] / "docs/guides/scale.md"
CONDITIONS: dict[str, tuple[str, Any]] = {
    "`held_out=0`": ("held_out", 0),
    "`gamma`": ("gamma", 0.01),
}
CLOSED = [kind for kind in ALL if issubclass(cls_of(kind), PrototypeStrategy)]
#: kinds whose state is not a sum, and those that merge alone
NO_SUMS = {"l3a": "pseudo-labels", "klda_members": "moving means"}
#: whose kernel takes its width from the first batch without a setting
BY_WIDTH = {"klda", "randumb", "randumb_class"}
HELD = {"layup", "ranpac", "rda", "ridge_chosen"}
LABELS = torch.arange(len(IMAGES)) % N_CLASSES


def strategy_of(kind: str) -> Any:
    """An untrained strategy; several labels where the kind has them alone."""
    width = {"gamma": 0.01} if "gamma" in cls_of(kind).settings() else {}
    return make(kind, trained_on(kind)[0], **width)


def learned(kind: str, *parts: slice) -> Any:
    """A strategy that has learned these parts of the images."""
    made = strategy_of(kind)
    model = made.model.eval()
    everything = torch.ones(N_CLASSES, dtype=torch.bool)
    labels = torch.cat([targets(made)[rows] for rows in parts])
    model.observe_classes(labels)
    model.learn(torch.cat([features(made, rows) for rows in parts]), labels, everything)
    return made


def features(strategy: Any, rows: slice) -> torch.Tensor:
    """Of batches of full size: the last bits depend on the size."""
    size, model = strategy.train_mb_size, strategy.model
    batches = IMAGES[rows].split(size)
    fill = [batch[torch.arange(size) % len(batch)] for batch in batches]
    found = [model.features(full)[: len(batch)] for full, batch in zip(fill, batches, strict=True)]
    return torch.cat(found)


def targets(strategy: Any) -> torch.Tensor:
    several = strategy.model.multi_label
    return torch.nn.functional.one_hot(LABELS, N_CLASSES) if several else LABELS


def test_the_table_of_the_page_names_every_method() -> None:
    """Cells: yes, no, or a condition, without which a run is refused."""
    lines = PAGE.read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| `")]
    table = {row[1].strip("`"): row[2:] for row in rows}
    assert set(table) == {kind for kind in CLOSED if kind in TABLE}
    for kind, (merge, forget, *_) in table.items():
        for cell, sign in ((merge, 1), (forget, -1)):
            conditional = cell.startswith("with ")
            assert bool(reason(kind, sign)) == (cell == "no" or conditional), (kind, sign)
            if conditional:
                name, value = CONDITIONS[cell.removeprefix("with ")]
                assert reason(kind, sign, **{name: value}) is None, (kind, sign)


def reason(kind: str, sign: int, **settings: Any) -> str | None:
    """Why a method cannot merge (sign 1) or forget (-1) in general; None if it can."""
    model = make(kind, trained_on(kind)[0], **settings).model
    found = order_matters(model) or ""
    # The kernels of two runs have two widths unless it is set.
    return not_sums(model, sign) or (found if sign < 0 or "kernel width" in found else None) or None


@pytest.mark.parametrize("kind", [kind for kind in CLOSED if kind not in NO_SUMS])
def test_parts_merge_and_images_are_forgotten(kind: str) -> None:
    parts = slice(0, 7), slice(7, None)
    whole = learned(kind, *parts)
    first, second = (learned(kind, rows) for rows in parts)
    first.model.head.add(second.model.head)
    first.model.seen |= second.model.seen
    assert torch.allclose(scores(first, IMAGES), scores(whole, IMAGES), rtol=1e-5, atol=1e-5)
    if kind in HELD:
        with pytest.raises(InputError, match=r"held-out sample|sketches"):
            first.model.head.subtract(second.model.head)
        return
    first.model.head.subtract(second.model.head)
    want = learned(kind, slice(0, 7))
    assert torch.equal(first.model.head.seen, want.model.head.seen)
    first.model.seen.copy_(want.model.seen)
    assert torch.allclose(scores(first, IMAGES), scores(want, IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [*NO_SUMS, *sorted(BY_WIDTH)])
def test_what_depends_on_the_order_is_refused(kind: str) -> None:
    head = finished(kind).strategy.model.head
    said = not_sums(head, -1) or order_matters(head) or ""
    assert NO_SUMS.get(kind, "width comes from the first") in said
