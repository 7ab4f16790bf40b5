"""A clock that ticks by samples, where a stream announces no boundaries."""

from __future__ import annotations

from typing import Any

from cl_prompts.checks import whole_number


class SampleClock:
    """Ticks every so many samples of a stream; batches are never split.

    FlyPrompt's internal clock (ICLR 2026, arXiv 2602.01976): with ``every`` = samples of the whole
    stream // experts and ``ticks`` = experts - 1, a tick starts the next expert. Samples beyond a
    threshold count towards the next one.

    Args:
        every: samples.
        ticks: in all; None: no end.

    Raises:
        InputError: a number out of range.

    Example:
        >>> clock = SampleClock(100, ticks=2)
        >>> [clock.advance(64) for _ in range(8)]
        [0, 1, 0, 1, 0, 0, 0, 0]
    """

    def __init__(self, every: int, ticks: int | None = None) -> None:
        whole_number("every", every)
        if ticks is not None:
            whole_number("ticks", ticks, low=0)
        self.every = every
        self.ticks = ticks
        self.samples = 0
        self.done = 0

    def advance(self, samples: int) -> int:
        """Report ``samples`` samples -> how often the clock ticks now."""
        self.samples += samples
        now = 0
        while self.samples >= self.every and (self.ticks is None or self.done < self.ticks):
            self.samples -= self.every
            self.done += 1
            now += 1
        return now

    def state_dict(self) -> dict[str, Any]:
        """Samples since the last tick, and ticks."""
        return {"samples": self.samples, "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.samples = int(state["samples"])
        self.done = int(state["done"])
