"""Seeds derived from a run's, and draws that leave global generators alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from cl_prompts.training.seeds import borrowed_generator, derived_seed, seeded
from tests.forked import forked


def test_derived_seeds_differ_between_runs_and_counts() -> None:
    seeds = [derived_seed(seed, count) for seed in range(50) for count in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert derived_seed(3, 0) == 3


def test_draws_are_fixed_and_leave_no_trace() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with seeded(5):
            drawn.append(torch.rand(3))
        torch.rand(1)
        torch.set_rng_state(before)
    assert torch.equal(drawn[0], drawn[1])
    with seeded(6):
        assert not torch.equal(torch.rand(3), drawn[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_failure_inside_leaves_no_trace_either() -> None:
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), seeded(1):
        torch.rand(1 // 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
def test_threads_that_draw_at_the_same_time_draw_what_each_draws_alone() -> None:
    def draw(seed: int) -> list[torch.Tensor]:
        found = []
        for count in range(300):
            with seeded(seed + count):
                found.append(torch.rand(2))
                found.append(torch.rand(2))
        return found

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(draw, range(4)))
    for seed, found in enumerate(together):
        assert torch.equal(torch.stack(found), torch.stack(draw(seed)))


def test_a_process_that_is_forked_meanwhile_may_draw() -> None:
    held = threading.Event()
    done = threading.Event()

    def hold() -> None:
        with borrowed_generator():
            held.set()
            done.wait(0.2)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    def work() -> int:
        with seeded(1):
            return int(torch.rand(()) > 1)

    assert forked(work).code == 0
    done.set()
    thread.join()
