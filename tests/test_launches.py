"""Kernels of a step: no method launches more than its row on the page says."""

from __future__ import annotations

import re
from pathlib import Path

import launches
import pytest
import torch
from contenders import METHODS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
ROW = re.compile(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \|$", re.MULTILINE)


def promised() -> dict[str, int]:
    """Kernels of each method, as the page has them."""
    part = PAGE.read_text("utf-8").partition("## Kernels of a step")[2].partition("\n## ")[0]
    return {name: int(kernels) for name, kernels, _, _ in ROW.findall(part)}


def test_kernels_are_counted_by_kind() -> None:
    a = torch.ones(4, 4)
    counter = launches.Launches(tiny=10)
    with counter:
        b = a @ a
        b.t()  # a view
        b.sum()
        b[:1].sum()
        torch.empty(3)
    assert dict(counter.counts) == {"kernels": 3, "products": 1, "tiny": 1}


@pytest.mark.slow
def test_no_method_launches_more_than_the_page_says() -> None:
    table = promised()
    assert set(table) == set(METHODS)
    # Of those that are a frozen pass and little else, some.
    some = ("linear_probe", "derpp", "clib", "slda", "ranpac", "anacp")
    counted = [name for name in METHODS if table[name] > 300 or name in some]
    backbone = launches.narrow_vit()
    found = {name: launches.launches(name, backbone)["kernels"] for name in counted}
    more = {name: (n, table[name]) for name, n in found.items() if n > table[name] * 1.02 + 1}
    assert not more, f"kernels now, and on the page: {more}"
    assert found["one_prompt"] > found["linear_probe"] > 100
