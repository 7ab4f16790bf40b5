"""Compare ways to solve a ridge regression again after more samples.

    python benchmarks/solves.py [--features 2000] [--classes 10 100] [--more 100] [--rounds 5]

After each addition to the same sums all forms solve in turn, on one thread: by Cholesky, as the
package does; by conjugate gradients from the last solution, with the first factor as the
preconditioner; by a factor in float32 that is refined; and from the first factor and the samples
since (Woodbury). Printed: medians of CPU time, as shares of Cholesky's, and predictions that
differ.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cl_prompts.closed_form.ridge import RandomExpansion, RidgeStatistics

DIM = 384
RIDGE = 1e4
FIRST = 3000
TEST = 500


class Solvers:
    """All forms on the same sums.

    Args:
        sums: of the regression, to which samples were added.
    """

    def __init__(self, sums: RidgeStatistics) -> None:
        self.sums = sums
        self.factor = torch.linalg.cholesky(self.system())
        self.last = torch.cholesky_solve(sums.cross, self.factor)
        self.since = sums.gram.new_zeros(sums.size, 0)

    def system(self) -> Tensor:
        system = self.sums.gram.clone()
        system.diagonal().add_(RIDGE)
        return system

    def cholesky(self, new: Tensor) -> Tensor:
        return self.sums.solve(RIDGE)

    def gradients(self, new: Tensor) -> Tensor:
        a = self.system()
        x = self.last
        left = self.sums.cross - a @ x
        direction = better = torch.cholesky_solve(left, self.factor)
        size = (left * better).sum(dim=0)
        while left.norm() > 1e-10 * self.sums.cross.norm():
            product = a @ direction
            step = size / (direction * product).sum(dim=0)
            x = x + step * direction
            left = left - step * product
            better = torch.cholesky_solve(left, self.factor)
            before = size
            size = (left * better).sum(dim=0)
            direction = better + size / before * direction
        self.last = x
        return x

    def refined(self, new: Tensor) -> Tensor:
        a = self.system()
        factor = torch.linalg.cholesky(a.float())
        x = torch.cholesky_solve(self.sums.cross.float(), factor).double()
        for _ in range(3):
            x += torch.cholesky_solve((self.sums.cross - a @ x).float(), factor).double()
        return x

    def woodbury(self, new: Tensor) -> Tensor:
        # (L L^T + H^T H)^-1 = L^-T (I - S (I + S^T S)^-1 S^T) L^-1 with S = L^-1 H^T
        added = torch.linalg.solve_triangular(self.factor, new.T, upper=False)
        self.since = torch.cat([self.since, added], dim=1)
        small = self.since.T @ self.since
        small.diagonal().add_(1)
        right = torch.linalg.solve_triangular(self.factor, self.sums.cross, upper=False)
        inner = torch.cholesky_solve(self.since.T @ right, torch.linalg.cholesky(small))
        return torch.linalg.solve_triangular(self.factor.T, right - self.since @ inner, upper=True)


def compared(features: int, classes: int, more: int, rounds: int) -> dict[str, Any]:
    """Per form: its share of Cholesky's time, and predictions that differ from its."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, DIM, generator=generator)
    labels = torch.arange(FIRST + rounds * more + TEST) % classes
    x = centres[labels] + torch.randn(len(labels), DIM, generator=generator)
    sums = RidgeStatistics(DIM, classes, expansion=RandomExpansion(DIM, features))
    h = sums.inputs(x)
    y = torch.nn.functional.one_hot(labels, classes).double()
    sums.add(h[:FIRST], y[:FIRST])
    solvers = Solvers(sums)
    forms: list[Callable[[Tensor], Tensor]] = [
        solvers.cholesky,
        solvers.gradients,
        solvers.refined,
        solvers.woodbury,
    ]
    seconds: dict[str, list[float]] = {form.__name__: [] for form in forms}
    differ = dict.fromkeys(seconds, 0)
    for start in range(FIRST, FIRST + rounds * more, more):
        new = h[start : start + more]
        sums.add(new, y[start : start + more])
        exact = (h[-TEST:] @ sums.solve(RIDGE)).argmax(dim=1)
        for form in forms:
            begin = time.thread_time()
            solution = form(new)
            seconds[form.__name__].append(time.thread_time() - begin)
            differ[form.__name__] += int(((h[-TEST:] @ solution).argmax(dim=1) != exact).sum())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return {name: (t, t / medians["cholesky"], differ[name]) for name, t in medians.items()}


def main() -> None:
    """Print a row for each form and number of classes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--features", type=int, default=2000)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--more", type=int, default=100, help="samples between two solutions")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| classes | form | seconds | to cholesky | predictions that differ |")
    print("|" + " --- |" * 5)
    for classes in args.classes:
        found = compared(args.features, classes, args.more, args.rounds)
        for name, (seconds, share, differ) in found.items():
            print(f"| {classes} | {name} | {seconds:.3f} | {share:.2f} | {differ} |", flush=True)


if __name__ == "__main__":
    main()
