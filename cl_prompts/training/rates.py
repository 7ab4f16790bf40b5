"""CLIB's adaptive learning rate."""

from __future__ import annotations

from collections import deque
from dataclasses import KW_ONLY, dataclass
from typing import Any

_PHASE = ("high", "is_high", "updates", "decrease")


@dataclass
class AdaptiveRate:
    """Pair of alternating learning rates that moves towards the better one.

    CLIB, Koh et al., ICLR 2022, arXiv 2110.10031 (adaptive learning rate scheduling). The pair is
    (high, low = high * step). Each rate is used for ``period`` updates, high first; the decrease of
    the replay buffer's mean loss in such a phase is one observation. After each low phase, once
    both rates have ``length`` observations (the latest ones), a one-sided Welch t-test compares
    them: if low decreases the loss more (p < significance) the pair moves down by one factor, with
    p > 1 - significance up by one, and the observations are cleared.

    Deviation from the published code: the decrease of a phase is summed over its updates, each over
    the samples in the buffer both before and after the update.

    Attributes:
        high: current high rate.
        step: ratio low / high, in (0, 1).
        period: updates per phase.
        length: observations of each rate in a test.
        significance: of the test.

    Example:
        >>> rate = AdaptiveRate(0.1, step=0.5, period=2)
        >>> [rate.update(0.0) for _ in range(4)]  # phases of two updates: high, low
        [0.1, 0.05, 0.05, 0.1]
    """

    high: float
    _: KW_ONLY
    step: float = 0.95
    period: int = 10
    length: int = 10
    significance: float = 0.05

    def __post_init__(self) -> None:
        self.is_high = True
        self.updates = 0
        self.decrease = 0.0
        self.decreases: dict[bool, deque[float]] = {
            high: deque(maxlen=self.length) for high in (True, False)
        }

    @property
    def lr(self) -> float:
        """The rate for the next update."""
        return self.high if self.is_high else self.high * self.step

    def update(self, decrease: float, updates: int = 1) -> float:
        """Record ``updates`` updates at the current rate.

        Args:
            decrease: of the buffer's mean loss over them (``ClassBalancedBuffer.observe_losses``).
            updates: number of updates.

        Returns:
            The rate for the next update.
        """
        self.decrease += decrease
        self.updates += updates
        if self.updates >= self.period:
            self.decreases[self.is_high].append(self.decrease)
            self.is_high = not self.is_high
            self.updates = 0
            self.decrease = 0.0
            if self.is_high:
                self._compare()
        return self.lr

    def state_dict(self) -> dict[str, Any]:
        """Rates, phase and observations."""
        numbers = {name: getattr(self, name) for name in _PHASE}
        return {**numbers, "decreases": [list(self.decreases[high]) for high in (True, False)]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        for name in _PHASE:
            setattr(self, name, state[name])
        for high, observed in zip((True, False), state["decreases"], strict=True):
            self.decreases[high] = deque(observed, maxlen=self.length)

    def _compare(self) -> None:
        high, low = self.decreases[True], self.decreases[False]
        if min(len(high), len(low)) < self.length:
            return
        if max(*high, *low) == min(*high, *low):  # the test would divide by zero
            return
        from scipy.stats import ttest_ind  # here, since the import takes a second

        # Welch's t-test; alternative: the low rate decreases the loss more.
        p = ttest_ind(list(low), list(high), equal_var=False, alternative="greater").pvalue
        # p < significance: the pair moves down by one factor; p > 1 - significance: up by one
        if p < self.significance:
            self._move(self.step)
        elif p > 1 - self.significance:
            self._move(1 / self.step)

    def _move(self, factor: float) -> None:
        self.high *= factor
        for decreases in self.decreases.values():
            decreases.clear()
