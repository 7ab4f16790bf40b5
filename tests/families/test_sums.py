"""Closed-form methods merge and forget: heads of parts add and subtract."""

from pathlib import Path
from typing import Any

import pytest

from cl_prompts.closed_form.sums import not_sums, order_matters
from cl_prompts.strategies.base.prototype import PrototypeStrategy
from tests.families.runs import finished
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


@pytest.mark.parametrize("kind", [*NO_SUMS, *sorted(BY_WIDTH)])
def test_what_depends_on_the_order_is_refused(kind: str) -> None:
    head = finished(kind).strategy.model.head
    said = not_sums(head, -1) or order_matters(head) or ""
    assert NO_SUMS.get(kind, "width comes from the first") in said
