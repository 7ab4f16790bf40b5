"""Executors of runs: processes of this machine, tasks of Ray, and jobs of Slurm.

An executor has ``submit(function, *arguments)``, and what that returns has ``done()``. A run is a
folder that resumes: where a worker died, its run is submitted again. This module loads nothing
heavy, so that a worker can set its threads before numeric libraries are loaded.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import secrets
import signal
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cl_prompts.checks import in_range, one_of, whole_number
from cl_prompts.errors import InputError
from cl_prompts.user_code import extra

if TYPE_CHECKING:
    from cl_prompts.experiments.run_folder.plans import PlannedRun
    from cl_prompts.experiments.runner.building import Resources

Kind = Literal["local", "ray", "slurm"]
MOST_JOBS = 256
#: variables that numeric libraries read when they are loaded
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: times that a run is submitted again whose worker died
RESUBMISSIONS = 2
_MINUTES = 24 * 60  # of a job, unless SBATCH_TIMELIMIT says otherwise


@dataclass(frozen=True)
class Launching:
    """Place where runs are executed, and the share of each run.

    Attributes:
        kind: processes of this machine, tasks of Ray, or jobs of Slurm.
        jobs: runs at the same time; None for one here, and elsewhere for as many as there is room
            for.
        cpus: of each run, and its threads, elsewhere; None for 1.
        gpus: of each run, also parts of one; None for one where ``device`` asks for it.
    """

    kind: str = "local"
    jobs: int | None = None
    cpus: int | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        one_of("--launcher", self.kind, Kind)
        if self.jobs is not None:
            whole_number("--jobs", self.jobs, 1, MOST_JOBS)
        if self.kind == "local" and (self.cpus, self.gpus) != (None, None):
            raise InputError("--cpus and --gpus are for --launcher ray or slurm")
        if self.cpus is not None:
            whole_number("--cpus", self.cpus, 1, 1024)
        in_range(0, 64, **{"--gpus": self.gpus})
        if self.kind == "slurm" and not float(self.gpus or 0).is_integer():
            raise InputError(f"--gpus is {self.gpus:g}: it must be a whole number here")

    def gpus_on(self, device: str, *, there: bool) -> float:
        """GPUs of each run, where its settings name a device, and "auto" would find one or not."""
        wanted = there if device == "auto" else device.startswith("cuda")
        return float(wanted) if self.gpus is None else self.gpus


@dataclass(frozen=True)
class Job:
    """A run as an executor gets it.

    Attributes:
        number: from 1.
        label: short name of the run.
        run: the run, whose folder there is.
        command: that makes it, as typed.
        home: folder of the command, which relative paths start from.
    """

    number: int
    label: str
    run: PlannedRun
    command: str
    home: str


def execute_job(job: Job, threads: int | None = None) -> None:
    """Execute a run to its end, with so many threads; the function that workers get.

    The folder says how the run ended; raises what :func:`complete` raises, but for ``Interrupted``.
    """
    if threads is not None:
        _use_threads(threads)
    os.chdir(job.home)
    from cl_prompts.experiments.runner.execution import complete
    from cl_prompts.experiments.runner.signals import Interrupted

    try:
        complete(job.run, _Silent(), job.command, _resources())
    except Interrupted:
        return  # its state is saved


def _use_threads(threads: int) -> None:
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    import torch

    torch.set_num_threads(threads)


@cache
def _resources() -> Resources:
    from cl_prompts.experiments.runner.building import Resources

    return Resources()


class _Silent:
    def note(self, sentence: str) -> None:
        pass

    def advance(self, samples: int, total: int, a_auc: float | None) -> None:
        pass


class Executor(Protocol):
    """Place where functions are executed."""

    def submit(self, function: Callable[..., None], /, *arguments: Any) -> Any:
        """Begin to execute a function; what this returns has ``done()``."""

    def stop(self, submitted: Sequence[Any]) -> None:
        """Ask what was submitted to save its state and end."""

    def close(self) -> None:
        """Wait for what is under way, and begin nothing more."""


# ------------------------------------------------------------------------------ this machine


class Processes:
    """Executor in processes of this machine, which stay for one run after another.

    Args:
        jobs: processes.
        threads: of each.
    """

    def __init__(self, jobs: int, threads: int) -> None:
        self._jobs = jobs
        self._threads = threads
        # Workers hear of the end of this process, or of a stop, by the end of this pipe.
        self._theirs, self._ours = multiprocessing.Pipe(duplex=False)
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._jobs,
            multiprocessing.get_context("spawn"),
            initializer=_begin_worker,
            initargs=(self._theirs, self._threads),
        )

    def submit(self, function: Callable[..., None], /, *arguments: Any) -> Future[None]:
        """Give a function to an idle process."""
        return self._pool.submit(function, *arguments)

    def renew(self) -> None:
        """Start again after a process died, which ends all others, with their state saved."""
        self._pool.shutdown()
        self._pool = self._new()

    def stop(self, submitted: Sequence[Future[None]]) -> None:
        """Stop all processes as by SIGTERM."""
        self._ours.close()

    def close(self) -> None:
        """Wait for all processes."""
        self._pool.shutdown(cancel_futures=True)
        self._ours.close()


def _begin_worker(alive: Connection, threads: int) -> None:
    # Ctrl-C is for the command, which stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # the command has said them
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    _use_threads(threads)


def _end_with(alive: Connection) -> None:
    alive.poll(None)
    os.kill(os.getpid(), signal.SIGTERM)


# --------------------------------------------------------------------------------------- Ray


class RayTasks:
    """Executor in tasks of Ray, each a process of its own; Ray begins anew what it lost.

    The cluster is that of ``RAY_ADDRESS``, or the one that ``ray start`` began on this machine;
    where there is none, one is started on this machine, and ends with the command. All machines
    must see run folders and data under the paths of this one.

    Args:
        how: CPUs and GPUs of each run.
        device: that the settings of the runs name.

    Raises:
        InputError: Ray is not installed.
    """

    def __init__(self, how: Launching, device: str) -> None:
        # Before the import, which reads it: Ray reports its use to nobody, unless a cluster that
        # runs already has decided otherwise.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = extra("ray", "ray", "--launcher ray")
        self._handler = signal.getsignal(signal.SIGTERM)
        # Of a cluster, or of one started here: no dashboard, and nothing on this terminal.
        self._ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        self._threads = how.cpus or 1
        self._task = self._ray.remote(
            num_cpus=self._threads,
            num_gpus=how.gpus_on(device, there="GPU" in self._ray.cluster_resources()),
            max_retries=RESUBMISSIONS,
            max_calls=1,  # a fresh process for each run
            # Before the libraries are loaded, which read them then.
            runtime_env={"env_vars": dict.fromkeys(THREADS, str(self._threads))},
        )(_as_task)
        self._tasks: dict[Any, Any] = {}

    def submit(self, function: Callable[..., None], /, *arguments: Any) -> Future[None]:
        """Give a function to Ray."""
        task = self._task.remote(function, *arguments, self._threads)
        future: Future[None] = task.future()
        self._tasks[future] = task
        return future

    def stop(self, submitted: Sequence[Future[None]]) -> None:
        """Stop tasks as Ctrl-C does."""
        for future in submitted:
            self._ray.cancel(self._tasks[future])

    def close(self) -> None:
        """Leave the cluster, and end one that was started here."""
        self._ray.shutdown()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)  # Ray puts its own in its place


def _as_task(function: Callable[..., None], *arguments: Any) -> None:
    # A stop comes as Ctrl-C, which is ignored below a shell that put the command behind.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    function(*arguments)


# ------------------------------------------------------------------------------------- Slurm


class SlurmJobs:
    """Executor in jobs of Slurm; all machines must share the folder of the command.

    ``sbatch`` itself reads ``SBATCH_PARTITION``, ``SBATCH_ACCOUNT``, ``SBATCH_TIMELIMIT`` and so
    on. The result of a job is a pickle, and never read: the run folder says how the run ended.

    Args:
        how: CPUs and GPUs of each run.
        device: that the settings of the runs name.
        out: folder below which submitit keeps its files.
        cluster: for submitit.

    Raises:
        InputError: submitit is not installed.
    """

    def __init__(self, how: Launching, device: str, out: Path, cluster: str = "slurm") -> None:
        submitit = extra("submitit", "slurm", "--launcher slurm")
        # New and for this user alone: jobs read what to do from a pickle in it.
        folder = out.resolve() / "slurm" / secrets.token_hex(8)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        self._threads = how.cpus or 1
        self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
        self._executor.update_parameters(
            name="cl-prompts",
            cpus_per_task=self._threads,
            gpus_per_node=int(how.gpus_on(device, there=False)),
            timeout_min=_MINUTES,
        )

    def submit(self, function: Callable[..., None], /, *arguments: Any) -> Any:
        """Submit a job."""
        return self._executor.submit(function, *arguments, self._threads)

    def stop(self, submitted: Sequence[Any]) -> None:
        """Cancel jobs, which Slurm tells by SIGTERM."""
        for job in submitted:
            job.cancel()

    def close(self) -> None:
        """Leave what is under way to Slurm."""
