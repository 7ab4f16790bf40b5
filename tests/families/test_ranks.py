"""Two processes compute what one does, for every strategy: one job for all of them."""

from __future__ import annotations

import json
import multiprocessing
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.experiments.cli import main
from tests.experiments.commands import rows, run, summary
from tests.experiments.sketches import sketched
from tests.families.two_ranks import (
    EMBEDDED_UPDATES,
    KINDS,
    ON_EMBEDDED,
    RUN,
    on_embedded,
    trained,
    work,
)
from tests.few_images import few_images

#: greatest difference of a weight, besides the rounding of numbers greater than 1
BOUND = 1e-5
#: on the embedded ViT besides: share of the way that Adam may have gone
SHARE = 1e-4
#: where gradients nearly cancel
CANCELLED = 1e-3


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of what the two processes have left, with few images for this process, too."""
    folder = tmp_path_factory.mktemp("job")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # Forks, which need not import everything again.
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=work, args=(rank, port, folder)) for rank in range(2)]
    with few_images(45, 10), sketched():
        for process in processes:
            process.start()
        for process in processes:
            process.join(900)
        said = "\n".join((folder / f"said{rank}").read_text() for rank in range(2))
        assert [process.exitcode for process in processes] == [0, 0], said
        yield folder


@pytest.fixture(scope="module")
def found(job: Path) -> list[dict[str, dict[str, Any]]]:
    """What each rank has trained."""
    return [torch.load(job / f"rank{i}.pt", weights_only=True) for i in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_compute_what_one_process_does(
    kind: str, found: list[dict[str, dict[str, Any]]]
) -> None:
    one = trained(kind)
    first = found[0][kind]
    second = found[1][kind]
    for name, value in one["weights"].items():
        torch.testing.assert_close(
            first["weights"][name], value, rtol=1e-5, atol=BOUND, msg=f"{kind}: {name}"
        )
        assert torch.equal(first["weights"][name], second["weights"][name]), name
    for name in ("accuracies", "updates", "passes"):
        assert first[name] == second[name] == one[name], name
    assert torch.equal(first["buffer"], one["buffer"])
    torch.testing.assert_close(first["by_class"], one["by_class"], equal_nan=True)
    assert len(one["confidence"])
    for rank in (first, second):
        torch.testing.assert_close(rank["confidence"], one["confidence"], rtol=1e-3, atol=1e-3)
    assert first["cached"].keys() == one["cached"].keys()
    for name, values in one["cached"].items():
        torch.testing.assert_close(first["cached"][name], values, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("case", ON_EMBEDDED)
def test_on_the_embedded_vit_weights_differ_by_a_share_of_the_way_of_adam(
    case: str, job: Path
) -> None:
    one = on_embedded(case)
    both = [torch.load(job / f"embedded{i}.pt", weights_only=True)[case] for i in range(2)]
    assert one["updates"] == EMBEDDED_UPDATES
    # Each update moves a weight by about the rate at most, whatever the size of its gradient.
    way = one["rate"] * one["updates"]
    bound = CANCELLED if ON_EMBEDDED[case] else 1e-5 + SHARE * way
    for name, value in one["weights"].items():
        assert torch.equal(both[0]["weights"][name], both[1]["weights"][name]), name
        torch.testing.assert_close(both[0]["weights"][name], value, rtol=1e-5, atol=bound, msg=name)


def test_the_bounds_are_documented() -> None:
    text = " ".join((Path(__file__).parents[2] / "docs" / "ranks.md").read_text().split())
    assert f"more than {BOUND:g} on two ranks".replace("e-0", "e-") in text
    assert (
        f"{SHARE:g} of the learning rate times the number of updates".replace("0.0001", "1e-4")
        in text
    )
    assert f"weights agree to {CANCELLED:g}".replace("0.001", "1e-3") in text


@pytest.mark.slow
def test_a_run_is_written_once_stops_as_one_and_goes_on_alone(job: Path, tmp_path: Path) -> None:
    assert [(job / f"codes{i}").read_text() for i in range(2)] == ["[143, 143]"] * 2
    (folder,) = (job / "runs" / "digits" / "mvp").iterdir()
    assert summary(folder)["status"] == "interrupted"
    assert json.loads((folder / "environment.json").read_text())["ranks"] == 2
    assert main(["run", "--resume", str(folder), "--quiet"]) == 0
    _, (alone,) = run(tmp_path, *RUN)
    assert [row[:3] for row in rows(folder)] == [row[:3] for row in rows(alone)]
    ours = summary(folder)
    theirs = summary(alone)
    assert ours["results"] == pytest.approx(theirs["results"])
    assert ours["forward_passes"] == pytest.approx(theirs["forward_passes"])
