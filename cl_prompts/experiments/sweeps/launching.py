"""Place where the runs of a sweep are executed, runs at a time, and CPUs and GPUs of each."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from cl_prompts.checks import in_range, one_of, whole_number
from cl_prompts.errors import InputError
from cl_prompts.own_code import extra

Kind = Literal["local", "ray", "slurm"]
MOST_JOBS = 256
_LIBRARIES = {"ray": "ray", "slurm": "submitit"}
_MOST_CPUS = 1024
_MOST_GPUS = 64


@dataclass(frozen=True)
class Launching:
    """Place where the runs of a sweep are executed, and the share of each run.

    Attributes:
        kind: processes of this machine, tasks of Ray, or jobs of Slurm.
        jobs: runs at the same time; None for one process here, and elsewhere for as many as there
            is room for.
        cpus: of each run, and its threads; None for 1, and here for a share of this machine's.
        gpus: of each run, also parts of one; None for one where ``device`` asks for it.

    >>> Launching("ray", jobs=4, cpus=2, gpus=0.5).fitting(8, 1)
    2
    """

    kind: Kind = "local"
    jobs: int | None = None
    cpus: int | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        """Raise ``InputError`` for a value out of range, or one of no use."""
        one_of("--launcher", self.kind, Kind)
        if self.jobs is not None:
            whole_number("--jobs", self.jobs, 1, MOST_JOBS)
        if self.kind == "local" and (self.cpus, self.gpus) != (None, None):
            raise InputError("--cpus and --gpus are for --launcher ray or slurm")
        if self.cpus is not None:
            whole_number("--cpus", self.cpus, 1, _MOST_CPUS)
        in_range(0, _MOST_GPUS, **{"--gpus": self.gpus})
        if self.gpus is not None and self.gpus > 1 and self.gpus != int(self.gpus):
            raise InputError(f"--gpus is {self.gpus:g}: above 1 it must be a whole number")
        if self.kind == "slurm" and self.gpus is not None and self.gpus != int(self.gpus):
            raise InputError(f"--gpus is {self.gpus:g}: Slurm gives whole ones")

    def check_installed(self) -> None:
        """Raise ``InputError`` unless the library that this kind needs is installed."""
        if self.kind != "local":
            extra(_LIBRARIES[self.kind], self.kind, f"--launcher {self.kind}")

    @property
    def threads(self) -> int:
        """Threads of a run that is executed elsewhere."""
        return self.cpus or 1

    def on(self, device: str, *, there: bool) -> Launching:
        """The same with the GPUs of each run known.

        Args:
            device: that the settings name.
            there: whether "auto" would find a GPU.
        """
        if self.gpus is not None:
            return self
        wanted = there if device == "auto" else device.startswith("cuda")
        return replace(self, gpus=float(wanted))

    def fitting(self, cpus: float, gpus: float) -> int:
        """How many runs a machine has room for."""
        room = [cpus / self.threads, gpus / self.gpus if self.gpus else math.inf]
        return math.floor(min(room) + 1e-9)  # thirds of a GPU make three

    def __str__(self) -> str:
        """CPUs and GPUs of each run."""
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.threads} CPU{'s' * (self.threads > 1)}{gpus}"
