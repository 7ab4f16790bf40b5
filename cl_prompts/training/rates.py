"""Learning rates: schedules over the epochs of a task, as multipliers, and CLIB's adaptive rate."""

import math
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from torch.optim import Optimizer

from cl_prompts.state import Stateful

Schedule = Literal["constant", "cosine", "coda"]


@dataclass
class AdaptiveRate(Stateful):
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

    state = ("high", "is_high", "updates", "decrease", "decreases")

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
        #: The latest decreases at the low and the high rate.
        self.decreases: list[list[float]] = [[], []]

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
            latest = self.decreases[self.is_high]
            latest.append(self.decrease)
            del latest[: -self.length]
            self.is_high = not self.is_high
            self.updates = 0
            self.decrease = 0.0
            if self.is_high:
                self._compare()
        return self.lr

    def _compare(self) -> None:
        low, high = self.decreases
        # Of equal numbers the test would divide by zero.
        if min(len(high), len(low)) < self.length or len({*high, *low}) == 1:
            return
        from scipy.stats import ttest_ind  # here, since the import takes a second

        # Welch's t-test; alternative: the low rate decreases the loss more.
        p = ttest_ind(low, high, equal_var=False, alternative="greater").pvalue
        # p < significance: the pair moves down by one factor; p > 1 - significance: up by one
        if p < self.significance:
            self.high *= self.step
        elif p > 1 - self.significance:
            self.high *= 1 / self.step
        else:
            return
        self.decreases = [[], []]


def scale_learning_rates(optimizer: Optimizer, factor: float) -> None:
    """Set each parameter group's rate to ``factor`` times its initial one."""
    for group in optimizer.param_groups:
        # Groups keep their first rate, since factors are of it and not of the last one.
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def learning_rate_factor(name: Schedule, epoch: int, epochs: int) -> float:
    """Factor on the learning rate in ``epoch`` (from 0) of ``epochs``.

    ``cosine``: (1 + cos(pi e / E)) / 2, MULTI-LANE's. ``coda``: cos(99 pi e / (200 (E - 1))),
    CODA-Prompt's, which ends at 1.6 %; with a single epoch it is 1, where the published code
    divides by zero.
    """
    if name == "cosine":
        return (1 + math.cos(math.pi * epoch / epochs)) / 2  # MULTI-LANE's
    if name == "coda" and epochs > 1:
        return math.cos(99 * math.pi * epoch / (200 * (epochs - 1)))
    return 1.0
