"""When a run saves its state."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 0.02
"""Greatest share of a run's time that its checkpoints take, where no interval is given."""

EACH = 100
"""Tasks of a run that are each followed by a checkpoint, however short they are."""


class CheckpointClock:
    """Decides between two stream batches whether a checkpoint is due.

    With an interval it is due after so many stream samples. Without one the interval adapts: as the
    last checkpoint took t seconds, the next is due t / 0.02 seconds later, at the earliest after
    two seconds. Checkpoints do not change what a run computes.

    Args:
        every: stream samples between two checkpoints; None to adapt.
        samples: stream samples at the last one.
        clock: seconds, from any start.

    Example:
        >>> clock = CheckpointClock(100)
        >>> clock.due(64), clock.due(128)
        (False, True)
    """

    def __init__(
        self,
        every: int | None = None,
        *,
        samples: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Nothing has been saved yet."""
        self.every = every
        self._samples = samples
        self._clock = clock
        self._last = clock()
        self._pause = 2.0

    def due(self, samples: int) -> bool:
        """Whether to save, after so many stream samples."""
        if self.every is not None:
            return samples - self._samples >= self.every
        return self._clock() - self._last >= self._pause

    def due_after_task(self, samples: int, tasks: int) -> bool:
        """Whether to save after a task, the ``tasks``-th: always after the first :data:`EACH`. What
        a state holds of the past grows with the tasks, so later ones take their share of the time
        as well."""
        return tasks <= EACH or self.due(samples)

    def saved(self, samples: int, seconds: float) -> None:
        """Note that a checkpoint was written, and how long that took."""
        self._samples = samples
        self._last = self._clock()
        self._pause = max(2.0, seconds / SHARE)
