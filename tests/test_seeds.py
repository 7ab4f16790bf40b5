"""Derived seeds, and draws that do not change global generators."""

import torch

from cl_prompts.seeds import derived_seed, seeded


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
